//! Any well-formed conversation passes without one byte changed, wherever it is cut.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::lab::{Lab, Step, pause, write};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn not_one_byte_differs(
        exchanges in vec(exchange(), 1..5),
        cuts in vec(any::<Index>(), 0..12),
        server_cuts in vec(any::<Index>(), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.expect("a runtime").block_on(converse(&exchanges, &cuts, &server_cuts));
    }
}

async fn converse(exchanges: &[Exchange], cuts: &[Index], server_cuts: &[Index]) {
    let mut script = Vec::new();
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    for Exchange { request, response } in exchanges {
        script.push(Step::Read(request.clone()));
        script.extend(pieces(response, server_cuts).map(write));
        sent.extend_from_slice(request);
        received.extend_from_slice(response);
    }
    script.push(Step::ReadEnd);
    let mut lab = Lab::new([script]);
    let mut pieces = pieces(&sent, cuts);
    // The first piece was read by whoever looked at the connection before.
    lab.prefix = pieces.next().unwrap_or_default().to_vec();
    let mut running = lab.start();
    for piece in pieces {
        running.write(piece).await;
        pause().await;
    }
    running.expect(&received).await;
    running.end().await;
    assert_eq!(running.rest().await, "");
    let ran = running.ended().await;
    ran.result.expect("an orderly end");
    assert_eq!((ran.connects, ran.ends.len()), (1, exchanges.len()));
    assert!(
        ran.ends.iter().all(|end| end.error.is_none()),
        "{:?}",
        ran.ends
    );
}

/// Bytes cut at some places.
pub(crate) fn pieces<'a>(
    bytes: &'a [u8],
    cuts: &[Index],
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter().map(move |end| {
        let piece = &bytes[start..end];
        start = end;
        piece
    })
}

#[derive(Clone, Debug)]
struct Exchange {
    request: Vec<u8>,
    response: Vec<u8>,
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let methods = select(vec!["GET", "POST", "PUT", "DELETE", "HEAD", "x-Own!"]);
    let request = (methods, "/[a-zA-Z0-9_.~%?&=/:@|-]{0,30}", fields(), body());
    let statuses = select(vec![200, 201, 204, 301, 304, 404, 418, 500, 599]);
    let interim = vec((select(vec![100, 102, 103]), fields()), 0..3);
    let response = (interim, statuses, " [ -~]{0,20}|", fields(), body());
    (request, response, spaces(), spaces(), any::<Index>()).prop_map(
        |((method, target, mut fields, sent), answer, before, after, at)| {
            let (interim, status, reason, answered, received) = answer;
            let at = at.index(fields.len() + 1);
            fields.insert(
                at,
                format!("hOST:{before}example.com:8080{after}").into_bytes(),
            );
            let start = format!("{method} {target} HTTP/1.1");
            let request = message(&start, fields, &sent, true);
            let mut response = Vec::new();
            for (status, fields) in interim {
                let start = format!("HTTP/1.1 {status} Wait");
                response.extend(message(&start, fields, &Body::None, true));
            }
            let has_body = method != "HEAD" && !matches!(status, 204 | 304);
            // Without a length the response would last as long as its connection.
            let received = match received {
                Body::None if has_body => Body::Length(Vec::new()),
                Body::Chunks(..) if status == 204 => Body::None,
                body => body,
            };
            let start = format!("HTTP/1.1 {status}{reason}");
            response.extend(message(&start, answered, &received, has_body));
            Exchange { request, response }
        },
    )
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Length(Vec<u8>),
    /// Extensions and chunks, and trailers.
    Chunks(Vec<(String, Vec<u8>)>, Vec<Vec<u8>>),
}

fn body() -> impl Strategy<Value = Body> {
    let bytes = || vec(any::<u8>(), 1..200);
    let large = (any::<u8>(), 60_000..150_000_usize).prop_map(|(byte, len)| vec![byte; len]);
    let extension = "|;[a-z]{1,9}|; [a-z]{1,5}=[a-z]{1,5}|;a=\"[ -!#-\\[\\]-~]{0,9}\"";
    let chunks = (vec((extension, bytes()), 0..5), fields());
    prop_oneof![
        3 => Just(Body::None),
        3 => vec(any::<u8>(), 0..200).prop_map(Body::Length),
        1 => large.prop_map(Body::Length),
        3 => chunks.prop_map(|(chunks, trailers)| Body::Chunks(chunks, trailers)),
    ]
}

fn spaces() -> impl Strategy<Value = String> {
    "[ \t]{0,3}"
}

fn fields() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let visible = prop_oneof![0x21..0x7f_u8, 0x80..=0xff_u8];
    let inner = prop_oneof![4 => 0x20..0x7f_u8, 1 => 0x80..=0xff_u8, 1 => Just(b'\t')];
    let value = (vec(inner, 0..30), visible).prop_map(|(mut value, last)| {
        value.push(last);
        value
    });
    let value = prop_oneof![1 => Just(Vec::new()), 5 => value];
    let field = (
        "[xX]-[A-Za-z0-9!#$%&'*+.^_`|~-]{0,12}",
        spaces(),
        value,
        spaces(),
    );
    let line = field.prop_map(|(name, before, value, after)| {
        [
            name.as_bytes(),
            b":",
            before.as_bytes(),
            &value,
            after.as_bytes(),
        ]
        .concat()
    });
    vec(line, 0..6)
}

fn message(start: &str, mut fields: Vec<Vec<u8>>, body: &Body, with_body: bool) -> Vec<u8> {
    let middle = fields.len() / 2;
    match body {
        Body::None => {}
        Body::Length(bytes) => {
            let line = format!("content-LENGTH: {}\t", bytes.len());
            fields.insert(middle, line.into_bytes());
        }
        Body::Chunks(..) => fields.insert(middle, b"Transfer-Encoding:Chunked".to_vec()),
    }
    let mut message = start.as_bytes().to_vec();
    for line in fields.iter().map(|line| &line[..]).chain([&b""[..]]) {
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(line);
    }
    message.extend_from_slice(b"\r\n");
    if with_body {
        message.extend(framed(body));
    }
    message
}

fn framed(body: &Body) -> Vec<u8> {
    match body {
        Body::None => Vec::new(),
        Body::Length(bytes) => bytes.clone(),
        Body::Chunks(chunks, trailers) => {
            let mut framed = Vec::new();
            for (extension, chunk) in chunks {
                framed.extend(format!("{:03X}{extension}\r\n", chunk.len()).into_bytes());
                framed.extend_from_slice(chunk);
                framed.extend_from_slice(b"\r\n");
            }
            framed.extend_from_slice(b"0\r\n");
            for line in trailers {
                framed.extend_from_slice(line);
                framed.extend_from_slice(b"\r\n");
            }
            framed.extend_from_slice(b"\r\n");
            framed
        }
    }
}
