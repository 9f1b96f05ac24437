//! What passes, and that it passes as it came.

use steer_http::{Fields, Verdict};

use crate::lab::{Lab, Step, read, write};

#[tokio::test(start_paused = true)]
async fn requests_of_one_connection_go_over_one_connection_as_they_came() {
    let requests = [
        "GET /a HTTP/1.1\r\nHost:  a \r\nx-ODD:\t1\r\n\r\n",
        "POST /b HTTP/1.1\r\nhost: a\r\nContent-Length: 5\r\n\r\nhello",
    ];
    let responses = [
        "HTTP/1.1 200 Fine then\r\nContent-length: 2\r\n\r\nok",
        "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nT: 1\r\n\r\n",
    ];
    let lab = Lab::new([vec![
        read(requests[0]),
        write(responses[0]),
        read(requests[1]),
        write(responses[1]),
        Step::ReadEnd,
    ]]);
    let mut running = lab.start();
    running.write(requests.concat()).await;
    running.end().await;
    assert_eq!(running.rest().await, responses.concat());
    let ran = running.ended().await;
    ran.result.expect("an orderly end");
    assert!(ran.shut);
    assert_eq!(ran.connects, 1);
    assert_eq!((ran.ends[1].sent, ran.ends[1].received), (5, 20));
    assert_eq!(ran.ends[1].status, Some(200));
    assert_eq!(ran.ends[1].error, None);
}

#[tokio::test(start_paused = true)]
async fn a_change_changes_its_line_alone() {
    let mut lab = Lab::new([vec![
        read(
            "GET /a?b HTTP/1.1\r\nA:  1\r\nHost: h\r\nx: new\r\nB: 2 \r\nauthorization: s\r\n\r\n",
        ),
        write("HTTP/1.1 200 Fine\r\nServer: s\r\nX:  1\r\nContent-Length: 0\r\n\r\n"),
        Step::ReadEnd,
    ]]);
    lab.on_request = Box::new(|request| {
        request.fields.set("x", "new");
        request.fields.add("authorization", "s");
        assert_eq!(request.fields.remove("c"), 1);
        Verdict::Forward(String::new())
    });
    lab.on_response = Box::new(|response| {
        response.fields.remove("server");
    });
    let mut running = lab.start();
    running
        .write("GET /a?b HTTP/1.1\r\nA:  1\r\nHost: h\r\nX: old\r\nc: \r\nB: 2 \r\nX: old\r\n\r\n")
        .await;
    running.end().await;
    assert_eq!(
        running.rest().await,
        "HTTP/1.1 200 Fine\r\nX:  1\r\nContent-Length: 0\r\n\r\n"
    );
    running.ended().await.result.expect("an orderly end");
}

#[tokio::test(start_paused = true)]
async fn fields_can_be_replaced_as_a_whole() {
    let mut lab = Lab::new([vec![
        read("GET / HTTP/1.1\r\n\r\n"),
        write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: b\r\n\r\n"),
        Step::ReadEnd,
    ]]);
    lab.on_request = Box::new(|request| {
        request.fields = Fields::default();
        Verdict::Forward(String::new())
    });
    lab.on_response = Box::new(|response| {
        let mut fields = Fields::default();
        fields.add("content-length", "0");
        response.fields = fields;
        response.status = 404;
    });
    let mut running = lab.start();
    running.write(crate::lab::GET).await;
    running.end().await;
    assert_eq!(
        running.rest().await,
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
    );
    running.ended().await.result.expect("an orderly end");
}
