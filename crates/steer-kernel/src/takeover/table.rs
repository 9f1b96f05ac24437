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
    order: VecDeque<(u64, Turn)>,
    turns: u64,
}

/// One connect of a socket, which may have others after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn(u64);

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    asked: SocketAddr,
    turn: Turn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The engine is not done.
    Pending { held: bool },
    /// It is, and the kernel is about to connect the socket to it.
    Meeting { held: bool },
    /// The connection failed, and the program has not been told.
    Failed(Errno),
    /// It failed, and the program asked why.
    Told,
    /// It is the engine's; whether a connect of the program has been told so.
    Joined { seen: bool },
}

impl State {
    const fn is_decided(self) -> bool {
        match self {
            Self::Pending { .. } | Self::Meeting { .. } => false,
            Self::Failed(_) | Self::Told | Self::Joined { .. } => true,
        }
    }
}

impl Table {
    pub(super) fn enter(&mut self, cookie: u64, state: State, asked: SocketAddr) -> Turn {
        self.make_room();
        self.turns += 1;
        let turn = Turn(self.turns);
        self.order.push_back((cookie, turn));
        let entry = Entry { state, asked, turn };
        self.entries.insert(cookie, entry);
        turn
    }

    /// The oldest that are decided give way; what is pending has somebody who waits for it.
    fn make_room(&mut self) {
        for _ in 0..self.order.len() {
            if self.order.len() < MOST {
                break;
            }
            let Some((cookie, turn)) = self.order.pop_front() else {
                break;
            };
            match self.at(cookie, turn) {
                Some(state) if state.is_decided() => self.forget(cookie),
                Some(_) => self.order.push_back((cookie, turn)),
                // Forgotten, and perhaps here again: that one has its own place in the order.
                None => {}
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn state(&self, cookie: u64) -> Option<State> {
        self.entries.get(&cookie).map(|entry| entry.state)
    }

    /// The state of one connect of a socket; none where it was forgotten.
    pub(super) fn at(&self, cookie: u64, turn: Turn) -> Option<State> {
        let entry = self.entries.get(&cookie)?;
        (entry.turn == turn).then_some(entry.state)
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

    /// What was asked for, of a socket that is, or is just being, joined.
    pub(super) fn asked(&self, cookie: u64) -> Option<SocketAddr> {
        let entry = self.entries.get(&cookie)?;
        match entry.state {
            State::Joined { .. } | State::Meeting { .. } => Some(entry.asked),
            State::Pending { .. } | State::Failed(_) | State::Told => None,
        }
    }
}

/// The most sockets that are remembered, unless more are pending.
const MOST: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    const JOINED: State = State::Joined { seen: true };
    const PENDING: State = State::Pending { held: true };

    fn somewhere() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 1))
    }

    #[test]
    fn the_oldest_give_way_and_what_is_pending_does_not() {
        let mut table = Table::default();
        table.enter(0, PENDING, somewhere());
        for cookie in 1..MOST as u64 {
            table.enter(cookie, JOINED, somewhere());
        }
        assert_eq!(table.asked(5), Some(somewhere()));
        table.enter(MOST as u64, JOINED, somewhere());
        assert_eq!(table.state(0), Some(PENDING));
        assert_eq!(table.state(1), None);
        assert_eq!(table.state(2), Some(JOINED));
        assert!(table.entries.len() <= MOST && table.order.len() <= MOST);
    }

    #[test]
    fn a_socket_that_connects_again_is_as_young_as_its_last_connect() {
        let mut table = Table::default();
        let first = table.enter(7, JOINED, somewhere());
        table.forget(7);
        let second = table.enter(7, PENDING, somewhere());
        assert_eq!(table.at(7, first), None);
        assert_eq!(table.at(7, second), Some(PENDING));
        table.set(7, JOINED);
        // The place in the order of the first is the first to go.
        for cookie in 8..8 + MOST as u64 - 1 {
            table.enter(cookie, JOINED, somewhere());
        }
        assert_eq!(table.at(7, second), Some(JOINED));
        assert!(table.order.len() <= MOST);
    }
}
