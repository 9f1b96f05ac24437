//! Looking a name up for whoever asks a resolver itself.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use steer_core::address::{Cidr, Family, HostName};
use steer_core::names::Transport;

use crate::codec::{Class, Edns, Header, Kind, Message, Name, Question, ResponseCode};
use crate::memory::Lesson;
use crate::rebinding;

/// One question to a resolver for the addresses of a name, and what its answer says; the caller
/// sends and receives.
///
/// An engine whose programs' DNS comes to it cannot ask the way that programs do, as it would ask
/// itself.
///
/// ```
/// use steer_core::address::{Family, HostName};
/// use steer_core::names::Transport;
/// use steer_dns::{Found, Lookup};
/// use steer_dns::codec::{Message, ResponseCode};
///
/// let lookup = Lookup::new(&HostName::new("a.example").unwrap(), Family::V4);
/// // What a resolver that knows nothing of the name would say.
/// let mut answer = Message::parse(lookup.query())?;
/// answer.header = answer.header.answer(ResponseCode::NX_DOMAIN);
/// let found = lookup.answer(Transport::Udp, &answer.to_bytes()?);
/// assert_eq!(found, Some(Found::NoSuchName));
/// assert_eq!(lookup.answer(Transport::Udp, b"junk"), None);
/// # Ok::<(), steer_dns::codec::Malformed>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lookup {
    question: Question,
    id: u16,
    query: Vec<u8>,
    /// Where no address of an answer may lie.
    pools: Vec<Cidr>,
}

/// What a resolver says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its addresses of the family asked for, none where it has none, and how long they hold.
    Addresses {
        /// The addresses as the resolver orders them.
        addresses: Vec<IpAddr>,
        /// The shortest time of them; zero where there is none.
        ttl: Duration,
    },
    /// There is no such name.
    NoSuchName,
    /// There is more than a datagram holds: ask by TCP.
    Truncated,
    /// A public name points at this host, or into a pool of made-up addresses: not to be dialled.
    Forbidden(IpAddr),
    /// The resolver could not tell; its response code.
    Failed(ResponseCode),
}

impl Lookup {
    /// A question for the addresses of one family.
    #[must_use]
    pub fn new(host: &HostName, family: Family) -> Self {
        let question = Question {
            name: Name::of(host),
            kind: match family {
                Family::V4 => Kind::A,
                Family::V6 => Kind::AAAA,
            },
            class: Class::IN,
        };
        // Keyed with what nobody else knows, so that an answer cannot be guessed.
        let random = RandomState::new().hash_one(host.as_str());
        let [high, low, ..] = random.to_be_bytes();
        let id = u16::from_be_bytes([high, low]);
        let mut message = Message::new(Header::query(id));
        message.questions.push(question.clone());
        message.edns = Some(Edns {
            payload: PAYLOAD,
            ..Edns::default()
        });
        let query = message
            .to_bytes()
            .expect("a question is smaller than any limit");
        Self {
            question,
            id,
            query,
            pools: Vec::new(),
        }
    }

    /// Believes no answer that lies in one of the networks: those of made-up addresses.
    #[must_use]
    pub fn outside(mut self, pools: &[Cidr]) -> Self {
        self.pools.extend_from_slice(pools);
        self
    }

    /// What the resolver is sent.
    #[must_use]
    pub fn query(&self) -> &[u8] {
        &self.query
    }

