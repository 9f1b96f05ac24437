//! QUIC Initial packets (RFC 9000, section 17.2.2; RFC 9001, section 5; RFC 9369).
//!
//! ```text
//! datagram ─> packets ─> open (keys from the connection id) ─> CRYPTO frames ─> stream ─> hello
//! ```
//!
//! An Initial is sealed with keys that its own header gives to everybody, so a packet that opens is
//! QUIC for certain. A hello with a post-quantum key takes several datagrams, whose frames come in
//! any order; browsers shuffle them on purpose.
mod packet;
mod stream;

use steer_core::policy::App;

use super::tls;
use super::{Sniffed, Verdict};
use packet::{Fields, Initial, Kind, Packet};
use stream::Stream;

/// Collects the datagrams of a client until they tell its hello.
#[derive(Clone, Debug, Default)]
pub(super) struct Collector {
    /// The connection id that the keys come from.
    id: Vec<u8>,
    stream: Stream,
    /// Whether a packet was opened.
    certain: bool,
    datagrams: usize,
}

impl Collector {
    /// Looks at the next datagram.
    pub(super) fn push(&mut self, datagram: &[u8]) -> Verdict {
        self.datagrams += 1;
        let mut rest = datagram;
        let mut early = false;
        while let Some((packet, behind)) = Packet::read(rest) {
            match packet.kind {
                Kind::Initial => {
                    if self
                        .open(&packet, &rest[..rest.len() - behind.len()])
                        .is_none()
                    {
                        break;
                    }
                    self.certain = true;
                }
                // 0-RTT may overtake the hello, or share its datagram.
                Kind::Early => early = true,
                Kind::Later => break,
            }
            rest = behind;
        }
        if !self.certain && !early {
            return Verdict::Opaque;
        }
        if let Some(hello) = self.stream.message() {
            let sniffed = tls::parse(hello).unwrap_or(Sniffed::only(App::Tls));
            return Verdict::Found(Sniffed {
                app: App::Quic,
                ..sniffed
            });
        }
        if self.datagrams < MOST_DATAGRAMS && !self.stream.is_spoilt() {
            Verdict::NeedMore
        } else if self.certain {
            Verdict::Found(Sniffed::only(App::Quic))
        } else {
            Verdict::Opaque
        }
    }

    /// What is known when no more comes.
    pub(super) fn guess(&self) -> App {
        if self.certain { App::Quic } else { App::Opaque }
    }

    /// Opens an Initial and takes its frames; none where it is no packet of this connection.
    fn open(&mut self, packet: &Packet<'_>, bytes: &[u8]) -> Option<()> {
        let known = !self.id.is_empty();
        let opened = known
            .then(|| Initial::open(packet, bytes, &self.id))
            .flatten();
        let opened = match opened {
            Some(opened) => opened,
            None => {
                // The first one, or one after a Retry, which begins again with another id.
                let opened = Initial::open(packet, bytes, packet.id)?;
                self.id = packet.id.to_vec();
                self.stream = Stream::default();
                opened
            }
        };
        self.frames(opened.payload());
        Some(())
    }

    /// Takes the CRYPTO frames; what cannot be read ends it, as the packet was sealed so.
    fn frames(&mut self, payload: &[u8]) -> Option<()> {
        let mut fields = Fields(payload);
        while !fields.0.is_empty() {
            match fields.number()? {
                PADDING | PING => {}
                kind @ (ACK | ACK_ECN) => {
                    fields.number()?; // largest
                    fields.number()?; // delay
                    let ranges = fields.number()?;
                    fields.number()?; // first range
                    for _ in 0..ranges {
                        fields.number()?;
                        fields.number()?;
                    }
                    if kind == ACK_ECN {
                        for _ in 0..3 {
                            fields.number()?;
                        }
                    }
                }
                CRYPTO => {
                    let at = fields.number()?;
                    let length = fields.number()?;
                    let piece = fields.take(usize::try_from(length).ok()?)?;
                    self.stream.put(usize::try_from(at).ok()?, piece);
                }
                _ => return None,
            }
        }
        Some(())
    }
}

const PADDING: u64 = 0;
const PING: u64 = 1;
const ACK: u64 = 2;
const ACK_ECN: u64 = 3;
const CRYPTO: u64 = 6;

/// What a hello takes at most: two or three usually.
const MOST_DATAGRAMS: usize = 16;

#[cfg(test)]
mod tests;
