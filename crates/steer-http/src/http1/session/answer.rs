//! What a session itself says to its client, and how it leaves.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::error::{Malformed, SessionError, Stage};
use crate::gateway::{Gateway, Refused, Stream};
use crate::message::Version;

use super::super::body::Body;
use super::super::exchange::Broken;
use super::super::framing::Framing;
use super::super::head::RequestHead;
use super::super::progress::{Open, Progress};
use super::super::write;
use super::{Next, Session, unless_draining};

impl<G: Gateway, S: Stream> Session<G, S> {
    /// Answers a request of which the server has got nothing or gets nothing more. What is left of
    /// its body is thrown away where that is known, and else the session ends.
    pub(super) async fn answer(
        &mut self,
        progress: &Progress,
        head: &RequestHead,
        rest: Option<Body>,
        refused: &Refused,
    ) -> Result<Next, SessionError> {
        // Who waits to be told to go on will not send a body that is answered already.
        let may_come = |rest: &Body| rest.ended() || !head.expects;
        let short = |rest: &Body| rest.left().is_none_or(|left| left <= self.limits.discard);
        let goes_on = head.persistent && head.request.version != Version::Http10;
        let rest = rest.filter(|rest| goes_on && may_come(rest) && short(rest));
        let lasts = rest.is_some();
        write::refused(&mut self.out, refused, head.asked.head, !lasts);
        progress.answered.set(true);
        progress.status(refused.status);
        self.say().await?;
        let received = if head.asked.head {
            0
        } else {
            refused.body.len()
        };
        progress.received(received);
        let ended = match rest {
            Some(body) => self.discard(body).await?,
            None => false,
        };
        Ok(match ended {
            true => unless_draining(&*self.gateway, &self.inbox).await,
            false => Next::End,
        })
    }

    /// Reads the rest of a body and throws it away; tells whether it ended within the limits.
    async fn discard(&mut self, mut body: Body) -> Result<bool, SessionError> {
        let mut left = self.limits.discard;
        loop {
            let Ok(count) = body.take(self.inbox.data()) else {
                return Ok(false);
            };
            self.inbox.consume(count);
            if body.ended() {
                return Ok(true);
            }
            left = left.saturating_sub(count as u64);
            if left == 0 {
                return Ok(false);
            }
            self.clock.set(self.limits.head_time);
            let filled = tokio::select! {
                biased;
                filled = self.inbox.fill(&mut self.reading) => filled,
                () = self.clock.passed() => return Ok(false),
            };
            match filled {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(source) => return Err(SessionError::Client { source }),
            }
        }
    }

    /// Ends an exchange that broke: with a response of ours where none has begun.
    pub(super) async fn broken(
        &mut self,
        open: Open<'_, G>,
        head: &RequestHead,
        body: Body,
        broken: Broken,
    ) -> Result<Next, SessionError> {
        let answered = open.progress().answered.is();
        let (refused, error) = match broken {
            Broken::Server(source) => (
                Refused::plain(502, "the connection to the server broke"),
                SessionError::Server { source },
            ),
            Broken::ServerEnded => {
                let stage = if answered { Stage::Body } else { Stage::Head };
                let error = SessionError::ServerEnded(stage);
                (Refused::plain(502, &error.to_string()), error)
            }
            Broken::SlowServer => {
                let stage = if answered { Stage::Body } else { Stage::Head };
                let error = SessionError::ServerSlow(stage);
                (Refused::plain(504, &error.to_string()), error)
            }
            Broken::Response(source) => (
                Refused::plain(502, &format!("the server's response is refused: {source}")),
                SessionError::Response { source },
            ),
            Broken::Request(source) => (refused_for(source), SessionError::Request { source }),
            Broken::SlowClient => {
                let stage = if answered {
                    Stage::Response
                } else {
                    Stage::Body
                };
                let error = SessionError::Slow(stage);
                (Refused::plain(408, &error.to_string()), error)
            }
            Broken::Client(source) => return fail(open, SessionError::Client { source }),
            Broken::ClientEnded => return fail(open, SessionError::ClientEnded(Stage::Body)),
        };
        if answered {
            return fail(open, error);
        }
        let progress = open.progress();
        let blames_client = matches!(error, SessionError::Request { .. } | SessionError::Slow(_));
        // Where a part of the body went to a server, what is left of it is not known exactly.
        let rest = match (progress.body_gone.is(), progress.body_begun.is()) {
            _ if blames_client => None,
            (true, _) => Some(Body::new(Framing::Empty, &self.limits)),
            (false, true) => None,
            (false, false) => Some(body),
        };
        let next = self.answer(progress, head, rest, &refused).await;
        open.failed(&error);
        if blames_client {
            next?;
            self.leave().await;
            return Err(error);
        }
        next
    }

    /// Answers what is no request.
    pub(super) async fn refuse(&mut self, error: &SessionError) {
        let refused = match error {
            SessionError::Request { source } => refused_for(*source),
            SessionError::Slow(_) => Refused::plain(408, &error.to_string()),
            SessionError::ClientEnded(_) => return self.leave().await,
            _ => return,
        };
        write::refused(&mut self.out, &refused, false, true);
        if self.say().await.is_ok() {
            self.leave().await;
        }
    }

    /// Writes what stands in `out`.
    async fn say(&mut self) -> Result<(), SessionError> {
        let written = write::both(&mut self.writing, &self.out, b"");
        let written = timeout(self.limits.body_idle, written).await;
        let written = written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        written.map_err(|source| SessionError::Client { source })
    }

    /// Ends the connection in order. Bytes that nobody read would reset it, and take the last
    /// response with them: a client that may still be sending is read for a while.
    pub(super) async fn leave(&mut self) {
        let _ = timeout(LINGER, self.writing.shutdown()).await;
        if self.ended {
            return;
        }
        let mut left = self.limits.discard;
        let reading = async {
            while left > 0 {
                let here = self.inbox.data().len();
                self.inbox.consume(here);
                left = left.saturating_sub(here as u64);
                match self.inbox.fill(&mut self.reading).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return,
                }
            }
        };
        let _ = timeout(LINGER, reading).await;
    }
}

fn fail<G: Gateway>(open: Open<'_, G>, error: SessionError) -> Result<Next, SessionError> {
    open.failed(&error);
    Err(error)
}

/// Tells how an exchange ended that was answered here.
pub(super) fn close<G: Gateway>(
    open: Open<'_, G>,
    answered: Result<Next, SessionError>,
) -> Result<Next, SessionError> {
    match answered {
        Ok(next) => {
            open.done();
            Ok(next)
        }
        Err(error) => fail(open, error),
    }
}

/// What a request that is none is answered with.
fn refused_for(source: Malformed) -> Refused {
    let status = match source {
        Malformed::TooLarge | Malformed::TooMany => 431,
        Malformed::Version => 505,
        _ => 400,
    };
    Refused::plain(status, &source.to_string())
}

/// How long a client is read that has been told everything.
const LINGER: Duration = Duration::from_secs(2);
