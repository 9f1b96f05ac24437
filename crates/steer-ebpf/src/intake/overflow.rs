//! Destinations of sockets of datagrams that have many: the kernel frees none of them by itself.

use std::io;

use aya::maps::{HashMap, MapData};

use super::maps::{self, Maps};
use super::tokens::Tokens;
use crate::abi::{PAIRS_MOST, Pair, Slot};

/// The destinations beside those that are kept with their socket.
#[derive(Debug)]
pub(super) struct Overflow(HashMap<MapData, Pair, Slot>);

impl Overflow {
    /// The map of the programs.
    pub(super) fn open(maps: &Maps) -> io::Result<Self> {
        let map = maps.open("OVERFLOW")?;
        HashMap::try_from(map).map(Self).map_err(io::Error::other)
    }

    /// Removes those whose token is gone or is another socket's, and tells how many those were.
    pub(super) fn sweep(&mut self, tokens: &Tokens) -> io::Result<usize> {
        let Self(map) = self;
        let mut removed = 0;
        // The list is made first: a key that is removed meanwhile would make the kernel begin anew.
        let most = usize::try_from(PAIRS_MOST).unwrap_or(usize::MAX);
        let pairs: Vec<Pair> = map.keys().take(most).map_while(Result::ok).collect();
        for pair in pairs {
            let Some(slot) = maps::found(map.get(&pair, 0))? else {
                continue;
            };
            let token = tokens.get(slot.key)?;
            let is_its = token.is_some_and(|token| token.cookie == pair.cookie);
            if !is_its && maps::found(map.remove(&pair))?.is_some() {
                removed += 1;
            }
        }
        Ok(removed)
    }
}
