use proptest::prelude::*;

use super::*;
use crate::framing::Framing;
use crate::request::Request;

fn rewritten(head: &str) -> Result<(String, String), Fault> {
    match Request::parse(head.as_bytes(), None)? {
        Request::Absolute {
            destination, head, ..
        } => Ok((destination.to_string(), String::from_utf8(head).unwrap())),
        Request::Connect(destination) => panic!("CONNECT {destination}"),
    }
}

#[test]
fn the_target_loses_scheme_and_authority_and_all_else_stays() {
    let (destination, head) = rewritten(
        "GET http://Example.com:8080/a%2Fb?q=1 HTTP/1.1\r\n\
         hOsT:   Example.com:8080  \r\n\
         X-Spaced:  two  words \r\n\
         Accept:*/*\r\n\
         x-dup: 1\r\n\
         X-DUP: 2\r\n\
         \r\n",
    )
    .unwrap();
    assert_eq!(destination, "example.com:8080");
    assert_eq!(
        head,
        "GET /a%2Fb?q=1 HTTP/1.1\r\n\
         hOsT:   Example.com:8080  \r\n\
         X-Spaced:  two  words \r\n\
         Accept:*/*\r\n\
         x-dup: 1\r\n\
         X-DUP: 2\r\n\
         Connection: close\r\n\
         \r\n"
    );
}

