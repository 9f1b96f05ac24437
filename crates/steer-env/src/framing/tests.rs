use proptest::prelude::*;

use super::*;

fn framing(minor: u8, fields: &str) -> Result<Framing, Fault> {
    let head = format!("POST / HTTP/1.{minor}\r\n{fields}\r\n");
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut request = httparse::Request::new(&mut headers);
    assert!(request.parse(head.as_bytes()).unwrap().is_complete());
    Framing::of(minor, request.headers)
}

/// How many bytes belong to the body when they arrive in parts of the given sizes, whether its
/// end was seen, and whether it is well formed.
fn end(framing: Framing, bytes: &[u8], sizes: &[usize]) -> (usize, bool, Result<(), Malformed>) {
    let mut body = Body::new(framing);
    let mut start = 0_usize;
    let mut total = 0;
    for size in sizes.iter().copied().chain([usize::MAX]) {
        let stop = start.saturating_add(size).min(bytes.len());
        let (used, result) = body.advance(&bytes[start..stop]);
        total += used;
        if result.is_err() || body.is_done() {
            return (total, body.is_done(), result);
        }
        start = stop;
    }
    (total, false, Ok(()))
}

#[test]
fn a_body_is_told_by_one_field_that_says_one_thing() {
    assert_eq!(framing(1, ""), Ok(Framing::Empty));
    assert_eq!(framing(1, "Content-Length: 0\r\n"), Ok(Framing::Empty));
    assert_eq!(
        framing(0, "content-length: 17\r\n"),
        Ok(Framing::Length(17))
    );
    let largest = format!("Content-Length: {}\r\n", u64::MAX);
    assert_eq!(framing(1, &largest), Ok(Framing::Length(u64::MAX)));
    assert_eq!(
        framing(1, "Transfer-Encoding: Chunked\r\n"),
        Ok(Framing::Chunked)
    );
}

#[test]
fn whatever_two_readers_could_read_differently_is_refused() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
    ] {
        let head = format!("POST / HTTP/1.1\r\n{fields}\r\n");
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut headers);
        if request.parse(head.as_bytes()).is_ok() {
            assert!(Framing::of(1, request.headers).is_err(), "{fields:?}");
        }
    }
    assert!(framing(0, "Transfer-Encoding: chunked\r\n").is_err());
}

#[test]
fn a_chunked_body_ends_behind_its_trailers() {
    for body in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n00\r\nX: y\r\nZ: w\r\n\r\n",
        "A \r\n0123456789\r\n1\r\n\n\r\n0;x\r\n\r\n",
    ] {
        let bytes = format!("{body}GET http://other/ HTTP/1.1\r\n");
        assert_eq!(
            end(Framing::Chunked, bytes.as_bytes(), &[]),
            (body.len(), true, Ok(())),
            "{body:?}"
        );
    }
}

#[test]
fn chunks_that_are_not_well_formed_end_the_body_where_they_begin_to_be_wrong() {
    for (body, good) in [
        ("\r\n", 0),
        ("x\r\n", 0),
        ("-1\r\n", 0),
        ("0x5\r\n", 1),
        ("5\nhello", 1),
        ("5\r\rhello", 2),
        ("5\r\nhelloX", 8),
        ("5\r\nhello\n", 8),
        ("5\r\nhello\rX", 9),
        ("5;a\nb\r\n", 3),
        ("5;a\0b\r\n", 3),
        ("00000000000000005\r\n", 16),
        ("0\r\nX: y\n\r\n", 7),
        ("0\r\n\n", 3),
        ("0\r\nX: y\r\n\rX", 10),
    ] {
        let (used, done, result) = end(Framing::Chunked, body.as_bytes(), &[]);
        assert_eq!((used, done), (good, false), "{body:?}");
        assert_eq!(result, Err(Malformed), "{body:?}");
    }
}

#[test]
fn endless_extensions_and_trailers_are_refused() {
    let extension = format!("5;{}", "a".repeat(LONGEST));
    let trailers = format!("0\r\n{}", "a: b\r\n".repeat(LONGEST / 6 + 1));
    for bytes in [extension, trailers] {
        let (_, _, result) = end(Framing::Chunked, bytes.as_bytes(), &[]);
        assert_eq!(result, Err(Malformed));
    }
}

#[test]
fn a_body_by_length_takes_that_many_bytes() {
    assert_eq!(end(Framing::Length(5), b"hello!", &[]), (5, true, Ok(())));
    assert_eq!(end(Framing::Length(7), b"hello!", &[]), (6, false, Ok(())));
    let (used, done, _) = end(Framing::Length(u64::MAX), b"hello!", &[]);
    assert_eq!((used, done), (6, false));
}

proptest! {
    #[test]
    fn where_the_bytes_are_cut_does_not_matter(
        bytes in "([0-9a-f]{1,2}|;x|\r\n|\r|\n|[a-z]{0,9}|0\r\n|\r\n\r\n){0,12}",
        sizes in proptest::collection::vec(0_usize..6, 0..20),
    ) {
        prop_assert_eq!(
            end(Framing::Chunked, bytes.as_bytes(), &sizes),
            end(Framing::Chunked, bytes.as_bytes(), &[])
        );
    }

    #[test]
    fn every_well_formed_body_ends_at_its_end(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
        trailers in proptest::collection::vec("[a-z]{1,5}: [a-z ]{0,9}", 0..3),
        behind in proptest::collection::vec(any::<u8>(), 0..20),
        sizes in proptest::collection::vec(0_usize..30, 0..20),
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend(format!("{:x}\r\n", chunk.len()).bytes());
            body.extend(chunk);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n");
        for trailer in &trailers {
            body.extend(format!("{trailer}\r\n").bytes());
        }
        body.extend(b"\r\n");
        let length = body.len();
        body.extend(behind);
        prop_assert_eq!(end(Framing::Chunked, &body, &sizes), (length, true, Ok(())));
    }
}
