//! A conversation in which the engine has no say.
use std::net::IpAddr;

use steer_core::names::{Conversation, Learned, Query, ResolverAnswer, Transport};

/// Passes every query on, and every answer to it back.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Plain;

impl Conversation for Plain {
    fn query(&self, _client: IpAddr, _transport: Transport, query: &[u8]) -> Query {
        match question(query) {
            Some(_) if query[2] & ANSWER == 0 => Query::Forward(query.to_vec()),
            _ => Query::Drop("it is no DNS query"),
        }
    }

    fn answer(
        &self,
        _client: IpAddr,
        transport: Transport,
        query: &[u8],
        answer: &[u8],
    ) -> ResolverAnswer {
        let same = match (question(query), question(answer)) {
            (Some(asked), Some(answered)) => asked.eq_ignore_ascii_case(answered),
            // A resolver that understood nothing of a query may leave its question out.
            (Some(_), None) => answer.get(4..6) == Some(&[0, 0]) && answer.len() == HEADER,
            (None, _) => false,
        };
        if !same || answer[2] & ANSWER == 0 {
            return ResolverAnswer::Ignore("it answers another question");
        }
        if transport == Transport::Udp && answer.len() > LONGEST {
            // A longer one came by TCP; the client asks again that way.
            let mut head = answer[..HEADER + question(answer).map_or(0, <[u8]>::len)].to_vec();
            head[2] |= TRUNCATED;
            head[6..HEADER].fill(0);
            return ResolverAnswer::Deliver(head);
        }
        ResolverAnswer::Deliver(answer.to_vec())
    }

    fn learned(&self, _query: &[u8], _answer: &[u8]) -> Option<Learned> {
        None
    }
}

/// The answer to a query that could not be answered (SERVFAIL).
pub(super) fn failure(query: &[u8]) -> Vec<u8> {
    let question = question(query).unwrap_or_default();
    let mut answer = query.get(..HEADER).unwrap_or_default().to_vec();
    if let [_, _, flags, response, count @ ..] = answer.as_mut_slice() {
        *flags = (*flags & (OP_CODE | RECURSION)) | ANSWER;
        *response = RECURSES | FAILURE;
        count.fill(0);
        count[1] = u8::from(!question.is_empty());
    }
    answer.extend(question);
    answer
}

/// The one question of a message: name, type and class.
fn question(message: &[u8]) -> Option<&[u8]> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = HEADER;
    loop {
        match usize::from(*message.get(at)?) {
            0 => break,
            // A name that has not been written before cannot be referred to.
            length @ 1..64 => at += 1 + length,
            _ => return None,
        }
    }
    message.get(HEADER..at + 5)
}

const HEADER: usize = 12;
const ANSWER: u8 = 0x80;
const TRUNCATED: u8 = 0x02;
const OP_CODE: u8 = 0x78;
const RECURSION: u8 = 0x01;
const RECURSES: u8 = 0x80;
const FAILURE: u8 = 2;

/// What a client takes by UDP that says nothing of it; one that takes more asks again by TCP.
const LONGEST: usize = 1232;

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01";

    fn answer(name: &[u8], more: &[u8]) -> Vec<u8> {
        let head = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0";
        [head, name, b"\0\x01\0\x01", more].concat()
    }

    #[test]
    fn queries_are_passed_on_and_nothing_else_is() {
        let query = |bytes: &[u8]| Plain.query(CLIENT, Transport::Udp, bytes);
        assert_eq!(query(QUERY), Query::Forward(QUERY.to_vec()));
        for end in 0..QUERY.len() {
            assert!(matches!(query(&QUERY[..end]), Query::Drop(_)), "{end}");
        }
        assert!(matches!(
            query(&answer(b"\x01a\x02bc\0", b"")),
            Query::Drop(_)
        ));
    }

    #[test]
    fn a_failure_answers_the_question_and_says_no_more() {
        let mut query = QUERY.to_vec();
        // An additional record, which the answer lacks.
        query[11] = 1;
        query.extend(b"\0\0\x29\x10\0\0\0\0\0\0\0");
        let answer = failure(&query);
        assert_eq!(&answer[..12], b"\x12\x34\x81\x82\0\x01\0\0\0\0\0\0");
        assert_eq!(answer[12..], QUERY[12..]);
        assert_eq!(failure(b"\x12\x34"), b"", "never a panic");
    }

    #[test]
    fn only_the_answer_to_the_question_comes_back() {
        let hear = |bytes: &[u8]| Plain.answer(CLIENT, Transport::Udp, QUERY, bytes);
        let good = answer(b"\x01A\x02bC\0", b"rest");
        assert_eq!(hear(&good), ResolverAnswer::Deliver(good));
        for bad in [answer(b"\x01b\x02bc\0", b""), QUERY.to_vec(), Vec::new()] {
            assert!(matches!(hear(&bad), ResolverAnswer::Ignore(_)), "{bad:?}");
        }
        let ResolverAnswer::Deliver(short) = hear(&answer(b"\x01a\x02bc\0", &[0; 2000])) else {
            panic!("a long answer is cut");
        };
        assert_eq!(&short[..4], b"\x12\x34\x83\x80");
        assert_eq!(&short[4..12], b"\0\x01\0\0\0\0\0\0");
        assert_eq!(short.len(), QUERY.len());
    }
}
