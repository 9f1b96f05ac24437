//! UDP flows: each has a socket with the destination's own address, where no other socket has it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit};

use super::origin;
use crate::address::{Family, OrigDst};
use crate::connections::Origin;
use crate::datagram::{
    Answers, Batch, Budget, Datagrams, Ends, Pair, QueuedDatagrams, SocketDatagrams, Stragglers,
};
use crate::mark::Mark;
use crate::netns::{MakeSockets, SocketKind, SocketWish};
use crate::object::Binding;
use crate::steered::Identity;

/// Makes the flows of a transparent listener.
#[derive(Debug)]
pub(super) struct Transparent {
    listeners: Vec<SocketAddr>,
    inside: Arc<dyn MakeSockets>,
    answers: Answers,
    mark: Mark,
    sockets: Own,
    /// Flows that have a socket, one count each and one of our own.
    with_socket: Arc<()>,
    /// How many of them there may be.
    sockets_most: usize,
    budget: Budget,
}

/// Whether flows get sockets of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Where they can.
    Sockets,
    /// Never: flows are a question and an answer, or a server of this host has their address.
    None,
}

impl Transparent {
    pub(super) fn new(
        listeners: Vec<SocketAddr>,
        inside: Arc<dyn MakeSockets>,
        mark: Mark,
        sockets: Own,
    ) -> io::Result<Self> {
        let families: Vec<Family> = listeners.iter().map(|at| Family::of(at.ip())).collect();
        let answers = Answers::open(&families, mark, &*inside)?;
        Ok(Self {
            listeners,
            inside,
            answers,
            mark,
            sockets,
            with_socket: Arc::new(()),
            sockets_most: share_of_descriptors(),
            budget: Budget::new(WAITING_MOST),
        })
    }
}

impl Ends for Transparent {
    fn origin(&self, pair: Pair) -> io::Result<Option<(OrigDst, Identity)>> {
        Ok(match origin::of_any(pair.arrived, &self.listeners) {
            // The kernel's socket tables are asked for connections only.
            Origin::Steered(to) => Some((to, Identity::default())),
            Origin::Direct => None,
        })
    }

    fn open(&mut self, pair: Pair) -> io::Result<(Box<dyn Datagrams>, Stragglers)> {
        let Pair { client, arrived } = pair;
        let answers = self.answers.clone();
        let refuse = move |why, quote: &[u8]| answers.refuse(client, arrived, why, quote);
        // A flood of flows must not take the descriptors that connections need.
        let room = Arc::strong_count(&self.with_socket) <= self.sockets_most;
        if self.sockets == Own::Sockets && room {
            match self.connected(pair) {
                Ok(socket) => {
                    let (flow, way_in) = SocketDatagrams::new(socket, &self.budget)?;
                    let counted = Arc::clone(&self.with_socket);
                    let flow = flow.on_refusal(move |why, quote: &[u8]| {
                        let _lives_as_long_as_the_flow = &counted;
                        refuse(why, quote);
                    });
                    return Ok((Box::new(flow), way_in));
                }
                // A server of this host, which does not share its port.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        let answers = self.answers.clone();
        let send = move |batch: &Batch| answers.send(arrived, client, batch);
        let (flow, way_in) = QueuedDatagrams::new(&self.budget, send);
        Ok((Box::new(flow.on_refusal(refuse)), way_in))
    }
}

impl Transparent {
    /// A socket with the destination's address that gets what this client sends there: the kernel
    /// looks for connected sockets before it looks for the listener.
    fn connected(&self, pair: Pair) -> io::Result<UdpSocket> {
        let Pair { client, arrived } = pair;
        // Every client of one destination has a socket with its address.
        let socket = self.inside.make(&SocketWish {
            family: Family::of(arrived.ip()),
            kind: SocketKind::Datagram,
            binding: Binding::Transparent,
            mark: Some(self.mark),
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

/// Bytes that may wait for the flows outside their sockets.
const WAITING_MOST: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use lab::Lab;

    use super::*;
    use crate::netns::Inside;

    #[test]
    fn flows_beyond_their_share_of_descriptors_do_without_a_socket() {
        lab::require!(Root);
        let app = Lab::new("share").host("app");
        let kinds = app.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let _within = runtime.enter();
            let listener = "127.0.0.1:15001".parse().unwrap();
            let here = Arc::new(Inside::here());
            let mut flows =
                Transparent::new(vec![listener], here, Mark::BYPASS, Own::Sockets).unwrap();
            flows.sockets_most = 1;
            let mut open = |client: u16| {
                let pair = Pair {
                    client: SocketAddr::from(([127, 0, 0, 1], client)),
                    arrived: "203.0.113.7:443".parse().unwrap(),
                };
                flows.open(pair).unwrap().0
            };
            let (first, second) = (open(40001), open(40002));
            let kinds = [format!("{first:?}"), format!("{second:?}")];
            drop(first);
            [&kinds[..], &[format!("{:?}", open(40003))]].concat()
        });
        let expected = ["SocketDatagrams", "QueuedDatagrams", "SocketDatagrams"];
        for (kind, expected) in kinds.iter().zip(expected) {
            assert!(kind.starts_with(expected), "{kinds:?}");
        }
    }
}
