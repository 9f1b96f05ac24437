//! What fails on the way, what the gateway changes, and what takes too long.

use std::time::Duration;

use steer_http::{Limits, Refused, SessionError, Stage, Verdict};

use crate::lab::{GET, Lab, OK, Step, read, write};

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_server_has_closed_is_replaced() {
    let first = vec![read(GET), write(OK), Step::End, Step::Hold];
    let mut running = Lab::new([first, vec![read(GET), write(OK)]]).start();
    for _ in 0..2 {
        running.write(GET).await;
        running.expect(OK).await;
    }
    running.end().await;
    let ran = running.ended().await;
    assert_eq!((ran.connects, ran.ends.len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_reused_connection_did_not_answer_is_sent_once_more_if_it_may_be() {
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    for (request, again) in [(GET, true), (post, false)] {
        let first = vec![read(GET), write(OK), read(request)];
        let mut running = Lab::new([first, vec![read(request), write(OK)]]).start();
        running.write(GET).await;
        running.expect(OK).await;
        running.write(request).await;
        if again {
            running.expect(OK).await;
            running.end().await;
        }
        // Without a word, as the client would have seen it.
        assert_eq!(running.rest().await, "");
        let ran = running.ended().await;
        assert_eq!(ran.connects, if again { 2 } else { 1 });
        assert_eq!(ran.ends.len(), 2);
        assert_eq!(ran.ends[1].error.is_none(), again);
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_connection_without_an_answer_is_a_502_and_the_session_goes_on() {
    let mut running = Lab::new([vec![read(GET)], vec![read(GET), write(OK)]]).start();
    running.write(GET).await;
    running.expect("HTTP/1.1 502 Bad Gateway\r\n").await;
    running.write(GET).await;
    running.end().await;
    assert!(running.rest().await.ends_with(OK));
    assert_eq!(running.ended().await.connects, 2);
}

#[tokio::test(start_paused = true)]
async fn a_response_cut_short_is_no_whole_one_for_the_client() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n",
    ] {
        let mut running = Lab::new([vec![read(GET), write(answer), Step::End]]).start();
        running.write(GET).await;
        assert_eq!(running.rest().await, answer);
        let ran = running.ended().await;
        assert!(matches!(ran.result, Err(SessionError::ServerEnded(_))));
        assert!(!ran.shut, "the owner of the socket resets it");
        assert!(ran.ends[0].error.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_within_its_body_ends_the_exchange() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf";
    let mut running = Lab::new([vec![read(head), Step::Hold]]).start();
    running.write(head).await;
    running.end().await;
    let ran = running.ended().await;
    assert!(matches!(ran.result, Err(SessionError::ClientEnded(_))));
    assert!(ran.ends[0].error.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_gateway_keeps_the_connection_where_the_body_is_small() {
    let small = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345";
    let large = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n12345";
    let waits = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    for (last, kept) in [(small, true), (large, false), (waits, false)] {
        let mut lab = Lab::new([]);
        lab.limits.discard = 1000;
        lab.on_request = Box::new(|_| Verdict::Respond(Refused::plain(403, "no")));
        let mut running = lab.start();
        running.write([small, last].concat()).await;
        if kept {
            running.end().await;
        }
        let answers = running.rest().await;
        assert_eq!(answers.matches("HTTP/1.1 403 Forbidden\r\n").count(), 2);
        assert_eq!(answers.matches("\r\n\r\nno\n").count(), 2);
        assert_eq!(answers.contains("connection: close"), !kept, "{answers}");
        let ran = running.ended().await;
        ran.result.expect("an orderly end");
        assert_eq!((ran.ends[0].status, ran.ends[0].received), (Some(403), 3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_leaves_the_client_without_an_end() {
    let mut lab = Lab::new([]);
    lab.on_request = Box::new(|_| Verdict::Reset);
    let mut running = lab.start();
    running.write(GET).await;
    assert_eq!(running.rest().await, "");
    let ran = running.ended().await;
    assert!(matches!(ran.result, Err(SessionError::Reset)));
    assert!(!ran.shut);
}

#[tokio::test(start_paused = true)]
async fn a_changed_target_or_authority_is_written_where_it_came_from() {
    let cases = [
        (
            "GET /a HTTP/1.1\r\nhost: a\r\nB: c\r\n\r\n",
            "GET /b HTTP/1.1\r\nHost: x\r\nB: c\r\n\r\n",
            false,
        ),
        (
            "GET http://u@a/a HTTP/1.1\r\nHost: a:80\r\n\r\n",
            "GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
            false,
        ),
        (
            "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://x/b HTTP/1.1\r\nHost: x\r\n\r\n",
            true,
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS http://x HTTP/1.1\r\nHost: x\r\n\r\n",
            true,
        ),
    ];
    for (came, goes, absolute) in cases {
        let mut lab = Lab::new([vec![read(goes), write(OK)]]);
        lab.absolute = absolute;
        lab.on_request = Box::new(|request| {
            assert_eq!(request.authority.as_deref().map(|a| &a[..1]), Some("a"));
            request.authority = Some("x".to_owned());
            if request.target == "/a" {
                "/b".clone_into(&mut request.target);
            }
            Verdict::Forward(String::new())
        });
        let mut running = lab.start();
        running.write(came).await;
        running.end().await;
        assert_eq!(running.rest().await, OK);
        running.ended().await.result.expect("an orderly end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_would_split_a_head_or_reframe_its_body_goes_nowhere() {
    let changes: [fn(&mut steer_http::Request); 6] = [
        |request| request.fields.set("x", "a\r\nb: c"),
        |request| request.fields.add("content-length", "5"),
        |request| "/ HTTP/1.1\r\nX: y".clone_into(&mut request.target),
        |request| "HEAD".clone_into(&mut request.method),
        |request| request.fields.add("x y", "z"),
        |request| {
            request.fields = steer_http::Fields::default();
            request.fields.add("transfer-encoding", "chunked");
        },
    ];
    for change in changes {
        let mut lab = Lab::new([]);
        lab.on_request = Box::new(move |request| {
            change(request);
            Verdict::Forward(String::new())
        });
        let mut running = lab.start();
        running.write(GET).await;
        running
            .expect("HTTP/1.1 500 Internal Server Error\r\n")
            .await;
        running.end().await;
        running.rest().await;
        assert_eq!(running.ended().await.connects, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn ways_have_their_own_connections_and_the_oldest_gives_place() {
    let target = |n: u8| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n");
    let server = |n: u8| vec![read(target(n)), write(OK), Step::ReadEnd];
    let last = vec![
        read(target(4)),
        write(OK),
        read(target(4)),
        write(OK),
        Step::ReadEnd,
    ];
    let servers = [server(0), server(1), server(2), server(3), last, server(0)];
    let mut lab = Lab::new(servers);
    lab.on_request = Box::new(|request| Verdict::Forward(request.target.clone()));
    let mut running = lab.start();
    for n in [0, 1, 2, 3, 4, 4, 0] {
        running.write(target(n)).await;
        running.expect(OK).await;
    }
    running.end().await;
    assert_eq!(running.rest().await, "");
    assert_eq!(running.ended().await.connects, 6);
}

#[tokio::test(start_paused = true)]
async fn a_draining_session_finishes_its_exchange_and_ends() {
    for pipelined in ["", GET, "GET / HT"] {
        let mut running = Lab::new([vec![read(GET), Step::Wait, write(OK), Step::Hold]]).start();
        running.write([GET, pipelined].concat()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        running.drain();
        assert_eq!(running.rest().await, OK);
        let ran = running.ended().await;
        ran.result.expect("an orderly end");
        assert_eq!(ran.ends.len(), 1);
    }
    let mut idle = Lab::new([]).start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    idle.drain();
    assert_eq!(idle.rest().await, "");
    idle.ended().await.result.expect("an orderly end");
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_or_too_much_is_ended_with_the_status_that_says_so() {
    let limits = Limits {
        head: 200,
        fields: 3,
        head_time: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        body_idle: Duration::from_secs(30),
        ..Limits::default()
    };
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(200));
    let many = "GET / HTTP/1.1\r\nHost: a\r\nb:\r\nc:\r\nd:\r\n";
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhal";
    for (request, server, status) in [
        ("GET / HTTP/1.1\r\nHost:", None, "408"),
        ("G", None, "408"),
        (&*long, None, "431"),
        (many, None, "431"),
        (body, Some(vec![read(body), Step::Hold]), "408"),
        (GET, Some(vec![read(GET), Step::Hold]), "504"),
        (
            GET,
            Some(vec![read(GET), write("HTTP/1.1 20"), Step::Hold]),
            "504",
        ),
        (GET, Some(vec![read(GET), write(&long), Step::Hold]), "502"),
        ("", None, ""),
    ] {
        let mut lab = Lab::new(server);
        lab.limits = limits.clone();
        let mut running = lab.start();
        running.write(request).await;
        let answer = running.rest().await;
        let got = answer.split(' ').nth(1).unwrap_or_default();
        assert_eq!(got, status, "{request:?}");
        let ran = running.ended().await;
        assert!(ran.shut, "{request:?}");
        assert_eq!(
            ran.result.is_ok(),
            matches!(status, "" | "502" | "504"),
            "{request:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_byte_by_byte_has_no_longer_than_one_that_stops() {
    let mut lab = Lab::new([]);
    lab.limits.head_time = Duration::from_secs(10);
    let mut running = lab.start();
    for _ in 0..11 {
        running.write("a").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(running.rest().await.starts_with("HTTP/1.1 408 "));
    let ran = running.ended().await;
    assert!(matches!(ran.result, Err(SessionError::Slow(_))));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_may_rest_as_long_as_the_limits_say() {
    let request = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n";
    let yes = "HTTP/1.1 200 OK\r\n\r\n";
    for (idle, ends) in [(None, false), (Some(Duration::from_secs(60)), true)] {
        let mut lab = Lab::new([vec![read(request), write(yes), Step::Hold]]);
        lab.limits.tunnel_idle = idle;
        let mut running = lab.start();
        running.write(request).await;
        running.expect(yes).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(running.session.is_finished(), ends);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_left_without_an_end() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n{}",
        "x".repeat(500_000)
    );
    let mut running = Lab::new([vec![read(GET), write(answer), Step::Hold]]).start();
    running.write(GET).await;
    tokio::time::sleep(Duration::from_secs(3000)).await;
    let ran = running.ended().await;
    assert!(
        matches!(ran.result, Err(SessionError::Slow(Stage::Response))),
        "{:?}",
        ran.result
    );
    assert!(!ran.shut);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_is_given_up_is_told_all_the_same() {
    let mut running = Lab::new([vec![read(GET), Step::Hold]]).start();
    running.write(GET).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(running.ends(), []);
    running.session.abort();
    assert!(
        (&mut running.session)
            .await
            .expect_err("aborted")
            .is_cancelled()
    );
    assert!(running.ends()[0].error.is_some());
}

#[tokio::test(start_paused = true)]
async fn empty_lines_do_not_keep_a_connection() {
    let mut lab = Lab::new([]);
    lab.limits.idle = Duration::from_secs(60);
    let mut running = lab.start();
    for _ in 0..7 {
        running.write("\r\n").await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert!(running.session.is_finished());
}
