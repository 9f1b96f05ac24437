//! DNS over UDP: its flows share the listener, from which conntrack translates the answers back.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;

use steer_core::address::{Family, OrigDst, Protocol};
use steer_core::datagram::{
    Answers, Batch, Budget, Datagrams, Ends, Pair, QueuedDatagrams, Stragglers, lossy, send_from,
};
use steer_core::mark::Mark;
use steer_core::netns::Inside;
use steer_core::steered::Identity;
use steer_kernel::conntrack::Conntrack;

/// Makes the flows of a listener that datagrams are redirected to.
#[derive(Debug)]
pub(super) struct Redirected {
    sockets: Vec<(Family, Arc<UdpSocket>)>,
    conntrack: Conntrack,
    answers: Answers,
    budget: Budget,
}

impl Redirected {
    pub(super) fn new(sockets: &[UdpSocket], inside: &Inside, bypass: Mark) -> io::Result<Self> {
        let shared = |socket: &UdpSocket| {
            let family = Family::of(socket.local_addr()?.ip());
            Ok((family, Arc::new(socket.try_clone()?)))
        };
        let sockets = sockets.iter().map(shared).collect::<io::Result<Vec<_>>>()?;
        let families: Vec<Family> = sockets.iter().map(|(family, _)| *family).collect();
        Ok(Self {
            sockets,
            conntrack: inside.run(Conntrack::open)??,
            answers: Answers::open(&families, bypass, inside)?,
            budget: Budget::new(WAITING_MOST),
        })
    }
}

impl Ends for Redirected {
    fn origin(&self, pair: Pair) -> io::Result<Option<(OrigDst, Identity)>> {
        let Pair { client, arrived } = pair;
        let to = self.conntrack.original(Protocol::Udp, client, arrived)?;
        // The kernel's socket tables are asked for connections only.
        Ok(to.map(|to| (OrigDst::new(to), Identity::default())))
    }

    fn open(&mut self, pair: Pair) -> io::Result<(Box<dyn Datagrams>, Stragglers)> {
        let Pair { client, arrived } = pair;
        let family = Family::of(client.ip());
        let (_, socket) = self
            .sockets
            .iter()
            .find(|(of, _)| *of == family)
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = Arc::clone(socket);
        // The answer must come from the very address that the query was redirected to.
        let send = move |batch: &Batch| {
            batch.iter().try_for_each(|datagram| {
                lossy(send_from(socket.as_fd(), arrived.ip(), client, datagram))
            })
        };
        let answers = self.answers.clone();
        let refuse = move |why, quote: &[u8]| answers.refuse(client, arrived, why, quote);
        let (flow, way_in) = QueuedDatagrams::new(&self.budget, send);
        Ok((Box::new(flow.on_refusal(refuse)), way_in))
    }
}

/// Bytes that may wait for all flows together.
const WAITING_MOST: usize = 16 << 20;
