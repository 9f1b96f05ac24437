//! UDP flows: each has a socket with the destination's own address, where no other socket has it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::origin;
use crate::address::{Family, OrigDst};
use crate::connections::Origin;
use crate::datagram::{
    Answers, Batch, Budget, Datagrams, Ends, OwnSockets, Pair, QueuedDatagrams, Stragglers,
};
use crate::mark::Mark;
use crate::netns::MakeSockets;
use crate::object::Binding;
use crate::steered::Identity;

/// Makes the flows of a transparent listener.
#[derive(Debug)]
pub(super) struct Transparent {
    listeners: Vec<SocketAddr>,
    answers: Answers,
    /// None where flows do without.
    sockets: Option<OwnSockets>,
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
        let sockets = match sockets {
            Own::Sockets => Some(OwnSockets::new(inside, Binding::Transparent, Some(mark))),
            Own::None => None,
        };
        Ok(Self {
            listeners,
            answers,
            sockets,
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
        if let Some(sockets) = &self.sockets {
            match sockets.open(pair, &self.budget, Box::new(refuse.clone())) {
                Ok(Some((flow, way_in))) => return Ok((Box::new(flow), way_in)),
                Ok(None) => {}
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
            flows.sockets.as_mut().unwrap().most = 1;
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
