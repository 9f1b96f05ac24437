//! What the first bytes of a connection say about it: its application, and the name it is for.
//!
//! ```text
//! client's bytes ─> Sniffer ─┬─ tls:  ClientHello -> SNI, ALPN
//!                            ├─ http: request head -> Host; preface -> HTTP/2
//!           datagrams        └─ quic: Initial packets -> ClientHello -> SNI, ALPN
//! ```
//!
//! The sniffer looks at bytes that were read to be forwarded anyway, never at peeked ones: with
//! MSG_PEEK the socket stays readable while a hello is incomplete, so waiting for the rest is either
//! a busy loop or a game with SO_RCVLOWAT, and each look is one more call. The reader keeps what it
//! read as the prefix of the relay, so nothing is lost, and where the route does not depend on the
//! answer the bytes are forwarded before they are looked at, so nothing waits.
mod dns;
mod http;
mod name;
mod quic;
mod tls;

use steer_core::address::HostName;
use steer_core::policy::App;

/// What the first bytes turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sniffed {
    /// The protocol.
    pub app: App,
    /// The name that the client asks for: of the SNI where `app` is [`App::Tls`] or [`App::Quic`],
    /// otherwise of the request. A claim of the client, never checked. With ECH it is the outer name.
    pub host: Option<HostName>,
    /// The protocols that a TLS client offers (ALPN), in its order.
    pub alpn: Vec<String>,
}

impl Sniffed {
    fn only(app: App) -> Self {
        Self {
            app,
            host: None,
            alpn: Vec::new(),
        }
    }
}

/// What is known after some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next bytes decide.
    NeedMore,
    /// It is a protocol that is known here.
    Found(Sniffed),
    /// It is none that is known here.
    Opaque,
}

impl Verdict {
    /// Whether further bytes change nothing.
    pub fn is_decided(&self) -> bool {
        !matches!(self, Self::NeedMore)
    }
}

/// Bytes that are looked at; what has not decided by then never does.
pub const WINDOW: usize = 16 * 1024;

/// Collects the first bytes of a stream until they decide.
///
/// The verdict does not depend on how the bytes are cut.
///
/// ```
/// use steer_core::policy::App;
/// use steer_proxy::sniff::Sniffer;
///
/// let mut sniffer = Sniffer::default();
/// sniffer.push(b"GET / HTTP/1.1\r\nHost: Exam");
/// sniffer.push(b"ple.com:8080\r\n\r\n");
/// let sniffed = sniffer.conclude();
/// assert_eq!(sniffed.app, App::Http1);
/// assert_eq!(sniffed.host.unwrap().as_str(), "example.com");
/// ```
#[derive(Clone, Debug)]
pub struct Sniffer {
    seen: Vec<u8>,
    verdict: Verdict,
    /// Where whole datagrams are pushed: how they are looked at.
    datagrams: Option<Datagrams>,
}

/// What datagrams may be.
#[derive(Clone, Debug)]
enum Datagrams {
    /// To the port of DNS, where nothing else is expected.
    Dns,
    Quic(Box<quic::Collector>),
}

impl Default for Sniffer {
    fn default() -> Self {
        Self {
            seen: Vec::new(),
            verdict: Verdict::NeedMore,
            datagrams: None,
        }
    }
}

impl Sniffer {
    /// One that knows already, because a listener prescribes what is spoken.
    pub fn told(app: App) -> Self {
        Self {
            verdict: Verdict::Found(Sniffed::only(app)),
            ..Self::default()
        }
    }

    /// One that looks at datagrams to a port, each pushed whole.
    pub fn datagrams(port: u16) -> Self {
        let datagrams = if port == dns::PORT {
            Datagrams::Dns
        } else {
            Datagrams::Quic(Box::default())
        };
        Self {
            datagrams: Some(datagrams),
            ..Self::default()
        }
    }

    /// The protocol so far.
    pub fn app(&self) -> App {
        match (&self.verdict, &self.datagrams) {
            (Verdict::Found(sniffed), _) => sniffed.app,
            (Verdict::NeedMore, Some(Datagrams::Quic(collector))) => collector.guess(),
            _ => App::Opaque,
        }
    }

    /// Looks at the next bytes. Copies them only while the verdict is open.
    pub fn push(&mut self, bytes: &[u8]) -> &Verdict {
        if self.verdict.is_decided() {
            return &self.verdict;
        }
        if let Some(datagrams) = &mut self.datagrams {
            self.verdict = match datagrams {
                Datagrams::Dns => dns::inspect(bytes),
                Datagrams::Quic(collector) => collector.push(bytes),
            };
            if self.verdict.is_decided() {
                self.datagrams = None;
            }
            return &self.verdict;
        }
        if self.seen.is_empty() {
            self.verdict = inspect(bytes);
            if !self.verdict.is_decided() {
                self.seen.extend_from_slice(bytes);
            }
        } else {
            let room = WINDOW - self.seen.len();
            self.seen.extend_from_slice(&bytes[..bytes.len().min(room)]);
            self.verdict = inspect(&self.seen);
        }
        if self.verdict.is_decided() {
            self.seen = Vec::new();
        }
        &self.verdict
    }

