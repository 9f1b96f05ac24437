//! The client's side of an exchange, and the responses that are made here.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::time::timeout;

use super::body;
use super::fault::Fault;
use crate::date;
use crate::gateway::{End, Refused};
use crate::limits::Limits;

/// The client's stream.
pub(super) struct Client {
    /// Where its response goes.
    pub(super) respond: SendResponse<Bytes>,
    /// Where its request's body comes from.
    pub(super) body: RecvStream,
    /// How much of a response it was sent.
    pub(super) told: Told,
}

/// How much of a response a client was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// None: there is a choice.
    Nothing,
    /// The head.
    Head,
    /// All of it.
    All,
}

impl Client {
    /// Waits for something that comes before the response, unless the stream is reset before.
    pub(super) async fn unless_reset<T>(
        &mut self,
        something: impl Future<Output = T>,
    ) -> Result<T, Fault> {
        let mut something = pin!(something);
        poll_fn(|cx| {
            if let Poll::Ready(reset) = self.respond.poll_reset(cx) {
                return Poll::Ready(Err(Fault::client(reset)));
            }
            something.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Answers in the place of a server, and throws away what of the request is still coming.
    pub(super) async fn answer(
        &mut self,
        refused: &Refused,
        asks_for: Asks,
        limits: &Limits,
        end: &mut End,
    ) -> Result<(), Fault> {
        let status = StatusCode::from_u16(refused.status);
        let mut response = http::Response::new(());
        *response.status_mut() = status.unwrap_or(StatusCode::BAD_GATEWAY);
        let fields = response.headers_mut();
        for (name, value) in &refused.fields {
            let name = name.parse::<HeaderName>().map_err(|_| MALFORMED)?;
            let value = value.parse::<HeaderValue>().map_err(|_| MALFORMED)?;
            fields.append(name, value);
        }
        fields.insert(header::CONTENT_LENGTH, refused.body.len().into());
        let date = date::text().parse::<HeaderValue>();
        fields.insert(header::DATE, date.map_err(|_| MALFORMED)?);
        end.status = Some(response.status().as_u16());
        let bare = refused.body.is_empty() || asks_for == Asks::Head;
        let sent = self.respond.send_response(response, bare);
        let mut stream = sent.map_err(|error| Fault::Client(error.into()))?;
        self.told = Told::Head;
        if !bare {
            let bytes = Bytes::copy_from_slice(&refused.body);
            let moved = AtomicU64::new(0);
            let sending = body::send(&mut stream, bytes, true, &moved);
            let sent = timeout(limits.body_idle, sending).await;
            sent.map_err(|_| Fault::Idle)?.map_err(Fault::Client)?;
            end.received = refused.body.len() as u64;
        }
        self.told = Told::All;
        // A client that cannot do two things at a time sends its request to the end before it
        // looks at the response.
        let _ = timeout(limits.head_time, self.discard(limits.discard)).await;
        Ok(())
    }

    /// Reads the request's body to its end, or as much of it as is allowed.
    async fn discard(&mut self, most: u64) {
        let mut left = most;
        while let Some(Ok(chunk)) = self.body.data().await {
            let Some(less) = left.checked_sub(chunk.len() as u64) else {
                return;
            };
            left = less;
            let _ = self.body.flow_control().release_capacity(chunk.len());
        }
    }

    /// Resets the stream.
    pub(super) fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// The head of a response alone.
    Head,
    /// All of it.
    All,
}

const MALFORMED: Fault = Fault::Change("a field of the response cannot be written");
