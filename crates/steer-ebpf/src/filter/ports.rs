//! Sets of ports.

use steer_core::address::PortRange;

use crate::abi::PORT_WORDS;

/// The ports of `include` (all where it is empty) without those of `except`, a bit each.
pub(super) fn ports(include: &[PortRange], except: &[PortRange]) -> Vec<u64> {
    let mut words = match include {
        [] => vec![u64::MAX; PORT_WORDS as usize],
        _ => vec![0; PORT_WORDS as usize],
    };
    for range in include {
        each(*range, &mut words, |word, bit| *word |= bit);
    }
    for range in except {
        each(*range, &mut words, |word, bit| *word &= !bit);
    }
    words
}

/// Whether a port is in a set.
#[cfg(test)]
pub(super) fn has(words: &[u64], port: u16) -> bool {
    words[usize::from(port / 64)] & 1 << (port % 64) != 0
}

fn each(range: PortRange, words: &mut [u64], change: impl Fn(&mut u64, u64)) {
    for port in range.first()..=range.last() {
        change(&mut words[usize::from(port / 64)], 1 << (port % 64));
    }
}
