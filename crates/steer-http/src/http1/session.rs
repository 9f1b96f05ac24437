//! The requests of one client, one after the other.

mod answer;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::{ReadHalf, WriteHalf, split};

use crate::error::{SessionError, Stage};
use crate::gateway::{Gateway, Refused, Stream, Verdict};
use crate::limits::Limits;

use super::body::Body;
use super::buffer::Buffer;
use super::clock::Clock;
use super::exchange::{self, Broken, Client, Sent};
use super::head::{self, RequestHead};
use super::progress::Open;
use super::scan::Scan;
use super::tunnel;
use super::upstream::{Pool, Upstream};
use super::write;
use answer::close;

/// The requests of one client, one after the other.
pub(super) struct Session<G: Gateway, S> {
    gateway: Arc<G>,
    limits: Limits,
    reading: ReadHalf<S>,
    writing: WriteHalf<S>,
    inbox: Buffer,
    /// The client has ended its side.
    ended: bool,
    /// Room for the head of a request and of a response.
    head: Vec<u8>,
    out: Vec<u8>,
    pool: Pool<G::Way>,
    clock: Clock,
}

/// Whether a session goes on after a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Request,
    End,
}

impl<G: Gateway, S: Stream> Session<G, S> {
    pub(super) fn new(client: S, prefix: Vec<u8>, gateway: Arc<G>, limits: Limits) -> Self {
        let (reading, writing) = split(client);
        Self {
            gateway,
            reading,
            writing,
            inbox: Buffer::new(prefix),
            ended: false,
            head: Vec::new(),
            out: Vec::new(),
            pool: Pool::new(),
            clock: Clock::new(limits.idle),
            limits,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), SessionError> {
        loop {
            match self.next_head().await {
                Ok(None) => break,
                Ok(Some(head)) => match self.request(head).await? {
                    Next::Request => {}
                    Next::End => break,
                },
                Err(error) => {
                    self.refuse(&error).await;
                    return Err(error);
                }
            }
        }
        self.leave().await;
        self.pool.retire().await;
        Ok(())
    }

    /// The head of the next request; none where the client has ended, waits for too long, or should
    /// come again elsewhere.
    async fn next_head(&mut self) -> Result<Option<RequestHead>, SessionError> {
        let Self {
            limits,
            inbox,
            reading,
            clock,
            ended,
            ..
        } = self;
        let mut scan = Scan::default();
        let mut begun = false;
        clock.set(limits.idle);
        loop {
            // RFC 9112, 2.2: empty lines before a request are passed over.
            while inbox.data().starts_with(b"\r\n") {
                inbox.consume(2);
            }
            let nothing = matches!(inbox.data(), b"" | b"\r");
            if !nothing {
                let malformed = |source| SessionError::Request { source };
                if let Some(end) = scan.end(inbox.data(), limits).map_err(malformed)? {
                    let head = head::request(&inbox.data()[..end], scan.fields());
                    inbox.consume(end);
                    return head.map(Some).map_err(malformed);
                }
            }
            if *ended {
                return if nothing {
                    Ok(None)
                } else {
                    Err(SessionError::ClientEnded(Stage::Head))
                };
            }
            if nothing {
                inbox.rest();
            } else if !begun {
                begun = true;
                clock.set(limits.head_time);
            }
            let filled = tokio::select! {
                biased;
                () = self.gateway.drain(), if nothing => return Ok(None),
                filled = inbox.fill(reading) => filled,
                () = clock.passed() => {
                    return if nothing { Ok(None) } else { Err(SessionError::Slow(Stage::Head)) };
                }
            };
            match filled {
                Ok(count) => *ended = count == 0,
                // Between requests nothing is lost with a client that just went.
                Err(_) if nothing => return Ok(None),
                Err(source) => return Err(SessionError::Client { source }),
            }
        }
    }

    async fn request(&mut self, mut head: RequestHead) -> Result<Next, SessionError> {
        let gateway = Arc::clone(&self.gateway);
        let (exchange, verdict) = gateway.request(&mut head.request).await;
        let open = Open::new(&*gateway, exchange);
        let body = Body::new(head.framing, &self.limits);
        match verdict {
            Verdict::Reset => {
                let error = SessionError::Reset;
                open.failed(&error);
                Err(error)
            }
            Verdict::Respond(refused) => {
                let answered = self
                    .answer(open.progress(), &head, Some(body), &refused)
                    .await;
                close(open, answered)
            }
            Verdict::Forward(way) => match head.check() {
                Ok(()) => self.forward(open, head, body, way).await,
                Err(source) => {
                    let refused = Refused::plain(500, &source.to_string());
                    let answered = self
                        .answer(open.progress(), &head, Some(body), &refused)
                        .await;
                    open.failed(&source);
                    answered
                }
            },
        }
    }

    async fn forward(
        &mut self,
        mut open: Open<'_, G>,
        mut head: RequestHead,
        mut body: Body,
        way: G::Way,
    ) -> Result<Next, SessionError> {
        let mut fresh = false;
        loop {
            let pooled = if fresh {
                None
            } else {
                self.pool.take(&way).await
            };
            let mut upstream = match pooled {
                Some(upstream) => upstream,
                None => match self.gateway.connect(&way).await {
                    Ok(connected) => Upstream::new(connected),
                    Err(refused) => {
                        let answered = self
                            .answer(open.progress(), &head, Some(body), &refused)
                            .await;
                        return close(open, answered);
                    }
                },
            };
            write::request(&mut self.head, &mut head, upstream.absolute);
            let sent = Sent {
                head: &self.head,
                body: &mut body,
                version: head.request.version,
                asked: head.asked,
            };
            let client = Client {
                reading: &mut self.reading,
                inbox: &mut self.inbox,
                ended: &mut self.ended,
                writing: &mut self.writing,
                out: &mut self.out,
            };
            let clock = (&self.limits, &mut self.clock);
            let (exchange, progress) = open.parts();
            let parts = (&*self.gateway, exchange, progress);
            match exchange::run(client, &mut upstream, sent, parts, clock).await {
                Ok(outcome) if outcome.tunnel => {
                    open.upgraded();
                    return self.tunnel(open, &mut upstream).await;
                }
                Ok(outcome) => {
                    let gone = open.progress().body_gone.is();
                    open.done();
                    let lasts = outcome.lasts && head.persistent && gone;
                    let told_to_end = self.ended && self.inbox.is_empty();
                    if lasts && upstream.inbox.is_empty() && !told_to_end {
                        self.pool.keep(way, upstream).await;
                    } else {
                        upstream.retire().await;
                    }
                    return Ok(match lasts {
                        true => unless_draining(&*self.gateway, &self.inbox).await,
                        false => Next::End,
                    });
                }
                Err(broken) => {
                    let silent = upstream.used && is_silent(&open, &broken);
                    if silent && !fresh && may_repeat(&head, &open) {
                        fresh = true;
                        continue;
                    }
                    if silent {
                        // Its client would have seen the same, and knows what it may repeat.
                        let error = broken.of_server();
                        open.failed(&error);
                        return Err(error);
                    }
                    return self.broken(open, &head, body, broken).await;
                }
            }
        }
    }

    async fn tunnel(
        &mut self,
        open: Open<'_, G>,
        upstream: &mut Upstream,
    ) -> Result<Next, SessionError> {
        let client = Client {
            reading: &mut self.reading,
            inbox: &mut self.inbox,
            ended: &mut self.ended,
            writing: &mut self.writing,
            out: &mut self.out,
        };
        let clock = (&self.limits, &mut self.clock);
        match tunnel::run(client, upstream, open.progress(), clock).await {
            Ok(()) => {
                open.done();
                Ok(Next::End)
            }
            Err(error) => {
                open.failed(&error);
                Err(error)
            }
        }
    }
}

/// Whether the session goes on, which it does not where it should come to its end. Where the next
/// request is yet to come, that is asked when it is waited for.
async fn unless_draining<G: Gateway>(gateway: &G, inbox: &Buffer) -> Next {
    if inbox.is_empty() {
        return Next::Request;
    }
    let mut drain = pin!(gateway.drain());
    poll_fn(|cx| {
        Poll::Ready(match drain.as_mut().poll(cx) {
            Poll::Ready(()) => Next::End,
            Poll::Pending => Next::Request,
        })
    })
    .await
}

/// Whether a server went without a word about the request.
fn is_silent<G: Gateway>(open: &Open<'_, G>, broken: &Broken) -> bool {
    matches!(broken, Broken::Server(_) | Broken::ServerEnded) && !open.progress().heard.is()
}

/// Whether a request that nobody may have seen can be sent anew (RFC 9110, section 9.2.2).
fn may_repeat<G: Gateway>(head: &RequestHead, open: &Open<'_, G>) -> bool {
    let idempotent = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
    !open.progress().body_begun.is() && idempotent.contains(&&*head.request.method)
}
