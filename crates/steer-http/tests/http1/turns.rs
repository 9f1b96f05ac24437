//! The turns that an exchange can take.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{GET, Lab, OK, Step, read, write};

#[tokio::test(start_paused = true)]
async fn interim_responses_are_all_relayed() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let script = [
        read(GET),
        write(early),
        write(early),
        write(OK),
        Step::ReadEnd,
    ];
    let mut running = Lab::new([script.to_vec()]).start();
    running.write(GET).await;
    running.expect([early, early, OK].concat()).await;
    running.end().await;
    running.ended().await.result.expect("an orderly end");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_expects_100_sends_its_body_when_the_server_says_so() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let script = [
        read(head),
        write(go_on),
        read("body"),
        write(OK),
        Step::ReadEnd,
    ];
    let mut running = Lab::new([script.to_vec()]).start();
    running.write(head).await;
    running.expect(go_on).await;
    running.write("body").await;
    running.expect(OK).await;
    running.end().await;
    let ran = running.ended().await;
    ran.result.expect("an orderly end");
    assert_eq!((ran.ends[0].sent, ran.ends[0].status), (4, Some(200)));
}

#[tokio::test(start_paused = true)]
async fn a_server_may_answer_for_good_instead_of_100() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let no = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let script = [read(head), write(no), Step::Hold];
    let mut running = Lab::new([script.to_vec()]).start();
    running.write(head).await;
    running.expect(no).await;
    running.end().await;
    let ran = running.ended().await;
    ran.result.expect("an orderly end");
    assert_eq!(ran.ends[0].error, None);
}

#[tokio::test(start_paused = true)]
async fn a_response_before_the_end_of_the_body_is_passed_on_and_the_body_goes_on() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n";
    let script = [
        read([head, "half"].concat()),
        write(OK),
        read("rest"),
        read(GET),
        write(OK),
        Step::ReadEnd,
    ];
    let mut running = Lab::new([script.to_vec()]).start();
    running.write([head, "half"].concat()).await;
    running.expect(OK).await;
    running.write(["rest", GET].concat()).await;
    running.expect(OK).await;
    running.end().await;
    let ran = running.ended().await;
    ran.result.expect("an orderly end");
    assert_eq!((ran.connects, ran.ends[0].sent), (1, 8));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_closes_ends_a_body_that_still_comes() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 800\r\n\r\n";
    let no = "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    let mut running = Lab::new([vec![read(head), write(no)]]).start();
    running.write(head).await;
    running.expect(no).await;
    assert_eq!(running.rest().await, "");
    let ran = running.ended().await;
    ran.result.expect("an orderly end");
    assert!(ran.shut);
}

