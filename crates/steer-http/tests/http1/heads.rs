//! What heads are understood as.

use steer_http::http1::{Framing, parse_request, parse_response};
use steer_http::{Limits, Malformed, Version};

#[test]
fn a_request_says_whom_it_is_for_and_where_its_body_ends() {
    for (head, authority, framing) in [
        (
            "GET / HTTP/1.1\r\nHost: A:80\r\n",
            Some("A:80"),
            Framing::Empty,
        ),
        ("GET / HTTP/1.1\r\nHost:\r\n", None, Framing::Empty),
        ("GET / HTTP/1.0\r\n", None, Framing::Empty),
        (
            "GET / HTTP/1.1\r\nhost: [::1]:8080\r\n",
            Some("[::1]:8080"),
            Framing::Empty,
        ),
        (
            "GET http://a HTTP/1.1\r\nHost: A:80\r\n",
            Some("a"),
            Framing::Empty,
        ),
        (
            "GET https://a:443/b HTTP/1.1\r\nHost: a\r\n",
            Some("a:443"),
            Framing::Empty,
        ),
        (
            "GET http://a?b=c://d HTTP/1.0\r\n",
            Some("a"),
            Framing::Empty,
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n",
            Some("a:1"),
            Framing::Length(0),
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n",
            Some("a"),
            Framing::Empty,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\ncontent-length:007\r\n",
            Some("a"),
            Framing::Length(7),
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n",
            Some("a"),
            Framing::Chunked,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip ,\tchunked\r\n",
            Some("a"),
            Framing::Chunked,
        ),
    ] {
        let bytes = format!("{head}\r\nmore");
        let parsed = parse_request(bytes.as_bytes(), &Limits::default());
        let (parsed, end) = parsed.expect(head).expect("a whole head");
        assert_eq!(parsed.request.authority.as_deref(), authority, "{head}");
        assert_eq!((parsed.framing, end), (framing, head.len() + 2), "{head}");
    }
}

#[test]
fn a_head_is_the_same_however_much_of_the_next_bytes_is_there() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nB:  c \r\n\r\n";
    for cut in 0..bytes.len() {
        let parsed = parse_request(&bytes[..cut], &Limits::default());
        assert!(parsed.expect("nothing is wrong").is_none(), "cut at {cut}");
    }
    let parsed = parse_request(bytes, &Limits::default());
    let (head, _) = parsed.expect("nothing is wrong").expect("a whole head");
    assert_eq!(head.request.version, Version::Http11);
    assert_eq!(head.request.fields.first("b"), Some(&b"c"[..]));
    assert!(head.persistent && !head.expects);
}

#[test]
fn a_response_says_where_its_body_ends() {
    for (head, framing, persistent) in [
        ("HTTP/1.1 200 OK\r\n", Framing::Close, true),
        (
            "HTTP/1.1 200\r\nContent-Length: 3\r\n",
            Framing::Length(3),
            true,
        ),
        (
            "HTTP/1.0 200 \r\nContent-Length: 3\r\n",
            Framing::Length(3),
            false,
        ),
        (
            "HTTP/1.1 204 x\r\nConnection: a, Close\r\n",
            Framing::Empty,
            false,
        ),
        ("HTTP/1.1 100 \r\nA: é\r\n", Framing::Empty, true),
    ] {
        let bytes = format!("{head}\r\n");
        let parsed = parse_response(bytes.as_bytes(), &Limits::default());
        let (parsed, _) = parsed.expect(head).expect("a whole head");
        assert_eq!(
            (parsed.framing, parsed.persistent),
            (framing, persistent),
            "{head}"
        );
    }
    let parsed = parse_response(b"HTTP/1.1 101 Go\r\n\r\n", &Limits::default());
    assert_eq!(parsed.expect_err("not asked for"), Malformed::Unasked);
}
