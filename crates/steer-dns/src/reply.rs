//! Answers that are made here.

use crate::codec::{Class, Data, Edns, EdnsOption, Header, Message, Record, ResponseCode};
use crate::query::Asked;

/// An answer in the making.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    asked: &'a Asked,
    message: Message,
}

impl<'a> Reply<'a> {
    pub(crate) fn new(asked: &'a Asked, response: ResponseCode) -> Self {
        let mut message = Message::new(asked.header.answer(response));
        message.questions = vec![asked.question.clone()];
        message.edns = asked.edns.then(|| Edns {
            payload: PAYLOAD,
            ..Edns::default()
        });
        Self { asked, message }
    }

    /// Adds a record about the name that was asked for.
    pub(crate) fn record(mut self, ttl: u32, data: Data) -> Self {
        self.message.answers.push(Record {
            owner: self.asked.question.name.clone(),
            class: Class::IN,
            ttl,
            data,
        });
        self
    }

    /// Says why, to whoever understands it (RFC 8914).
    pub(crate) fn because(mut self, why: Why) -> Self {
        if let Some(edns) = &mut self.message.edns {
            edns.options.push(EdnsOption {
                code: EXTENDED_ERROR,
                data: (why as u16).to_be_bytes().to_vec(),
            });
        }
        self
    }

    /// The bytes, cut where the client takes no more.
    pub(crate) fn finish(self) -> Vec<u8> {
        let Self { asked, message } = self;
        match message.to_bytes() {
            Ok(bytes) if bytes.len() <= asked.limit => bytes,
            _ => truncated(asked, message.header.response),
        }
    }
}

/// Reasons of RFC 8914.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    /// Policy of whoever runs the resolver forbids it.
    Blocked = 15,
    /// It cannot be done at present.
    NotReady = 14,
}

/// An answer that says that there is more than fits, so that the client asks by TCP.
pub(crate) fn truncated(asked: &Asked, response: ResponseCode) -> Vec<u8> {
    let mut reply = Reply::new(asked, response);
    reply.message.header.truncated = true;
    small(&reply.message)
}

/// An answer to a query of which only the head is sure.
pub(crate) fn bare(header: Header, response: ResponseCode) -> Vec<u8> {
    small(&Message::new(header.answer(response)))
}

/// As `bare`, and says that there is more than fits.
pub(crate) fn bare_truncated(header: Header) -> Vec<u8> {
    let mut header = header.answer(ResponseCode::NO_ERROR);
    header.truncated = true;
    small(&Message::new(header))
}

/// BADVERS: the client speaks an EDNS that nobody has defined (RFC 6891, section 6.1.3).
pub(crate) fn bad_version(asked: &Asked) -> Vec<u8> {
    let mut reply = Reply::new(asked, ResponseCode::NO_ERROR);
    if let Some(edns) = &mut reply.message.edns {
        edns.extended_response = 1;
    }
    small(&reply.message)
}

/// A message of a head and at most one question.
fn small(message: &Message) -> Vec<u8> {
    message
        .to_bytes()
        .expect("a head and a question are smaller than any limit")
}

/// What we take ourselves; below the smallest MTU, so that nothing is fragmented.
const PAYLOAD: u16 = 1232;

/// The option of RFC 8914.
const EXTENDED_ERROR: u16 = 15;