#[tokio::test(start_paused = true)]
async fn responses_that_have_no_body_end_with_their_heads() {
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let answers = [
        (head, "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"),
        (
            head,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            GET,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n\r\n",
        ),
        (GET, OK),
    ];
    let mut script = Vec::new();
    for (request, answer) in answers {
        script.extend([read(request), write(answer)]);
    }
    let mut running = Lab::new([script]).start();
    for (request, answer) in answers {
        running.write(request).await;
        running.expect(answer).await;
    }
    running.end().await;
    assert_eq!(running.rest().await, "");
    assert_eq!(running.ended().await.connects, 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_without_a_length_ends_with_the_connection() {
    let answer = "HTTP/1.1 200 OK\r\nA: b\r\n\r\nas long as it lasts";
    let mut running = Lab::new([vec![read(GET), write(answer), Step::End]]).start();
    running.write(GET).await;
    assert_eq!(running.rest().await, answer);
    drop(running.client);
    running
        .session
        .await
        .expect("no panic")
        .expect("an orderly end");
}

#[tokio::test(start_paused = true)]
async fn http_1_0_ends_with_its_response_unless_both_keep_it_alive() {
    let plain = "GET / HTTP/1.0\r\n\r\n";
    let mut running = Lab::new([vec![read(plain), write(OK)]]).start();
    running.write(plain).await;
    assert_eq!(running.rest().await, OK);
    running.ended().await.result.expect("an orderly end");

    let kept = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let keeps = "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok";
    let script = [read(kept), write(keeps), read(kept), write(OK)];
    let mut running = Lab::new([script.to_vec()]).start();
    running.write([kept, kept, kept].concat()).await;
    assert_eq!(running.rest().await, [keeps, OK].concat());
    running.ended().await.result.expect("an orderly end");
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_becomes_a_relay_whose_sides_end_one_by_one() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n";
    let script = [
        read(request),
        write([answer, "first"].concat()),
        read("\0not\nHTTP"),
        Step::ReadEnd,
        write("last"),
        Step::End,
    ];
    let mut running = Lab::new([script.to_vec()]).start();
    running.write(request).await;
    running.expect([answer, "first"].concat()).await;
    running.write("\0not\nHTTP").await;
    running.end().await;
    assert_eq!(running.rest().await, "last");
    let ran = running.ended().await;
    ran.result.expect("an orderly end");
    assert!(ran.ends[0].upgraded);
    assert_eq!((ran.ends[0].sent, ran.ends[0].received), (9, 9));
}

#[tokio::test(start_paused = true)]
async fn connect_becomes_a_relay_where_it_is_granted_and_stays_http_where_not() {
    let request = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
    let no = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
    let yes = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
    let script = [
        read(request),
        write(no),
        read(request),
        write(yes),
        read("hello"),
        write("you"),
    ];
    let mut running = Lab::new([script.to_vec()]).start();
    running.write(request).await;
    running.expect(no).await;
    // What a hasty client sends before the answer is kept for afterwards.
    running.write([request, "hello"].concat()).await;
    running.expect([yes, "you"].concat()).await;
    running.end().await;
    assert_eq!(running.rest().await, "");
    assert!(running.ended().await.ends[1].upgraded);
}

#[tokio::test(start_paused = true)]
async fn bodies_larger_than_all_buffers_stream_both_ways_at_once() {
    let length = 3_000_000;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let script = [
        read(&head),
        write(&answer),
        Step::Echo(length),
        Step::ReadEnd,
    ];
    let mut running = Lab::new([script.to_vec()]).start();
    running.write(&head).await;
    running.expect(&answer).await;
    let (mut reading, mut writing) = tokio::io::split(running.client);
    let sending = tokio::spawn(async move {
        for byte in 0..length / 1000 {
            let piece = [u8::try_from(byte % 251).expect("small"); 1000];
            writing.write_all(&piece).await.expect("the session reads");
        }
        writing
    });
    for byte in 0..length / 1000 {
        let mut piece = [0; 1000];
        reading
            .read_exact(&mut piece)
            .await
            .expect("as much as was sent");
        assert!(piece.iter().all(|b| u64::from(*b) == byte % 251));
    }
    running.client = reading.unsplit(sending.await.expect("no panic"));
    running.end().await;
    let ran = running.ended().await;
    ran.result.expect("an orderly end");
    assert_eq!((ran.ends[0].sent, ran.ends[0].received), (length, length));
}

#[tokio::test(start_paused = true)]
async fn a_session_needs_little_memory_of_its_own() {
    let running = Lab::new([]).start();
    assert!(running.size <= 4608, "{} bytes", running.size);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_once_it_is_answered_ends_the_connection_in_order() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n";
    let mut running = Lab::new([vec![read(head), write(OK), Step::Hold]]).start();
    running.write(head).await;
    assert_eq!(running.rest().await, OK);
    let ran = running.ended().await;
    ran.result.expect("an orderly end");
    assert!(ran.shut);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_waits_for_the_end_of_the_body() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 4\r\n\r\n";
    let answer = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    let script = [
        read(head),
        write(answer),
        read("bodymore"),
        write("yes"),
        Step::ReadEnd,
    ];
    let mut running = Lab::new([script.to_vec()]).start();
    running.write(head).await;
    running.expect(answer).await;
    running.write("bo").await;
    crate::lab::pause().await;
    running.write("dymore").await;
    running.expect("yes").await;
    running.end().await;
    let ran = running.ended().await;
    ran.result.expect("an orderly end");
    assert!(ran.ends[0].upgraded);
    assert_eq!(ran.ends[0].sent, 8);

    let mut running = Lab::new([vec![read(head), write(answer), Step::Hold]]).start();
    running.write(head).await;
    running.expect(answer).await;
    running.end().await;
    let ran = running.ended().await;
    assert!(ran.result.is_err() && !ran.shut);
}
