//! What one steering at a time has in a network namespace, as everybody there can see.
//!
//! Journals and `/proc` are seen by those who share a run directory and a PID namespace; the
//! containers of a pod share the network alone. A name of an abstract socket belongs to the
//! network namespace (unix(7)), can be bound once, and is free as soon as nobody holds the socket:
//! the keeper does, and the engine beside it, so that a successor gets it handed on.
//!
//! Any user may bind such a name. A slot that a stranger has is passed over as taken, and an
//! instance's name that a stranger has is not believed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen,
    socket, sockopt,
};
use steer_core::driver::{Found, Lifeline};
use steer_core::instance::Instance;
use steer_core::mark::Mark;
use steer_core::object::Domain;
use steer_core::plan::Netns;
use steer_core::symbol::{Bindings, FIRST_TABLE};

/// Something that one steering at a time has in a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The name that its objects bear.
    Name(Instance),
    /// The routing table and the priority of its rules.
    Slot(u8),
    /// What its packets carry.
    Mark(Mark),
}

impl Claim {
    /// What a steering with these values claims.
    pub(crate) fn of(bindings: &Bindings) -> Vec<Self> {
        let slot = bindings.slot.iter();
        let marking = slot.flat_map(|slot| [Self::Slot(slot.number), Self::Mark(slot.mark)]);
        std::iter::once(Self::Name(bindings.instance.clone()))
            .chain(marking)
            .collect()
    }

    /// What whoever made an object has claimed; `None` for what is in no network namespace.
    pub(crate) fn behind(found: &Found) -> Option<Self> {
        match (&found.instance, found.domain) {
            (_, Domain::Cgroup) => None,
            (Some(instance), _) => Some(Self::Name(instance.clone())),
            // What bears no name says its table last.
            (None, _) => {
                let table: u32 = found.what.rsplit(' ').next()?.parse().ok()?;
                let slot = u8::try_from(table.checked_sub(FIRST_TABLE)?).ok()?;
                (slot < Mark::SLOTS).then_some(Self::Slot(slot))
            }
        }
    }

    /// Claims it in the calling thread's namespace; `None` where somebody else has it.
    pub(super) fn take(&self) -> io::Result<Option<OwnedFd>> {
        let socket = endpoint()?;
        match bind(socket.as_raw_fd(), &self.address()?) {
            Err(Errno::EADDRINUSE) => return Ok(None),
            done => done?,
        }
        // Nobody accepts; whoever connects learns who listens.
        listen(&socket, Backlog::MAXCONN)?;
        Ok(Some(socket))
    }

    /// Whether the caller or root has it in the calling thread's namespace.
    pub(super) fn is_held(&self) -> io::Result<bool> {
        let socket = endpoint()?;
        match connect(socket.as_raw_fd(), &self.address()?) {
            Ok(()) => {
                let holder = getsockopt(&socket, sockopt::PeerCredentials)?.uid();
                Ok(holder == 0 || holder == nix::unistd::geteuid().as_raw())
            }
            // Nobody has it, or it was not made here, or its queue was filled to hide the holder.
            Err(Errno::ECONNREFUSED | Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn address(&self) -> io::Result<UnixAddr> {
        Ok(UnixAddr::new_abstract(self.to_string().as_bytes())?)
    }
}

/// The socket's name, without the leading zero byte that `ss` shows as `@`.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(instance) => write!(f, "steer-name-{instance}"),
            Self::Slot(number) => write!(f, "steer-slot-{number}"),
            Self::Mark(mark) => write!(f, "steer-mark-{mark}"),
        }
    }
}

fn endpoint() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

/// What was claimed, by the namespace's identity and the socket's name.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<(String, String), OwnedFd>);

impl Claims {
    pub(super) fn has(&self, id: &str, claim: &Claim) -> bool {
        self.0.contains_key(&(id.to_owned(), claim.to_string()))
    }

    pub(super) fn insert(&mut self, id: &str, claim: &Claim, socket: OwnedFd) {
        self.0.insert((id.to_owned(), claim.to_string()), socket);
    }

    /// Duplicates for a successor.
    pub(super) fn lifelines(&self) -> io::Result<Vec<Lifeline>> {
        let line = |((id, name), socket): (&(String, String), &OwnedFd)| {
            Ok(Lifeline {
                domain: Domain::Route,
                netns: Netns::Here,
                label: format!("{CLAIM}{id} {name}"),
                fd: socket.as_fd().try_clone_to_owned()?,
            })
        };
        self.0.iter().map(line).collect()
    }

    /// Holds on to what a predecessor claimed; gives back what is something else.
    pub(super) fn adopt(&mut self, lifeline: Lifeline) -> Result<(), Lifeline> {
        let said = lifeline.label.strip_prefix(CLAIM);
        match said.and_then(|said| said.split_once(' ')) {
            Some((id, name)) => {
                let key = (id.to_owned(), name.to_owned());
                self.0.insert(key, lifeline.fd);
                Ok(())
            }
            None => Err(lifeline),
        }
    }
}

/// How the labels of claims begin.
const CLAIM: &str = "claim ";

#[cfg(test)]
mod tests {
    use steer_core::address::Family;
    use steer_core::object::{Leads, Object, PolicyRule, Route};
    use steer_core::symbol::{MarkRef, Slot, TableRef};

    use super::*;

    /// Names that no steering has, in whatever namespace the test runs.
    fn claim(letter: char) -> Claim {
        let name = format!("t{:x}{letter}", std::process::id());
        Claim::Name(Instance::new(&name).unwrap())
    }

    #[test]
    fn a_claim_is_one_holder_s_until_every_duplicate_of_it_is_closed() {
        let claim = claim('a');
        assert!(!claim.is_held().unwrap());
        let first = claim.take().unwrap().unwrap();
        assert!(claim.take().unwrap().is_none());
        assert!(claim.is_held().unwrap());
        let second = first.try_clone().unwrap();
        drop(first);
        assert!(claim.take().unwrap().is_none());
        drop(second);
        assert!(!claim.is_held().unwrap());
        assert!(claim.take().unwrap().is_some());
    }

    #[test]
    fn a_successor_holds_what_it_was_handed() {
        let claim = claim('b');
        let mut first = Claims::default();
        first.insert("4:1", &claim, claim.take().unwrap().unwrap());
        let lines = first.lifelines().unwrap();
        drop(first);
        let mut next = Claims::default();
        for line in lines {
            next.adopt(line).unwrap();
        }
        assert!(next.has("4:1", &claim));
        assert!(claim.take().unwrap().is_none());
        drop(next);
        assert!(claim.take().unwrap().is_some());
    }

    #[test]
    fn routes_and_rules_are_told_by_their_table() {
        let slot = Slot::numbered(2);
        let table = TableRef::Fixed(slot.table());
        let family = Family::V6;
        let route = Object::Route(Route {
            family,
            net: None,
            table,
            to: Leads::Here,
        });
        let rule = |interface: Option<&str>| {
            Object::Rule(PolicyRule {
                family,
                mark: MarkRef::Fixed(slot.mark),
                interface: interface.map(str::to_owned),
                table,
            })
        };
        let found = |what: String| Found {
            domain: Domain::Route,
            netns: Netns::Here,
            instance: None,
            role: None,
            what,
        };
        for object in [route, rule(None), rule(Some("lo"))] {
            let behind = Claim::behind(&found(object.to_string()));
            assert_eq!(behind, Some(Claim::Slot(2)), "{object}");
        }
        assert_eq!(Claim::behind(&found("lookup 254".to_owned())), None);
    }
}
