//! Names by which programs find out whether they may go past the resolver that they were given.
//!
//! A program that finds an encrypted resolver asks it instead, and then neither is a name
//! remembered nor does it get a made-up address. Both questions have an answer that says no.

use crate::codec::{Kind, ResponseCode};
use crate::query::Asked;
use crate::reply::Reply;

/// The answer, where the query is such a question.
pub(crate) fn answer(asked: &Asked) -> Option<Vec<u8>> {
    let name = asked.question.name.to_string().to_ascii_lowercase();
    match (name.as_str(), asked.question.kind) {
        // Does this resolver have an encrypted face? (RFC 9462, section 4)
        ("_dns.resolver.arpa.", Kind::SVCB) => {
            Some(Reply::new(asked, ResponseCode::NO_ERROR).finish())
        }
        // May a browser turn to a resolver of its own? (The canary domain of Firefox.)
        ("use-application-dns.net.", _) => {
            Some(Reply::new(asked, ResponseCode::NX_DOMAIN).finish())
        }
        _ => None,
    }
}
