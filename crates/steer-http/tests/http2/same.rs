//! What nobody changes arrives as it was sent.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::sync::mpsc::unbounded_channel;

use crate::rig::{Plan, drain, per_name, within};

/// A message in either direction.
#[derive(Clone, Debug)]
struct Message {
    fields: Vec<(String, Vec<u8>)>,
    chunks: Vec<Vec<u8>>,
    trailers: Option<Vec<(String, Vec<u8>)>>,
}

fn fields(most: usize) -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        3 => "x-[a-z0-9-]{1,12}",
        1 => Just("accept".to_owned()),
        1 => Just("cookie".to_owned()),
        1 => Just("x-same".to_owned()),
    ];
    let value = "[!-~\u{80}-\u{ff}]([ -~]{0,30}[!-~])?".prop_map(|text| {
        text.chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
            .collect()
    });
    vec((name, value), 0..most)
}

fn message() -> impl Strategy<Value = Message> {
    let chunk = prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 16_000..70_000)];
    let trailers = proptest::option::of(fields(4));
    (fields(20), vec(chunk, 0..5), trailers).prop_map(|(fields, chunks, trailers)| Message {
        fields,
        chunks,
        trailers,
    })
}

fn map(fields: &[(String, Vec<u8>)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name: HeaderName = name.parse().expect("a name");
        map.append(name, HeaderValue::from_bytes(value).expect("a value"));
    }
    map
}

impl Message {
    fn is_bare(&self) -> bool {
        self.chunks.is_empty() && self.trailers.is_none()
    }

    fn body(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    fn send(&self, stream: &mut h2::SendStream<Bytes>) {
        let last = self.chunks.len().saturating_sub(1);
        for (index, chunk) in self.chunks.iter().enumerate() {
            let end = index == last && self.trailers.is_none();
            stream
                .send_data(Bytes::copy_from_slice(chunk), end)
                .expect("sent");
        }
        if let Some(trailers) = &self.trailers {
            stream.send_trailers(map(trailers)).expect("sent");
        }
    }

    fn is(&self, head: &HeaderMap, bare: bool, body: &[u8], trailers: Option<&HeaderMap>) {
        assert_eq!(per_name(head), per_name(&map(&self.fields)));
        assert_eq!(bare, self.is_bare(), "a body that is none has no frame");
        assert_eq!(body, self.body());
        let expected = self.trailers.as_ref().map(|fields| per_name(&map(fields)));
        assert_eq!(trailers.map(per_name), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn fields_bodies_and_trailers_arrive_as_they_were_sent(
        request in message(),
        response in message(),
        method in "(GET|POST|PUT|M-SEARCH|[a-z]{3})",
        path in "/[a-z]{0,9}(\\?[a-z=&]{0,9})?",
    ) {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(passes(request, response, &method, &path));
    }
}

async fn passes(request: Message, response: Message, method: &str, path: &str) {
    let (seen, mut saw) = unbounded_channel();
    let (sent, answer) = (Arc::new(request), Arc::new(response));
    let replies = answer.clone();
    let rig = Plan::served(move |request, mut respond| {
        let (seen, answer) = (seen.clone(), replies.clone());
        async move {
            let (parts, mut body) = request.into_parts();
            let bare = body.is_end_stream();
            let read = drain(&mut body).await.expect("a body");
            let _ = seen.send((parts, bare, read));
            let mut head = Response::new(());
            *head.headers_mut() = map(&answer.fields);
            let stream = respond.send_response(head, answer.is_bare());
            if !answer.is_bare() {
                answer.send(&mut stream.expect("sent"));
            }
        }
    });
    let mut rig = rig.begin().await;
    let uri = format!("https://example.com:8443{path}");
    let builder = Request::builder().method(method).uri(uri);
    let mut head = builder.body(()).expect("a request");
    *head.headers_mut() = map(&sent.fields);
    let (answered, mut stream) = rig.open(head, sent.is_bare()).await;
    if !sent.is_bare() {
        sent.send(&mut stream);
    }
    let (parts, bare, (body, trailers)) = within(saw.recv()).await.expect("a request");
    assert_eq!(parts.method.as_str(), method);
    assert_eq!(
        parts.uri.to_string(),
        format!("https://example.com:8443{path}")
    );
    sent.is(&parts.headers, bare, &body, trailers.as_ref());

    let (parts, mut body) = within(answered).await.expect("a response").into_parts();
    let bare = body.is_end_stream();
    let (bytes, trailers) = within(drain(&mut body)).await.expect("a body");
    answer.is(&parts.headers, bare, &bytes, trailers.as_ref());

    let (target, end) = rig.running.ended().await;
    assert_eq!(target, path);
    assert_eq!((end.status, end.error), (Some(200), None));
    let (up, down) = (sent.body().len(), answer.body().len());
    assert_eq!((end.sent, end.received), (up as u64, down as u64));
}