#[test]
fn the_host_field_says_what_the_target_said() {
    let (destination, head) =
        rewritten("GET http://right/ HTTP/1.1\r\nA: b\r\nHOST:\twrong\r\n\r\n").unwrap();
    assert_eq!(destination, "right:80");
    assert!(head.contains("\r\nHOST:\tright\r\n"), "{head}");
    assert!(!head.contains("wrong"), "{head}");
    let (_, head) = rewritten("GET http://old HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(
        head,
        "GET / HTTP/1.0\r\nHost: old\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn fields_for_the_next_hop_alone_stay_behind() {
    let (_, head) = rewritten(
        "GET http://h/ HTTP/1.1\r\n\
         Host: h\r\n\
         Proxy-Authorization: Basic c2VjcmV0\r\n\
         conNection: Keep-Alive, X-Hop\r\n\
         Proxy-Connection: keep-alive\r\n\
         Keep-Alive: timeout=5\r\n\
         x-hop: 1\r\n\
         TE: trailers\r\n\
         Connection: Upgrade, ,x-other\r\n\
         Upgrade: h2c\r\n\
         X-Other: 2\r\n\
         Authorization: Basic mine\r\n\
         \r\n",
    )
    .unwrap();
    assert_eq!(
        head,
        "GET / HTTP/1.1\r\nHost: h\r\nconNection: close\r\nAuthorization: Basic mine\r\n\r\n"
    );
}

#[test]
fn each_form_of_authority_and_path_is_understood() {
    for (method, target, destination, origin) in [
        ("GET", "http://h", "h:80", "/"),
        ("GET", "http://h?q", "h:80", "/?q"),
        ("GET", "HTTP://h:/x", "h:80", "/x"),
        ("GET", "http://192.0.2.1:81/", "192.0.2.1:81", "/"),
        ("GET", "http://[2001:db8::1]/", "[2001:db8::1]:80", "/"),
        ("GET", "http://[::1]:8080/", "[::1]:8080", "/"),
        ("GET", "http://h/http://other/", "h:80", "/http://other/"),
        ("OPTIONS", "http://h", "h:80", "*"),
        ("OPTIONS", "http://h/", "h:80", "/"),
    ] {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let (to, head) = rewritten(&head).unwrap();
        assert_eq!(to, destination, "{target}");
        let line = format!("{method} {origin} HTTP/1.1\r\n");
        assert!(head.starts_with(&line), "{head}");
    }
}

#[test]
fn what_is_not_for_a_proxy_or_not_certain_is_refused() {
    for (line, fields) in [
        ("GET / HTTP/1.1", "Host: h\r\n"),
        ("OPTIONS * HTTP/1.1", "Host: h\r\n"),
        ("GET h HTTP/1.1", "Host: h\r\n"),
        ("GET https://h/ HTTP/1.1", "Host: h\r\n"),
        ("GET ftp://h/ HTTP/1.1", "Host: h\r\n"),
        ("GET http:///x HTTP/1.1", "Host: h\r\n"),
        ("GET http://:80/ HTTP/1.1", "Host: h\r\n"),
        ("GET http://u:p@h/ HTTP/1.1", "Host: h\r\n"),
        ("GET http://h:0/ HTTP/1.1", "Host: h\r\n"),
        ("GET http://h:70000/ HTTP/1.1", "Host: h\r\n"),
        ("GET http://h:+80/ HTTP/1.1", "Host: h\r\n"),
        ("GET http://::1/ HTTP/1.1", "Host: h\r\n"),
        ("GET http://[::1/ HTTP/1.1", "Host: h\r\n"),
        ("GET http://[::1]x/ HTTP/1.1", "Host: h\r\n"),
        ("GET http://h%2e/ HTTP/1.1", "Host: h\r\n"),
        ("GET http://h\\x/ HTTP/1.1", "Host: h\r\n"),
        ("GET http://h/#f HTTP/1.1", "Host: h\r\n"),
        ("GET http://h/ HTTP/1.1", ""),
        ("GET http://h/ HTTP/1.1", "Host: h\r\nHost: h\r\n"),
        ("GET http://h/ HTTP/1.1", "Host: h\r\nConnection: host\r\n"),
        (
            "POST http://h/ HTTP/1.1",
            "Host: h\r\nContent-Length: 1\r\nConnection: close, Content-Length\r\n",
        ),
        (
            "POST http://h/ HTTP/1.1",
            "Host: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        ),
        ("GET http://h/ HTTP/2.0", "Host: h\r\n"),
        ("GET http://h/", "Host: h\r\n"),
        ("GET  http://h/ HTTP/1.1", "Host: h\r\n"),
        ("GET http://h/ HTTP/1.1", "Host : h\r\n"),
        ("GET http://h/ HTTP/1.1", "Host: h\r\n folded\r\n"),
        ("GET http://h/ HTTP/1.1", "Host: h\r\nno colon\r\n"),
    ] {
        let head = format!("{line}\r\n{fields}\r\n");
        let result = rewritten(&head);
        assert!(result.is_err(), "{head:?} {result:?}");
    }
}

#[test]
fn a_head_with_too_many_fields_is_refused() {
    let head = format!(
        "GET http://h/ HTTP/1.1\r\nHost: h\r\n{}\r\n",
        "a: b\r\n".repeat(200)
    );
    assert_eq!(rewritten(&head), Err(Fault::TooLong));
}

proptest! {
    #[test]
    fn end_to_end_fields_pass_in_order_byte_for_byte(
        fields in proptest::collection::vec(("X-[A-Za-z0-9]{1,8}", "[ \t]{0,2}", "[!-~]{0,12}"), 0..20),
        framing in prop_oneof![
            Just((Framing::Empty, "")),
            Just((Framing::Length(9), "Content-Length: 9\r\n")),
            Just((Framing::Chunked, "TransFer-Encoding:chunked\r\n")),
        ],
    ) {
        let lines: String = fields
            .iter()
            .map(|(name, space, value)| format!("{name}:{space}{value}\r\n"))
            .collect();
        let (framing, framed) = framing;
        let head = format!("PUT http://h:81/p HTTP/1.1\r\nHost: h:81\r\n{lines}{framed}\r\n");
        let Request::Absolute { head, framing: read, .. } =
            Request::parse(head.as_bytes(), None).unwrap()
        else {
            panic!("not absolute");
        };
        prop_assert_eq!(read, framing);
        prop_assert_eq!(
            String::from_utf8(head).unwrap(),
            format!(
                "PUT /p HTTP/1.1\r\nHost: h:81\r\n{lines}{framed}Connection: close\r\n\r\n"
            )
        );
    }
}
