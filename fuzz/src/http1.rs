//! Heads of HTTP/1, and sessions of them.

mod session;

use steer_http::http1::{Framing, parse_request, parse_response};
use steer_http::{Limits, Malformed};

use crate::cuts::cuts;

/// Reads the head of a request and of a response, and serves a client that sends the bytes.
///
/// # Panics
/// Where a part is understood otherwise than the whole, where a head that is taken could be read
/// in two ways, or where what a session makes of the bytes depends on how they are cut.
pub fn http1(data: &[u8]) {
    let (cuts, bytes) = cuts(data);
    let limits = Limits {
        head: 1024,
        fields: 16,
        ..Limits::default()
    };
    let request = parse_request(bytes, &limits);
    if let Ok(Some((head, length))) = &request {
        one_meaning(&bytes[..*length]);
        assert!(!matches!(head.framing, Framing::Close | Framing::Tunnel));
    }
    let request = request.map(|head| head.map(|(_, length)| length));
    let response = parse_response(bytes, &limits).map(|head| head.map(|(_, length)| length));
    for cut in cuts.iter().copied().filter(|cut| *cut <= bytes.len()) {
        let part = &bytes[..cut];
        let length = |head: Option<(_, usize)>| head.map(|(_, length)| length);
        agree(&request, parse_request(part, &limits).map(length), cut);
        let length = |head: Option<(_, usize)>| head.map(|(_, length)| length);
        agree(&response, parse_response(part, &limits).map(length), cut);
    }
    let whole = session::serve(bytes, &[], &limits);
    assert_eq!(whole, session::serve(bytes, &cuts, &limits), "{cuts:?}");
}

/// Whether the first bytes are understood as all of them are.
fn agree(
    whole: &Result<Option<usize>, Malformed>,
    part: Result<Option<usize>, Malformed>,
    cut: usize,
) {
    match (whole, part) {
        (Ok(Some(length)), Ok(None)) => assert!(cut < *length, "{cut} of {length}"),
        (Ok(Some(length)), Ok(Some(read))) => assert_eq!(*length, read),
        (_, Ok(None)) | (Err(_), Err(_)) => {}
        (whole, part) => panic!("{whole:?}, but of the first {cut}: {part:?}"),
    }
}

/// Whether another parser finds the same end, and lengths of the body that do not contradict each
/// other.
fn one_meaning(head: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let end = request.parse(head).expect("another parser takes it");
    assert_eq!(end, httparse::Status::Complete(head.len()));
    let count = |name: &str| {
        let named = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
        request.headers.iter().filter(named).count()
    };
    assert!(count("host") <= 1);
    assert!(count("content-length") == 0 || count("transfer-encoding") == 0);
    let bare = |pair: &[u8]| (pair[0] == b'\r') != (pair[1] == b'\n');
    assert!(!head.windows(2).any(bare), "a line end stands alone");
}
