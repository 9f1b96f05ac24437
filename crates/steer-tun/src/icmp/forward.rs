//! Echo requests that the engine asks in the place of a client.

mod asked;
mod raw;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use steer_core::address::Family;

use super::errors::is_error;
use super::quoted::Quoted;
use super::{ANSWER_V4, ANSWER_V6, ECHO_V4, ECHO_V6, answer, asker};
use crate::out::Out;
use crate::packet::build::{Ends, Message, icmp};
use crate::packet::{Parsed, Transport};
use crate::wire::Hop;

use asked::{Asked, Question};
pub use raw::RawSockets;

/// Asks destinations in the place of clients, and passes on what they and routers on the way say.
#[derive(Debug)]
pub struct Forward {
    sockets: RawSockets,
    asked: Mutex<Asked>,
    out: Arc<Out>,
}

impl Forward {
    /// Starts the threads that wait for answers, one a family. They end with the last clone.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(sockets: RawSockets, out: Arc<Out>) -> io::Result<Arc<Self>> {
        let forward = Arc::new(Self {
            sockets,
            asked: Mutex::default(),
            out,
        });
        for family in Family::ALL {
            let Some(socket) = forward.sockets.of(family) else {
                continue;
            };
            let forward = Arc::downgrade(&forward);
            thread::Builder::new()
                .name("steer-echo".to_owned())
                .spawn(move || listen(family, &socket, &forward))?;
        }
        Ok(forward)
    }

    /// Asks what a client asks; `message` is an echo request, with its header.
    ///
    /// # Errors
    /// Why the destination cannot be asked.
    pub(super) fn take(&self, parsed: &Parsed, message: &[u8], hop: Hop) -> io::Result<()> {
        let socket = self.sockets.of(parsed.family);
        let socket = socket.ok_or(io::ErrorKind::NetworkUnreachable)?;
        let question = Question {
            client: parsed.source,
            id: u16::from_be_bytes([message[4], message[5]]),
            destination: parsed.destination,
        };
        let id = self.asked().ask(question, hop);
        let [high, low] = id.to_be_bytes();
        let ask = Message {
            kind: message[0],
            code: 0,
            rest: [high, low, message[6], message[7]],
        };
        // The kernel puts its own addresses in, and mends the sum of ICMPv6 for them.
        let ends = Ends::new(parsed.source, parsed.destination).expect("ends of one packet");
        let whole = icmp(ends, ask, &message[8..]);
        let hops = parsed.hops.saturating_sub(1).max(1);
        raw::send(&socket, parsed.destination, hops, &whole)
    }

    /// Passes on what came to a raw socket from `from`, where it is about a question of ours.
    fn hear(&self, family: Family, from: IpAddr, message: &[u8]) -> Option<()> {
        let (header, body) = message.split_first_chunk::<8>()?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        match (family, header[0]) {
            (Family::V4, ANSWER_V4) | (Family::V6, ANSWER_V6) => {
                let (question, hop) = self.asked().question(word(4), from)?;
                let [high, low] = question.id.to_be_bytes();
                let told = Message {
                    rest: [high, low, header[6], header[7]],
                    ..answer(family, message)
                };
                self.tell(hop, from, question.client, told, body)
            }
            (_, kind) if is_error(family, kind) => {
                let quoted = Quoted::read(family, body)?;
                let is_echo = quoted.transport == Transport::Icmp
                    && matches!(
                        (family, quoted.kind()),
                        (Family::V4, ECHO_V4) | (Family::V6, ECHO_V6)
                    );
                if !is_echo || !is_router(from) {
                    return None;
                }
                let (id, destination) = (quoted.source().port(), quoted.destination().ip());
                let (question, hop) = self.asked().question(id, destination)?;
                let told = Message {
                    kind,
                    code: header[1],
                    rest: [header[4], header[5], header[6], header[7]],
                };
                let source = asker(question.client, question.id);
                let about = quoted.between(source, SocketAddr::new(destination, 0));
                self.tell(hop, from, question.client, told, &about)
            }
            _ => None,
        }
    }

    fn tell(&self, hop: Hop, from: IpAddr, to: IpAddr, told: Message, body: &[u8]) -> Option<()> {
        let ends = Ends::new(from, to)?;
        let whole = icmp(ends, told, body);
        self.out.send(hop, ends, Transport::Icmp, &whole).ok()
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        // Valid after every statement, so a panic elsewhere leaves nothing half done.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears what comes to a socket, until nobody forwards any more.
fn listen(family: Family, socket: &raw::Socket, forward: &Weak<Forward>) {
    let mut room = vec![0; raw::LONGEST];
    loop {
        let heard = raw::receive(socket, family, &mut room);
        let Some(forward) = forward.upgrade() else {
            return;
        };
        match heard {
            Ok(Some((from, message))) => {
                // Most of what comes is about nothing of ours: the host's other ICMP.
                let _ = forward.hear(family, from, message);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "answers to echo requests are not heard any more");
                return;
            }
        }
    }
}

/// Whether an error may come from there as it is: an address that clients can take for a router's.
fn is_router(ip: IpAddr) -> bool {
    !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast()
}
