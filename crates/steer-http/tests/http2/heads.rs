//! What gateways see of heads, what they change, and what they answer.

use bytes::Bytes;
use h2::Reason;
use http::{HeaderValue, Method, Request, Response, Version};
use steer_http::{Refused, Verdict};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::rig::{Plan, get, reason, status, whole, with, within};

/// A server that tells the heads it gets and answers with 200.
fn telling() -> (Plan, UnboundedReceiver<http::request::Parts>) {
    let (seen, saw) = unbounded_channel();
    let plan = Plan::served(move |request, mut respond| {
        let _ = seen.send(request.into_parts().0);
        async move {
            let mut head = status(200);
            let server = HeaderValue::from_static("a server");
            head.headers_mut().insert("server", server);
            respond.send_response(head, true).expect("sent");
        }
    });
    (plan, saw)
}

#[tokio::test]
async fn a_gateway_sees_the_head_and_its_changes_are_sent() {
    let (mut plan, mut saw) = telling();
    plan.decide = Box::new(|request| {
        assert_eq!(request.version, steer_http::Version::Http2);
        assert_eq!(request.method, "GET");
        assert_eq!(request.target, "/a?b");
        assert_eq!(request.authority.as_deref(), Some("example.com"));
        assert_eq!(request.fields.first("x-debug"), Some(&b"1"[..]));
        request.fields.remove("x-debug");
        request.fields.set("authorization", "Bearer t");
        request.authority = Some("api.internal:8443".to_owned());
        request.target = "/v2/a?b".to_owned();
        Verdict::Forward(0)
    });
    plan.edit = Box::new(|response| {
        response.fields.remove("server");
        response.fields.add("x-by", "steer");
        response.status = 203;
    });
    let mut rig = plan.begin().await;
    let mut request = get("/a?b");
    for (name, value) in [
        ("x-debug", "1"),
        ("host", "example.com"),
        ("te", "trailers"),
    ] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let (response, _) = rig.open(request, true).await;
    let response = within(whole(response)).await.expect("a response");
    let sent = saw.recv().await.expect("a request");
    assert_eq!(sent.uri, "http://api.internal:8443/v2/a?b");
    assert_eq!(sent.headers["authorization"], "Bearer t");
    assert_eq!(sent.headers["host"], "api.internal:8443");
    assert_eq!(sent.headers["te"], "trailers");
    assert!(!sent.headers.contains_key("x-debug"));
    assert_eq!(response.head.status(), 203);
    assert_eq!(response.head.headers()["x-by"], "steer");
    assert!(!response.head.headers().contains_key("server"));
    let (_, end) = rig.running.ended().await;
    assert_eq!((end.status, end.error), (Some(203), None));
}

#[tokio::test]
async fn a_request_with_a_host_field_alone_keeps_it() {
    let (mut plan, mut saw) = telling();
    plan.decide = Box::new(|request| {
        assert_eq!(request.authority.as_deref(), Some("example.com"));
        if request.target == "/changed" {
            request.authority = Some("other.example".to_owned());
        }
        Verdict::Forward(0)
    });
    let rig = plan.begin().await;
    for (path, host) in [("/same", "example.com"), ("/changed", "other.example")] {
        let request = Request::get(path).version(Version::HTTP_11);
        let request = request
            .header("host", "example.com")
            .body(())
            .expect("a request");
        let (response, _) = rig.open(request, true).await;
        assert_eq!(
            within(whole(response))
                .await
                .expect("a response")
                .head
                .status(),
            200
        );
        let sent = saw.recv().await.expect("a request");
        assert_eq!(
            (sent.uri.to_string().as_str(), sent.uri.authority()),
            (path, None)
        );
        assert_eq!(sent.headers["host"], host);
    }
}

#[tokio::test]
async fn heads_that_could_be_read_in_two_ways_are_refused_and_recorded() {
    let (plan, _saw) = telling();
    let mut rig = plan.begin().await;
    let mut two = get("/two");
    for host in ["example.com", "example.com"] {
        two.headers_mut()
            .append("host", HeaderValue::from_static(host));
    }
    let mut other = get("/other");
    other
        .headers_mut()
        .append("host", HeaderValue::from_static("other.example"));
    let named = Request::get("http://api.example@example.com/named");
    let named = named.body(()).expect("a request");
    for request in [two, other, named] {
        let path = request.uri().path().to_owned();
        let (response, _) = rig.open(request, true).await;
        let response = within(whole(response)).await.expect("a response");
        assert_eq!(response.head.status(), 400, "{path}");
        let (ended, end) = rig.running.ended().await;
        assert_eq!((ended, end.status), (path, Some(400)));
        assert!(end.error.is_some());
    }
    assert_eq!(
        rig.running
            .desk
            .dialled
            .load(std::sync::atomic::Ordering::SeqCst),
        0
    );
}