    /// Whether the bytes so far are the beginning of what a client says first, so that nothing but
    /// more of it can be expected.
    pub fn has_begun(&self) -> bool {
        !self.verdict.is_decided()
            && !self.seen.is_empty()
            && (tls::may_be(&self.seen) || http::begins(&self.seen))
    }

    /// The verdict so far.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The answer when no more bytes will be looked at.
    pub fn conclude(&self) -> Sniffed {
        match &self.verdict {
            Verdict::Found(sniffed) => sniffed.clone(),
            Verdict::Opaque => Sniffed::only(App::Opaque),
            Verdict::NeedMore => Sniffed::only(match &self.datagrams {
                None => guess(&self.seen),
                Some(Datagrams::Dns) => App::Opaque,
                Some(Datagrams::Quic(collector)) => collector.guess(),
            }),
        }
    }
}

/// The verdict on the first bytes of a stream.
pub fn inspect(bytes: &[u8]) -> Verdict {
    let window = &bytes[..bytes.len().min(WINDOW)];
    let verdict = if tls::may_be(window) {
        tls::inspect(window)
    } else {
        http::inspect(window)
    };
    match verdict {
        Verdict::NeedMore if window.len() == WINDOW => match guess(window) {
            App::Opaque => Verdict::Opaque,
            app => Verdict::Found(Sniffed::only(app)),
        },
        verdict => verdict,
    }
}

/// The protocol of bytes that began well and stopped early.
fn guess(bytes: &[u8]) -> App {
    if tls::is_hello(bytes) {
        App::Tls
    } else if http::has_request_line(bytes) || http::resembles(bytes) {
        App::Http1
    } else {
        App::Opaque
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples() -> Vec<Vec<u8>> {
        let long_head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(WINDOW));
        vec![
            b"GET /index.html HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\nbody".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0".to_vec(),
            b"PRI * HTTP/1.1\r\nHost: b.example\r\n\r\n".to_vec(),
            b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
            b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec(),
            b"\x16\x03\x01\xff\xff\x01".to_vec(),
            long_head.into_bytes(),
            tls::tests::hello("cut.example", &[b"h2"]),
            tls::tests::fragmented(&tls::tests::hello("cut.example", &[b"h2"]), 7),
        ]
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_the_cuts(
            which in 0..9usize,
            cuts in prop::collection::vec(1..4096usize, 0..40),
        ) {
            let bytes = &samples()[which];
            let mut sniffer = Sniffer::default();
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                sniffer.push(head);
                rest = tail;
            }
            sniffer.push(rest);
            prop_assert_eq!(sniffer.verdict(), &inspect(bytes));
        }

        #[test]
        fn garbage_is_never_a_panic_and_cuts_do_not_matter(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            cut in 0..600usize,
        ) {
            let mut sniffer = Sniffer::default();
            let cut = cut.min(bytes.len());
            sniffer.push(&bytes[..cut]);
            sniffer.push(&bytes[cut..]);
            prop_assert_eq!(sniffer.verdict(), &inspect(&bytes));
        }

        #[test]
        fn a_damaged_hello_is_never_a_panic(at in 0..512usize, with in any::<u8>()) {
            let mut hello = tls::tests::hello("damaged.example", &[b"h2", b"http/1.1"]);
            let at = at % hello.len();
            hello[at] = with;
            let whole = inspect(&hello);
            let mut sniffer = Sniffer::default();
            for byte in &hello {
                sniffer.push(std::slice::from_ref(byte));
            }
            prop_assert_eq!(sniffer.verdict(), &whole);
        }
    }

    #[test]
    fn a_head_that_never_ends_is_http_without_a_name() {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a.example\r\nx: {}",
            "y".repeat(WINDOW)
        );
        assert_eq!(
            inspect(head.as_bytes()),
            Verdict::Found(Sniffed::only(App::Http1))
        );
    }

    #[test]
    fn the_app_of_a_hello_that_stopped_half_way_is_known() {
        let mut sniffer = Sniffer::default();
        sniffer.push(&tls::tests::hello("half.example", &[])[..60]);
        assert_eq!(sniffer.conclude(), Sniffed::only(App::Tls));
    }
}
