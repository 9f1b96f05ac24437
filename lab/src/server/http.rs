//! A small HTTP/1.1 server: enough for real clients, and honest about what it received.

use std::io;

use super::Talk;
use super::service::send_pattern;
use crate::client::End;
use crate::pattern::{Digest, Pattern};

/// Answers requests until the client ends the connection or asks for its end.
pub(super) fn serve(talk: &mut Talk) -> io::Result<End> {
    let mut pending = Vec::new();
    loop {
        let Some(head) = read_head(talk, &mut pending)? else {
            return Ok(End::Fin);
        };
        let request = Request::parse(&head);
        let body = read_body(talk, &mut pending, request.content_length())?;
        answer(talk, &request, &body)?;
        if request
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
        {
            talk.finish()?;
            return drain(talk);
        }
    }
}

struct Request<'a> {
    head: &'a str,
    method: &'a str,
    path: &'a str,
}

impl<'a> Request<'a> {
    fn parse(head: &'a str) -> Self {
        let mut words = head.split(' ');
        let method = words.next().unwrap_or_default();
        Self {
            head,
            method,
            path: words.next().unwrap_or_default(),
        }
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        let pairs = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        pairs
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .next()
    }

    fn content_length(&self) -> usize {
        self.header("content-length")
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }
}

fn answer(talk: &mut Talk, request: &Request<'_>, body: &[u8]) -> io::Result<()> {
    let is_head = request.method == "HEAD";
    let number = request
        .path
        .strip_prefix("/bytes/")
        .and_then(|digits| digits.parse().ok());
    if let Some(length) = number {
        talk.write(status_line(length).as_bytes())?;
        return if is_head {
            Ok(())
        } else {
            send_pattern(talk, Pattern(0), length)
        };
    }
    let text = match request.path {
        "/digest" => format!("{} {}\n", Digest::of(body), body.len()),
        _ => request.head.to_owned(),
    };
    let sent = if is_head { "" } else { &text };
    talk.write(format!("{}{sent}", status_line(text.len() as u64)).as_bytes())
}

fn status_line(length: u64) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nServer: lab\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// The next request's head with its empty line, or `None` when the client has finished between requests.
fn read_head(talk: &mut Talk, pending: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = pending.drain(..end + 4).collect::<Vec<u8>>();
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if more(talk, pending)? == 0 {
            return Ok(None);
        }
    }
}

fn read_body(talk: &mut Talk, pending: &mut Vec<u8>, length: usize) -> io::Result<Vec<u8>> {
    while pending.len() < length {
        if more(talk, pending)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(pending.drain(..length).collect())
}

fn more(talk: &mut Talk, pending: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    let count = talk.read(&mut buffer)?;
    pending.extend_from_slice(&buffer[..count]);
    Ok(count)
}

fn drain(talk: &mut Talk) -> io::Result<End> {
    while talk.read(&mut [0; 4096])? > 0 {}
    Ok(End::Fin)
}
