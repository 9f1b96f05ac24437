//! What clients send to the explicit port.

use steer_env::trial::{Asks, explicit};

use crate::cuts::cuts;

/// Gives the port a client that speaks SOCKS, 4 or 5.
///
/// # Panics
/// Where what it makes of it depends on how the bytes are cut.
pub fn socks(data: &[u8]) {
    let (cuts, rest) = cuts(data);
    let Some((version, rest)) = rest.split_first() else {
        return;
    };
    let bytes = [&[4 + (version & 1)], rest].concat();
    holds(&bytes, &cuts);
}

/// Gives the port a client that speaks HTTP: CONNECT or a request in absolute form, and its body.
///
/// # Panics
/// Where what it makes of it depends on how the bytes are cut, or where it passes on a head that
/// could be read in two ways.
pub fn absolute(data: &[u8]) {
    let (cuts, bytes) = cuts(data);
    if !bytes.first().is_some_and(|first| *first >= 0x0a) {
        return;
    }
    holds(bytes, &cuts);
}

fn holds(bytes: &[u8], cuts: &[usize]) {
    for asks in [Asks::Nothing, Asks::Login] {
        let whole = explicit(bytes, &[], asks);
        assert_eq!(whole, explicit(bytes, cuts, asks), "cut at {cuts:?}");
    }
}
