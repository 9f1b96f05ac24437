//! A request on its way to a server, and the response on its way back.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{StatusCode, response};

use super::answer::{Client, Told};
use super::body::{self, DOWN, UP};
use super::fault::Fault;
use super::fields;
use super::note::Noted;
use crate::gateway::{End, Gateway};
use crate::message::{Response, Version};

/// A request whose head has been sent.
pub(super) struct Passing<'a, G: Gateway> {
    /// Who may change the response.
    pub(super) gateway: &'a G,
    /// Whether it asks for another protocol.
    pub(super) upgrades: bool,
    /// How long nothing may move.
    pub(super) idle: Duration,
    /// What has moved so far: bodies, and heads of responses.
    pub(super) moved: &'a AtomicU64,
}

/// How many interim responses a server may send for one request: windows do not bound them.
const INTERIM: usize = 64;

impl<G: Gateway> Passing<'_, G> {
    /// Passes both bodies at a time, until both have ended or the exchange cannot go on.
    pub(super) async fn pass(
        &self,
        client: &mut Client,
        noted: &mut Noted<G>,
        mut response: ResponseFuture,
        mut upload: SendStream<Bytes>,
    ) -> Result<(), Fault> {
        let passed = self.both(client, noted, &mut response, &mut upload).await;
        match &passed {
            Ok(()) | Err(Fault::Server(_)) => {}
            Err(fault) => upload.send_reset(fault.to_server()),
        }
        passed
    }

    async fn both(
        &self,
        client: &mut Client,
        noted: &mut Noted<G>,
        response: &mut ResponseFuture,
        upload: &mut SendStream<Bytes>,
    ) -> Result<(), Fault> {
        let Client {
            respond,
            body,
            told,
        } = client;
        let (exchange, end) = noted.parts();
        let End {
            sent,
            received,
            status,
            upgraded,
            ..
        } = end;
        let mut uploading = !body.is_end_stream();
        let mut downloading = true;
        let mut up = pin!(body::pump(body, upload, &UP, sent, self.moved));
        let mut down = pin!(async {
            let head = self.heads(exchange, respond, response).await?;
            let (head, mut body) = head;
            let ended = body.is_end_stream();
            let code = head.status();
            let Ok(mut stream) = respond.send_response(head, ended) else {
                return Err(unsent(respond).await);
            };
            *status = Some(code.as_u16());
            *upgraded = self.upgrades && code.is_success();
            *told = Told::Head;
            if !ended {
                body::pump(&mut body, &mut stream, &DOWN, received, self.moved).await?;
            }
            *told = Told::All;
            Ok(())
        });
        while uploading || downloading {
            let before = self.moved.load(Ordering::Relaxed);
            tokio::select! {
                done = &mut up, if uploading => {
                    uploading = false;
                    match done {
                        // What the server has to say to that is in its response.
                        Ok(()) | Err(Fault::Server(_)) => {}
                        Err(fault) => return Err(fault),
                    }
                }
                done = &mut down, if downloading => {
                    downloading = false;
                    done?;
                }
                () = tokio::time::sleep(self.idle) => {
                    if self.moved.load(Ordering::Relaxed) == before {
                        return Err(Fault::Idle);
                    }
                }
            }
        }
        Ok(())
    }

    /// Passes interim responses, and gives the head of the final one.
    async fn heads(
        &self,
        exchange: &mut G::Exchange,
        respond: &mut SendResponse<Bytes>,
        response: &mut ResponseFuture,
    ) -> Result<(http::Response<()>, RecvStream), Fault> {
        let mut interim = 0;
        loop {
            let head = poll_fn(|cx| {
                if let Poll::Ready(reset) = respond.poll_reset(cx) {
                    return Poll::Ready(Err(Fault::client(reset)));
                }
                let head = match response.poll_informational(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(head)) => Poll::Ready(head.map(Head::Interim)),
                    Poll::Ready(None) => Pin::new(&mut *response).poll(cx).map_ok(Head::Final),
                };
                head.map_err(|error| Fault::Server(error.into()))
            });
            let head = head.await?;
            self.moved.fetch_add(1, Ordering::Relaxed);
            match head {
                Head::Final(head) => {
                    let (parts, body) = head.into_parts();
                    return Ok((self.changed(exchange, parts).await?, body));
                }
                Head::Interim(head) => {
                    interim += 1;
                    if interim > INTERIM {
                        return Err(Fault::Response(
                            "the server sends too many interim responses",
                        ));
                    }
                    if head.status() == StatusCode::SWITCHING_PROTOCOLS {
                        return Err(Fault::Response("the server switches protocols"));
                    }
                    let (parts, ()) = head.into_parts();
                    let head = self.changed(exchange, parts).await?;
                    if respond.send_informational(head).is_err() {
                        return Err(unsent(respond).await);
                    }
                }
            }
        }
    }

    /// The head of a response as the gateway leaves it.
    async fn changed(
        &self,
        exchange: &mut G::Exchange,
        parts: response::Parts,
    ) -> Result<http::Response<()>, Fault> {
        let mut response = Response {
            version: Version::Http2,
            status: parts.status.as_u16(),
            fields: fields::read(&parts.headers),
        };
        self.gateway.response(exchange, &mut response).await;
        let status = StatusCode::from_u16(response.status);
        let status = status.map_err(|_| Fault::Change("the status cannot be written"))?;
        if status.is_informational() != parts.status.is_informational() {
            return Err(Fault::Change(
                "an interim response cannot become a final one",
            ));
        }
        let mut changed = http::Response::new(());
        *changed.status_mut() = status;
        *changed.headers_mut() = fields::write(&response.fields, &parts.headers)?;
        Ok(changed)
    }
}

/// Why a response's head could not be sent.
async fn unsent(respond: &mut SendResponse<Bytes>) -> Fault {
    poll_fn(|cx| {
        Poll::Ready(match respond.poll_reset(cx) {
            Poll::Ready(reset) => Fault::client(reset),
            Poll::Pending => Fault::Change("the response's fields are not for HTTP/2"),
        })
    })
    .await
}

/// The head of a response.
enum Head {
    /// Of an interim one.
    Interim(http::Response<()>),
    /// Of the final one, with its body.
    Final(http::Response<RecvStream>),
}
