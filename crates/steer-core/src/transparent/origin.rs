//! The original destination of a transparent socket: its own address.

use std::net::SocketAddr;

use crate::address::{OrigDst, canonical};
use crate::connections::Origin;

/// As [`of`], for the addresses of a listener.
pub(super) fn of_any(to: SocketAddr, listeners: &[SocketAddr]) -> Origin {
    let direct = listeners
        .iter()
        .any(|listener| of(to, *listener) == Origin::Direct);
    if direct {
        Origin::Direct
    } else {
        Origin::Steered(OrigDst::new(to))
    }
}

/// Compares the address that something was sent to with that of the listener.
fn of(to: SocketAddr, listener: SocketAddr) -> Origin {
    let to = canonical(to);
    let listener = canonical(listener);
    if (to.ip(), to.port()) == (listener.ip(), listener.port()) {
        Origin::Direct
    } else {
        Origin::Steered(OrigDst::new(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listeners_own_address_is_direct() {
        let listener: SocketAddr = "127.0.0.1:15001".parse().unwrap();
        assert_eq!(of(listener, listener), Origin::Direct);
        let mapped = "[::ffff:127.0.0.1]:15001".parse().unwrap();
        assert_eq!(of(mapped, listener), Origin::Direct);
        for other in ["127.0.0.1:15002", "127.0.0.2:15001", "203.0.113.7:443"] {
            let other: SocketAddr = other.parse().unwrap();
            assert_eq!(of(other, listener), Origin::Steered(OrigDst::new(other)));
        }
    }
}
