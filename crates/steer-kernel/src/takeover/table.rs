//! What is known of the sockets of programs.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use nix::errno::Errno;

/// What another connect(2) of a socket gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Nothing is known of the socket: this is its first.
    New,
    /// This answer.
    Answer(Result<(), Errno>),
    /// What the call that is pending gets, when it does.
    Wait,
}

/// Sockets by their cookie (SO_COOKIE), which no other socket ever gets: what is left of a socket
/// that is gone is never mistaken, and gives way when there is no more room.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<u64, Entry>,
    /// In the order in which they came; those that were forgotten are still here.
    order: VecDeque<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) asked: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The engine is not done.
    Pending { held: bool },
    /// The connection failed, and the program has not been told.
    Failed(Errno),
    /// It failed, and the program asked why.
    Told,
    /// It is the engine's; whether a connect of the program has been told so.
    Joined { seen: bool },
}

impl Table {
    pub(super) fn enter(&mut self, cookie: u64, entry: Entry) {
        while self.order.len() >= MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
        if self.entries.insert(cookie, entry).is_none() {
            self.order.push_back(cookie);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn state(&self, cookie: u64) -> Option<State> {
        self.entries.get(&cookie).map(|entry| entry.state)
    }

    /// Nothing where the socket is not known.
    pub(super) fn set(&mut self, cookie: u64, state: State) {
        if let Some(entry) = self.entries.get_mut(&cookie) {
            entry.state = state;
        }
    }

    pub(super) fn forget(&mut self, cookie: u64) {
        self.entries.remove(&cookie);
    }

    /// What was asked for, of a socket that was joined.
    pub(super) fn asked(&self, cookie: u64) -> Option<SocketAddr> {
        let entry = self.entries.get(&cookie)?;
        matches!(entry.state, State::Joined { .. }).then_some(entry.asked)
    }
}

/// The most sockets that are remembered.
const MOST: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way_and_a_socket_that_connects_again_is_one() {
        let mut table = Table::default();
        let entry = Entry {
            state: State::Pending { held: true },
            asked: SocketAddr::from(([192, 0, 2, 1], 1)),
        };
        for cookie in 0..MOST as u64 {
            table.enter(cookie, entry);
        }
        table.set(5, State::Joined { seen: true });
        assert_eq!(table.asked(5), Some(entry.asked));
        table.enter(MOST as u64, entry);
        assert_eq!(table.state(0), None);
        assert!(table.entries.len() <= MOST && table.order.len() <= MOST);
        table.forget(5);
        table.enter(5, entry);
        assert!(table.state(5).is_some() && table.asked(5).is_none());
    }
}
