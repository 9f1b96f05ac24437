//! UDP flows, each between a client's socket and a token, which a socket of the flow's is bound to
//! where there are enough descriptors.

use std::cell::Cell;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use steer_kernel::sock_diag::SockDiag;

use super::identity::Identities;
use super::maps::Maps;
use super::places::Want;
use super::tokens::{self, Tokens};
use crate::abi::CLOSED;

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
    diag: SockDiag,
    looks: Looks,
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
            diag: inside.run(SockDiag::open)??,
            looks: Looks::default(),
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
        // Whoever knows the address of a token can send there: only the socket that it was given
        // to is heard. Asked in this order, as a socket marks its token before it is gone.
        let sender = self.diag.udp_receiver(arrived, client)?;
        let Some(token) = self.tokens.get(key)? else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no such token"));
        };
        let is_its = match sender {
            Some(cookie) if cookie == token.cookie => true,
            // Of sockets that share an address one is told.
            Some(_) => self.looks.may() && self.diag.udp_shares(token.cookie, client)?,
            None => token.source_port == CLOSED,
        };
        if !is_its {
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

/// How often all sockets of a port were looked at: who sends to tokens of others must not make us do
/// that without end.
#[derive(Debug, Default)]
struct Looks(Cell<Option<(Instant, u32)>>);

impl Looks {
    /// Whether one more may be taken.
    fn may(&self) -> bool {
        let now = Instant::now();
        let (since, count) = match self.0.get() {
            Some((since, count)) if now - since < LOOKS_PERIOD => (since, count),
            _ => (now, 0),
        };
        self.0.set(Some((since, (count + 1).min(LOOKS_MOST))));
        count < LOOKS_MOST
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

/// How many looks a period has; each takes some tens of microseconds.
const LOOKS_MOST: u32 = 1000;

/// The period of that.
const LOOKS_PERIOD: Duration = Duration::from_secs(1);

/// Bytes that may wait for all flows together.
const WAITING_MOST: usize = 16 << 20;