    /// What a message says; `None` where it is no answer to this question, and the wait goes on.
    #[must_use]
    pub fn answer(&self, transport: Transport, bytes: &[u8]) -> Option<Found> {
        let message = Message::parse(bytes).ok()?;
        let header = message.header;
        let same = message.questions.as_slice() == std::slice::from_ref(&self.question);
        let bare = message.questions.is_empty() && header.response != ResponseCode::NO_ERROR;
        if !header.is_answer || header.id != self.id || !(same || bare) {
            return None;
        }
        if header.truncated && transport == Transport::Udp {
            return Some(Found::Truncated);
        }
        match header.response {
            ResponseCode::NO_ERROR => {}
            ResponseCode::NX_DOMAIN => return Some(Found::NoSuchName),
            other => return Some(Found::Failed(other)),
        }
        if let Some(address) = rebinding::forbidden(&self.question.name, &message, &self.pools) {
            return Some(Found::Forbidden(address));
        }
        let told = Lesson::of(&self.question, &message).map_or_else(Vec::new, |it| it.addresses);
        let ttl = told.iter().map(|(_, ttl)| *ttl).min().unwrap_or_default();
        // In the family that was asked for: a mapped IPv6 address is an IPv4 one.
        let family = match self.question.kind {
            Kind::A => Family::V4,
            _ => Family::V6,
        };
        let addresses = told
            .into_iter()
            .map(|(address, _)| address)
            .filter(|address| Family::of(*address) == family)
            .collect();
        Some(Found::Addresses { addresses, ttl })
    }
}

/// Below the smallest MTU, so that no answer is fragmented.
const PAYLOAD: u16 = 1232;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Data, Record};

    fn lookup(family: Family) -> Lookup {
        let host = HostName::new("a.example").unwrap();
        Lookup::new(&host, family).outside(&["198.18.0.0/15".parse().unwrap()])
    }

    fn answer(lookup: &Lookup, change: impl FnOnce(&mut Message)) -> Option<Found> {
        let mut message = Message::parse(lookup.query()).unwrap();
        message.header = message.header.answer(ResponseCode::NO_ERROR);
        change(&mut message);
        lookup.answer(Transport::Udp, &message.to_bytes().unwrap())
    }

    fn record(owner: &str, ttl: u32, data: Data) -> Record {
        Record {
            owner: owner.parse().unwrap(),
            class: Class::IN,
            ttl,
            data,
        }
    }

    fn address(ip: &str) -> Data {
        Data::address(ip.parse().unwrap())
    }

    #[test]
    fn the_addresses_are_found_behind_other_names() {
        for (family, ip) in [(Family::V4, "192.0.2.1"), (Family::V6, "2001:db8::1")] {
            let lookup = lookup(family);
            let found = answer(&lookup, |message| {
                message.answers = vec![
                    record("a.example", 300, Data::Cname("b.example".parse().unwrap())),
                    record("b.example", 60, address(ip)),
                    record("c.example", 1, address("192.0.2.9")),
                ];
            });
            let addresses = vec![ip.parse().unwrap()];
            let ttl = Duration::from_secs(60);
            assert_eq!(found, Some(Found::Addresses { addresses, ttl }));
        }
        let none = answer(&lookup(Family::V6), |_| {});
        let (addresses, ttl) = (Vec::new(), Duration::ZERO);
        assert_eq!(none, Some(Found::Addresses { addresses, ttl }));
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_waited_past() {
        let lookup = lookup(Family::V4);
        let with = |change: fn(&mut Message)| answer(&lookup, change);
        assert_eq!(with(|m| m.header.id ^= 1), None);
        assert_eq!(with(|m| m.header.is_answer = false), None);
        assert_eq!(with(|m| m.questions[0].kind = Kind::AAAA), None);
        assert_eq!(with(|m| m.questions.clear()), None);
        assert_eq!(lookup.answer(Transport::Udp, &lookup.query()[..20]), None);
    }

    #[test]
    fn every_end_has_a_word() {
        let lookup = lookup(Family::V4);
        let with = |change: fn(&mut Message)| answer(&lookup, change);
        assert_eq!(with(|m| m.header.truncated = true), Some(Found::Truncated));
        let failed = with(|m| {
            m.header.response = ResponseCode::SERV_FAIL;
            m.questions.clear();
        });
        assert_eq!(failed, Some(Found::Failed(ResponseCode::SERV_FAIL)));
        let here = with(|m| m.answers = vec![record("a.example", 1, address("127.0.0.1"))]);
        assert_eq!(here, Some(Found::Forbidden("127.0.0.1".parse().unwrap())));
        let fake = with(|m| m.answers = vec![record("a.example", 1, address("198.18.0.9"))]);
        assert_eq!(fake, Some(Found::Forbidden("198.18.0.9".parse().unwrap())));
    }
}
