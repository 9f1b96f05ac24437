//! UDP flows, each between a client's socket and a token, which a socket of the flow's is bound to
//! where there are enough descriptors.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt};
use steer_core::address::{Family, OrigDst, Protocol};
use steer_core::datagram::{
    Answers, Batch, Budget, DatagramIntake, Datagrams, Ends, OwnSockets, Pair, QueuedDatagrams,
    Stragglers, lossy, send_from,
};
use steer_core::intake::Intake;
use steer_core::method::Method;
use steer_core::netns::Inside;
use steer_core::object::Binding;
use steer_core::policy::App;
use steer_core::steered::Identity;

use super::identity::Identities;
use super::maps::Maps;
use super::places::Want;
use super::tokens::{self, Tokens};

/// What comes to the sockets of one network namespace.
pub(super) fn intake(
    want: &Want,
    maps: &Maps,
    sockets: Vec<UdpSocket>,
    inside: &Inside,
) -> io::Result<Box<dyn Intake>> {
    let flows = TokenFlows::new(want, maps, &sockets, inside)?;
    let app = want.listener.app;
    let intake = DatagramIntake::new(sockets, flows, Method::Ebpf, app)?;
    Ok(Box::new(intake))
}

/// Makes the flows of a listener.
#[derive(Debug)]
struct TokenFlows {
    sockets: Vec<(Family, Arc<UdpSocket>)>,
    tokens: Tokens,
    identities: Identities,
    answers: Answers,
    /// None where flows are a question and an answer.
    own: Option<OwnSockets>,
    budget: Budget,
}

impl TokenFlows {
    fn new(want: &Want, maps: &Maps, sockets: &[UdpSocket], inside: &Inside) -> io::Result<Self> {
        let shared = |socket: &UdpSocket| {
            let family = Family::of(socket.local_addr()?.ip());
            let socket = socket.try_clone()?;
            // A token of IPv6 is an address of a local route, and of no interface
            // (`ip6_datagram_send_ctl` of net/ipv6/datagram.c).
            setsockopt(&socket, sockopt::IpFreebind, &true)?;
            Ok((family, Arc::new(socket)))
        };
        let sockets = sockets.iter().map(shared).collect::<io::Result<Vec<_>>>()?;
        let own = match want.listener.app {
            Some(App::Dns) => None,
            _ => {
                let inside = Arc::new(inside.clone());
                Some(OwnSockets::new(inside, Binding::Lo, Some(want.bypass)))
            }
        };
        let families: Vec<Family> = sockets.iter().map(|(family, _)| *family).collect();
        Ok(Self {
            tokens: Tokens::open(maps)?,
            identities: want.identities.clone(),
            answers: Answers::open(&families, want.bypass, inside)?,
            own,
            budget: Budget::new(WAITING_MOST),
            sockets,
        })
    }
}

impl Ends for TokenFlows {
    fn origin(&self, pair: Pair) -> io::Result<Option<(OrigDst, Identity)>> {
        let Pair { client, arrived } = pair;
        let Some(key) = tokens::key(arrived.ip(), Protocol::Udp) else {
            return Ok(None);
        };
        let Some(token) = self.tokens.get(key)? else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no such token"));
        };
        // Whoever knows the address of a token can send there: only the socket that it was given
        // to is heard, whose source the kernel notes before we get what it sends.
        if !tokens::is_from(&token, client) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the token is of another socket",
            ));
        }
        let to = tokens::destination(&token);
        Ok(Some((to, self.identities.of(&token))))
    }

    fn open(&mut self, pair: Pair) -> io::Result<(Box<dyn Datagrams>, Stragglers)> {
        let Pair { client, arrived } = pair;
        let family = Family::of(client.ip());
        let socket = self.sockets.iter().find(|(of, _)| *of == family);
        let (_, socket) = socket.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = Arc::clone(socket);
        let answers = self.answers.clone();
        let refuse = move |why, quote: &[u8]| answers.refuse(client, arrived, why, quote);
        if let Some(own) = &self.own {
            let made = shared(&socket, || {
                own.open(pair, &self.budget, Box::new(refuse.clone()))
            });
            match made {
                Ok(Some((flow, way_in))) => return Ok((Box::new(flow), way_in)),
                Ok(None) => {}
                // The listener's socket can do it as well.
                Err(error) => tracing::debug!(%client, %error, "a flow does without a socket"),
            }
        }
        // The answer comes from the token, whose hook tells the program the address it asked for.
        let send = move |batch: &Batch| {
            batch.iter().try_for_each(|datagram| {
                lossy(send_from(socket.as_fd(), arrived.ip(), client, datagram))
            })
        };
        let (flow, way_in) = QueuedDatagrams::new(&self.budget, send);
        Ok((Box::new(flow.on_refusal(refuse)), way_in))
    }
}

/// Has sockets of our own user bound beside the listener: not for longer than `work` takes, so that
/// no program of that user gets the port by chance.
fn shared<T>(listener: &UdpSocket, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    setsockopt(listener, sockopt::ReusePort, &true)?;
    let done = work();
    setsockopt(listener, sockopt::ReusePort, &false)?;
    done
}

/// Bytes that may wait for all flows together.
const WAITING_MOST: usize = 16 << 20;
