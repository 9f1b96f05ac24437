//! What is answered, and to how many.
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream as Client};

use super::*;

#[derive(Debug)]
struct Fixed(bool);

impl Status for Fixed {
    fn page(&self) -> String {
        "steer_build_info 1\n".to_owned()
    }

    fn is_ready(&self) -> bool {
        self.0
    }
}

fn start(ready: bool) -> (tokio::runtime::Runtime, SocketAddr) {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.address();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.spawn(server.serve(Arc::new(Fixed(ready))));
    (runtime, address)
}

fn connect(to: SocketAddr) -> Client {
    let client = Client::connect(to).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    client
}

fn ask(to: SocketAddr, request: &[u8]) -> String {
    let mut client = connect(to);
    client.write_all(request).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn each_path_has_its_answer() {
    let (_runtime, to) = start(true);
    for (request, status, body) in [
        (
            "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n",
            "200",
            "steer_build_info 1\n",
        ),
        (
            "GET /metrics?name=x HTTP/1.1\r\n\r\n",
            "200",
            "steer_build_info 1\n",
        ),
        ("GET /healthz HTTP/1.0\r\n\r\n", "200", "ok\n"),
        ("GET /ready HTTP/1.1\r\n\r\n", "200", "ready\n"),
        ("HEAD /metrics HTTP/1.1\r\n\r\n", "200", ""),
        (
            "GET / HTTP/1.1\r\n\r\n",
            "404",
            "there are /metrics, /healthz and /ready\n",
        ),
        (
            "POST /metrics HTTP/1.1\r\n\r\n",
            "405",
            "GET and HEAD are answered\n",
        ),
        ("\0\0\0\0\r\n\r\n", "400", "this is no request\n"),
    ] {
        let text = ask(to, request.as_bytes());
        let (head, got) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {head}"
        );
        assert_eq!(got, body, "{request:?}");
    }
}

#[test]
fn an_engine_that_stops_is_healthy_and_not_ready() {
    let (_runtime, to) = start(false);
    assert!(ask(to, b"GET /ready HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
    assert!(ask(to, b"GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_head_that_never_ends_is_refused_with_its_reason() {
    let (_runtime, to) = start(true);
    let long = format!("GET /metrics HTTP/1.1\r\nx: {}", "y".repeat(2 * MOST_HEAD));
    assert!(ask(to, long.as_bytes()).starts_with("HTTP/1.1 431 "));
}

#[test]
fn those_who_ask_nothing_cannot_keep_the_places_of_others() {
    let (_runtime, to) = start(true);
    let silent: Vec<Client> = (0..MOST_AT_ONCE).map(|_| connect(to)).collect();
    // One more than there are places is closed without an answer.
    let mut refused = connect(to);
    let mut nothing = Vec::new();
    let read = refused.read_to_end(&mut nothing);
    assert!(nothing.is_empty() && read.is_ok(), "{read:?}");
    for client in &silent {
        client.shutdown(Shutdown::Both).unwrap();
    }
    let begun = std::time::Instant::now();
    loop {
        let mut client = connect(to);
        // It may be closed before it has written.
        let _ = client.write_all(b"GET /healthz HTTP/1.1\r\n\r\n");
        let mut text = String::new();
        let _ = client.read_to_string(&mut text);
        if text.starts_with("HTTP/1.1 200 ") {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "no place came back"
        );
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::bind(address).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("metrics cannot be served at {address}")
    );
    assert!(error.help().contains("ss -ltnp"), "{}", error.help());
}
