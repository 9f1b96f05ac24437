//! Sockets of flows: each is bound to where the flow's datagrams came, and connected to its client.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit};

use super::{Budget, OnRefusal, Pair, SocketDatagrams, Stragglers};
use crate::address::Family;
use crate::mark::Mark;
use crate::netns::{MakeSockets, SocketKind, SocketWish};
use crate::object::Binding;

/// Makes flows with sockets of their own, as many as the process's descriptors allow.
///
/// The kernel looks for connected sockets before it looks for the listener, so that what the client
/// sends next comes to the flow without anybody in between, in batches.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use std::net::UdpSocket;
/// use std::sync::Arc;
/// use steer_core::datagram::{Batch, Budget, Datagrams, OwnSockets, Pair};
/// use steer_core::netns::Inside;
/// use steer_core::object::Binding;
///
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// let pair = Pair {
///     client: client.local_addr()?,
///     arrived: "127.0.0.2:5300".parse().unwrap(),
/// };
/// let sockets = OwnSockets::new(Arc::new(Inside::here()), Binding::Own, None);
/// let refuse = Box::new(|_why, _quote: &[u8]| {});
/// let (mut flow, _way_in) = sockets.open(pair, &Budget::new(1 << 20), refuse)?.expect("room");
/// let mut batch = Batch::default();
/// batch.push(b"answer");
/// flow.send(&batch)?;
/// assert_eq!(client.recv_from(&mut [0; 16])?, (6, pair.arrived));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct OwnSockets {
    inside: Arc<dyn MakeSockets>,
    binding: Binding,
    mark: Option<Mark>,
    /// Flows that have a socket, one count each and one of our own.
    flows: Arc<()>,
    /// How many of them there may be.
    pub(crate) most: usize,
}

impl OwnSockets {
    /// Sockets of a namespace, each with this binding and mark.
    #[must_use]
    pub fn new(inside: Arc<dyn MakeSockets>, binding: Binding, mark: Option<Mark>) -> Self {
        Self {
            inside,
            binding,
            mark,
            flows: Arc::new(()),
            most: share_of_descriptors(),
        }
    }

    /// A flow with a socket of its own; none where those of others have used up their share of the
    /// descriptors. `refuse` tells the client of a refusal.
    ///
    /// # Errors
    /// What the kernel says: [`io::ErrorKind::AddrInUse`] where another socket, which does not share
    /// it, has the address.
    pub fn open(
        &self,
        pair: Pair,
        budget: &Budget,
        mut refuse: OnRefusal,
    ) -> io::Result<Option<(SocketDatagrams, Stragglers)>> {
        // A flood of flows must not take the descriptors that connections need.
        if Arc::strong_count(&self.flows) > self.most {
            return Ok(None);
        }
        let (flow, way_in) = SocketDatagrams::new(self.connected(pair)?, budget)?;
        let counted = Arc::clone(&self.flows);
        let flow = flow.on_refusal(move |why, quote: &[u8]| {
            let _lives_as_long_as_the_flow = &counted;
            refuse(why, quote);
        });
        Ok(Some((flow, way_in)))
    }

    fn connected(&self, pair: Pair) -> io::Result<UdpSocket> {
        let Pair { client, arrived } = pair;
        // Every client of one destination has a socket with its address.
        let socket = self.inside.make(&SocketWish {
            family: Family::of(arrived.ip()),
            kind: SocketKind::Datagram,
            binding: self.binding,
            mark: self.mark,
            bind: Some(arrived),
        })?;
        let socket = UdpSocket::from(socket);
        socket.connect(client)?;
        Ok(socket)
    }
}

/// How many sockets a quarter of the descriptors that the process may have is enough for: each flow
/// takes one or two more upstream, where a proxy wants a connection too.
fn share_of_descriptors() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(DESCRIPTORS, |(soft, _)| soft);
    usize::try_from(limit / 4 / OF_A_FLOW).unwrap_or(usize::MAX)
}

/// Descriptors of a flow at most.
const OF_A_FLOW: u64 = 3;

/// The usual limit of descriptors.
const DESCRIPTORS: u64 = 1024;
