//! What a client asks, as far as its answer depends on it.

use steer_core::names::Transport;

use crate::codec::{Edns, Header, Message, OpCode, Question, ResponseCode};
use crate::reply;

/// A well-formed query.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) header: Header,
    pub(crate) question: Question,
    /// The largest answer that the client takes, in bytes.
    pub(crate) limit: usize,
    /// Whether the client sent an OPT record, so that its answer has one.
    pub(crate) edns: bool,
}

/// What a client sent.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    /// A query for one thing.
    Query(Asked),
    /// A well-formed message of another kind, an update for instance.
    Other { header: Header, limit: usize },
    /// A query that cannot be taken, and what is answered.
    Faulty(Vec<u8>),
    /// Nothing that an answer could be given to.
    Nothing(&'static str),
}

impl Sent {
    pub(crate) fn read(transport: Transport, bytes: &[u8]) -> Self {
        let header = match Header::read(bytes) {
            Ok(header) if !header.is_answer => header,
            Ok(_) => return Self::Nothing("it is an answer"),
            Err(malformed) => return Self::Nothing(malformed.reason()),
        };
        match Message::parse(bytes) {
            Ok(message) => Self::of(transport, message),
            Err(_) => Self::Faulty(reply::bare(header, ResponseCode::FORM_ERR)),
        }
    }

    fn of(transport: Transport, message: Message) -> Self {
        let Message {
            header,
            mut questions,
            edns,
            ..
        } = message;
        let limit = limit(transport, edns.as_ref());
        if header.op_code != OpCode::QUERY {
            return Self::Other { header, limit };
        }
        let (Some(question), true) = (questions.pop(), questions.is_empty()) else {
            return Self::Faulty(reply::bare(header, ResponseCode::FORM_ERR));
        };
        let asked = Asked {
            header,
            question,
            limit,
            edns: edns.is_some(),
        };
        if edns.is_some_and(|edns| edns.version > 0) {
            return Self::Faulty(reply::bad_version(&asked));
        }
        Self::Query(asked)
    }
}

fn limit(transport: Transport, edns: Option<&Edns>) -> usize {
    match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => edns.map_or(PLAIN, |edns| usize::from(edns.payload).max(PLAIN)),
    }
}

/// The largest datagram of a client that says nothing (RFC 1035, section 4.2.1), and the smallest
/// limit that counts (RFC 6891, section 6.2.3).
const PLAIN: usize = 512;
