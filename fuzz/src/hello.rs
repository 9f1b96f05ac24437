//! The first bytes of a stream: TLS, HTTP or something else.

use steer_proxy::sniff::{Sniffer, inspect};

use crate::cuts::{cuts, pieces};

/// Looks at the first bytes of a connection.
///
/// # Panics
/// Where the verdict depends on how the bytes are cut.
pub fn hello(data: &[u8]) {
    let (cuts, bytes) = cuts(data);
    let whole = inspect(bytes);
    let mut sniffer = Sniffer::default();
    for piece in pieces(bytes, &cuts) {
        let decided = sniffer.verdict().is_decided();
        let before = sniffer.verdict().clone();
        sniffer.push(piece);
        assert!(!decided || before == *sniffer.verdict(), "a verdict stands");
    }
    assert_eq!(sniffer.verdict(), &whole, "cut at {cuts:?}");
    let mut at_once = Sniffer::default();
    at_once.push(bytes);
    assert_eq!(sniffer.conclude(), at_once.conclude());
}
