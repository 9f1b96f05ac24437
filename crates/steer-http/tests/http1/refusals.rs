//! What is no request, or could be read in two ways, is refused; no server hears of it.

use steer_http::SessionError;

use crate::lab::{GET, Lab, Step, pause, read, write};

/// What, why, and the head, a line each.
const CASES: &str = include_str!("refused.txt");

fn cases() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    CASES.lines().map(|line| {
        let (what, rest) = line.split_once(" | ").expect("three columns");
        let (why, head) = rest.split_once(" | ").expect("three columns");
        let escapes = [("\\r", "\r"), ("\\n", "\n"), ("\\t", "\t"), ("\\0", "\0")];
        let unescape = |text: String, (from, to)| text.replace(from, to);
        (
            what,
            why,
            escapes.into_iter().fold(head.to_owned(), unescape),
        )
    })
}

#[tokio::test(start_paused = true)]
async fn a_smuggled_shape_is_refused_wherever_it_is_cut() {
    let mut wrong = Vec::new();
    for (what, why, request) in cases() {
        let status = if why == "Version" { 505 } else { 400 };
        for cut in [
            0,
            1,
            request.len() / 2,
            request.len() - 2,
            request.len() - 1,
        ] {
            let mut running = Lab::new([]).start();
            running.write(&request.as_bytes()[..cut]).await;
            pause().await;
            // Where it was refused by then, nobody reads the rest for long.
            running.write(&request.as_bytes()[cut..]).await;
            running
                .write("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
                .await;
            let answer = running.rest().await;
            let ran = running.ended().await;
            let refused = match &ran.result {
                Err(SessionError::Request { source }) => format!("{source:?}"),
                other => format!("{other:?}"),
            };
            let right = refused == why
                && answer.starts_with(&format!("HTTP/1.1 {status} "))
                && answer.contains("\r\nconnection: close\r\n")
                && answer.matches("\r\n\r\n").count() == 1
                && (ran.connects, ran.ends.len(), ran.shut) == (0, 0, true);
            if !right {
                wrong.push(format!("{what}, cut at {cut}: {refused}: {answer}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_malformed_chunk_ends_the_exchange_and_the_connection() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunk in [
        "5\nhello",
        "g\r\n",
        "5\r\nhelloX\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "0\r\nA : b\r\n\r\n",
    ] {
        for apart in [false, true] {
            let mut running = Lab::new([vec![Step::Hold]]).start();
            running.write(head).await;
            if apart {
                pause().await;
            }
            running.write(chunk).await;
            let answer = running.rest().await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{chunk:?}: {answer}");
            assert!(answer.contains("\r\nconnection: close\r\n"), "{chunk:?}");
            let ran = running.ended().await;
            assert!(
                matches!(ran.result, Err(SessionError::Request { .. })),
                "{chunk:?}"
            );
            assert_eq!(ran.ends.len(), 1);
            assert_eq!(ran.ends[0].status, Some(400));
            assert!(ran.ends[0].error.is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_could_be_read_in_two_ways_becomes_a_502() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\nA: b\n\n",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n",
        "HTTP/1.1 20 OK\r\nA: b\r\n\r\n",
        "HTTP/1.1 099 OK\r\nA: b\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\n",
        "",
    ] {
        let mut cuts = vec![0, 1, response.len() / 2, response.len().saturating_sub(1)];
        if response.contains("xyz") {
            // A head that can be passed on is, before its body comes.
            cuts.truncate(2);
        }
        for cut in cuts {
            let (first, second) = response.split_at(cut.min(response.len()));
            let script = vec![read(GET), write(first), write(second), Step::End];
            let mut running = Lab::new([script]).start();
            running.write(GET).await;
            running.end().await;
            let answer = running.rest().await;
            assert!(
                answer.starts_with("HTTP/1.1 502 "),
                "{response:?}: {answer}"
            );
            let ran = running.ended().await;
            ran.result.expect("the session goes on");
            assert_eq!(ran.ends[0].status, Some(502));
            assert!(ran.ends[0].error.is_some(), "{response:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_response_in_chunks_passes_as_it_is_and_ends_with_its_connection() {
    let response = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n";
    let script = vec![read(GET), write(response), Step::End];
    let mut running = Lab::new([script]).start();
    running.write(GET).await;
    assert_eq!(running.rest().await, response);
    let ran = running.ended().await;
    ran.result.expect("nothing is wrong");
    assert_eq!(ran.ends[0].error, None);
}
