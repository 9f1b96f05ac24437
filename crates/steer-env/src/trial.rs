//! What the port makes of bytes in memory, for fuzz targets and property tests.
//!
//! Nothing here opens a socket. A result is a text: two that are equal mean the same.

use steer_core::policy::{Credentials, Secret};

use crate::detect::Speech;
use crate::framing::Body;
use crate::handshake::{Asked, AskedStream, End, ask};
use crate::login::Login;
use crate::pieces::{Pieces, now};
use crate::request::Request;

/// What a port asks of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nothing.
    Nothing,
    /// The name `ann` and the password `pw`.
    Login,
}

/// What a port makes of a client that sends these bytes, cut at these places, and then ends.
///
/// The text says what the client asked for, what
/// it was told, and what of its bytes is left for whom it asked for.
///
/// ```
/// use steer_env::trial::{Asks, explicit};
/// let text = explicit(b"\x04\x01\0\x50\xc0\0\x02\x01\0", &[3], Asks::Nothing);
/// assert!(text.contains("192.0.2.1:80"), "{text}");
/// ```
#[must_use]
pub fn explicit(bytes: &[u8], cuts: &[usize], asks: Asks) -> String {
    let login = (asks == Asks::Login).then(ann);
    let mut client = Pieces::new(bytes, cuts);
    let mut speech = Speech::Unknown;
    let asked = now(ask(&mut client, login.as_ref(), &mut speech));
    let told = client.told().escape_ascii().to_string();
    match asked {
        // What is left is thrown away.
        Err(End::Words(words)) => format!("{speech:?}: {told}; refused: {}", words.escape_ascii()),
        Err(End::Silent(_) | End::Gone(_)) => format!("{speech:?}: {told}; reset"),
        Ok(asked) => {
            let body = match &asked {
                Asked::Stream(AskedStream::Http(Request::Absolute { framing, .. })) => {
                    passed(&mut client, Body::new(*framing))
                }
                _ => String::new(),
            };
            let rest = client.rest().escape_ascii().to_string();
            format!("{speech:?}: {told}; {asked:?}; {body}; {rest}")
        }
    }
}

/// How much of a body is passed on, and how it ended.
fn passed(client: &mut Pieces, mut body: Body) -> String {
    let mut passed = 0;
    while !body.is_done() && !client.next().is_empty() {
        let (used, result) = body.advance(client.next());
        passed += used;
        client.take(used);
        if result.is_err() {
            return format!("{passed} bytes, then malformed");
        }
    }
    format!("{passed} bytes, whole: {}", body.is_done())
}

fn ann() -> Login {
    Login::read(&Credentials {
        username: "ann".to_owned(),
        password: Secret::Literal("pw".to_owned()),
    })
    .expect("a literal password can be read")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that come near to what each protocol begins with.
    fn spoken() -> impl Strategy<Value = Vec<u8>> {
        let socks = (4..=5_u8, proptest::collection::vec(0..=5_u8, 0..40))
            .prop_map(|(version, rest)| [&[version], &rest[..]].concat());
        let head = "(GET|CONNECT|\r\n)( http://h[:/a]{0,3}| h:80)?( HTTP/1[.][01])?(\r\n)?\
            ((Host: h|Content-Length: [0-9,]{1,2}|Transfer-Encoding: chunked|a:b| c|\r|\n)\
            (\r\n)?){0,4}(\r\n)?([0-3a]\r\n[ab]{0,3}(\r\n)?){0,3}(0\r\n\r\n)?";
        prop_oneof![socks, head.prop_map(String::into_bytes)]
    }

    proptest! {
        #[test]
        fn where_a_client_s_bytes_are_cut_does_not_matter(
            bytes in spoken(),
            cuts in proptest::collection::btree_set(0_usize..100, 0..20),
            asks in prop_oneof![Just(Asks::Nothing), Just(Asks::Login)],
        ) {
            let cuts: Vec<_> = cuts.into_iter().collect();
            prop_assert_eq!(explicit(&bytes, &cuts, asks), explicit(&bytes, &[], asks));
        }
    }
}