#[tokio::test]
async fn connect_is_refused() {
    let (plan, _saw) = telling();
    let rig = plan.begin().await;
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("example.com:443");
    let (response, _stream) = rig.open(request.body(()).expect("a request"), false).await;
    let response = within(response).await.expect("a response");
    assert_eq!(response.status(), 405);
}

#[tokio::test]
async fn an_answer_of_the_gateway_is_sent_with_its_length_and_date() {
    let (mut plan, _saw) = telling();
    plan.decide = Box::new(|_| Verdict::Respond(Refused::plain(403, "not here")));
    let mut rig = plan.begin().await;
    for method in ["POST", "HEAD"] {
        let (response, mut stream) = rig.open(with(method, "/"), false).await;
        stream
            .send_data(Bytes::from_static(b"a body"), true)
            .expect("sent");
        let response = within(whole(response)).await.expect("a response");
        assert_eq!(response.head.status(), 403);
        assert_eq!(response.head.headers()["content-length"], "9");
        assert!(response.head.headers().contains_key("date"));
        let body: &[u8] = if method == "HEAD" { b"" } else { b"not here\n" };
        assert_eq!(response.body, body);
        let (_, end) = rig.running.ended().await;
        assert_eq!((end.status, end.error), (Some(403), None));
    }
}

#[tokio::test]
async fn a_decision_to_reset_resets_the_stream_alone() {
    let (mut plan, _saw) = telling();
    plan.decide = Box::new(|request| match request.target.as_str() {
        "/reset" => Verdict::Reset,
        _ => Verdict::Forward(0),
    });
    let mut rig = plan.begin().await;
    let error = rig.get("/reset").await.expect_err("a reset");
    assert_eq!(reason(&error), Some(Reason::CANCEL));
    assert!(rig.running.ended().await.1.error.is_some());
    assert_eq!(rig.get("/").await.expect("a response").head.status(), 200);
}

#[tokio::test]
async fn a_change_that_cannot_be_sent_is_a_502_and_never_sent_without_it() {
    let (mut plan, mut saw) = telling();
    plan.decide = Box::new(|request| {
        let (name, value) = match request.target.as_str() {
            "/name" => ("a name", "1"),
            "/value" => ("a", "1\r\nb: 2"),
            _ => ("connection", "close"),
        };
        request.fields.set(name, value);
        Verdict::Forward(0)
    });
    let mut rig = plan.begin().await;
    for path in ["/name", "/value", "/connection"] {
        assert_eq!(rig.get(path).await.expect("a response").head.status(), 502);
        let (_, end) = rig.running.ended().await;
        assert_eq!(end.status, Some(502));
        assert!(end.error.is_some(), "{path}");
    }
    assert!(saw.try_recv().is_err());
}

#[tokio::test]
async fn a_changed_response_that_cannot_be_sent_is_a_502() {
    let (mut plan, _saw) = telling();
    plan.edit = Box::new(|response| response.fields.set("connection", "close"));
    let mut rig = plan.begin().await;
    assert_eq!(rig.get("/").await.expect("a response").head.status(), 502);
    let (_, end) = rig.running.ended().await;
    assert_eq!(end.status, Some(502));
    assert!(end.error.expect("an error").contains("response"));
}

#[tokio::test]
async fn the_response_to_head_has_its_length_and_no_body() {
    let rig = Plan::served(|request, mut respond| async move {
        assert_eq!(request.method(), Method::HEAD);
        let head = Response::builder().header("content-length", "1000");
        respond
            .send_response(head.body(()).expect("a head"), true)
            .expect("sent");
    });
    let rig = rig.begin().await;
    let (response, _) = rig.open(with("HEAD", "/"), true).await;
    let response = within(response).await.expect("a response");
    assert_eq!(response.headers()["content-length"], "1000");
    assert!(response.body().is_end_stream());
}

#[tokio::test]
async fn interim_responses_are_passed_on_and_bounded() {
    let plan = Plan::served(|request, mut respond| async move {
        let many = if request.uri().path() == "/many" {
            1000
        } else {
            2
        };
        for number in 0..many {
            let mut hints = status(103);
            hints
                .headers_mut()
                .insert("link", HeaderValue::from(number));
            if respond.send_informational(hints).is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = respond.send_response(status(200), true);
    });
    let mut rig = plan.begin().await;
    let (mut response, _) = rig.open(get("/"), true).await;
    for number in 0..2 {
        let next = std::future::poll_fn(|cx| response.poll_informational(cx));
        let hints = within(next).await.expect("a response").expect("whole");
        assert_eq!(hints.status(), 103);
        assert_eq!(hints.headers()["link"], HeaderValue::from(number));
    }
    assert_eq!(within(response).await.expect("a response").status(), 200);
    assert_eq!(rig.running.ended().await.1.error, None);

    assert_eq!(
        rig.get("/many").await.expect("a response").head.status(),
        502
    );
    assert!(rig.running.ended().await.1.error.is_some());
}
