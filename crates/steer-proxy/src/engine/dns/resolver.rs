//! The way to the resolver that is asked.
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Poll, ready};

use steer_core::address::ClientAddr;
use steer_core::datagram::Batch;
use steer_core::names::Transport;
use tokio::time::Instant;

use super::super::Shared;
use super::super::entry::{Entry, Route};
use super::super::opening::{Failure, Opened, Opening};
use super::super::udp::room;
use super::wire::{Frames, write};
use crate::upstream::datagrams::Way;
use crate::upstream::direct::Dialled;

/// Who is asked, and by which way.
pub(super) struct Ask {
    pub(super) route: Route,
    pub(super) only: Option<Vec<SocketAddr>>,
    pub(super) client: ClientAddr,
}

/// The way to the resolver.
#[derive(Debug)]
pub(super) enum Resolver {
    /// A message a datagram.
    Udp {
        way: Box<Way>,
        answers: VecDeque<Vec<u8>>,
    },
    /// Messages in a stream.
    Tcp {
        dialled: Box<Dialled>,
        frames: Frames,
    },
}

impl Resolver {
    /// Opens the way: as the client asks, but through a proxy that has no datagrams by TCP.
    pub(super) async fn open(
        shared: &Shared,
        entry: &mut Entry,
        opening: &mut Opening,
        ask: &Ask,
        transport: Transport,
    ) -> Result<Self, Failure> {
        let Ask {
            route,
            only,
            client,
        } = ask;
        entry.sent_to(*route);
        let deadline = Instant::now() + shared.limits.connect;
        let terms = entry.dialler.terms(client.0.ip(), deadline);
        let streams_only = match route {
            Route::Proxy(index) => entry.course.proxies[*index].carries_datagrams().is_err(),
            Route::Direct | Route::None => false,
        };
        if transport == Transport::Udp && !streams_only {
            let way = opening.way(entry, *route, only.clone(), terms).await?;
            return Ok(Self::Udp {
                way: Box::new(way),
                answers: VecDeque::new(),
            });
        }
        let dialled = opening.dial(entry, *route, only.clone(), terms);
        let Opened { dialled, prefix } = dialled.await?;
        Ok(Self::Tcp {
            dialled: Box::new(dialled),
            frames: Frames::starting_with(prefix),
        })
    }

    /// Asks.
    ///
    /// # Errors
    /// The resolver, or the proxy before it, cannot be asked.
    pub(super) async fn send(&mut self, query: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp { way, .. } => {
                let mut batch = Batch::default();
                batch.push(query);
                room::with(|_, spare| way.send(&batch, spare)).map_or(Ok(()), Err)
            }
            Self::Tcp { dialled, .. } => write(&mut dialled.stream, query).await,
        }
    }

    /// The next message; waits for ever where nobody is asked. Cancel safe.
    ///
    /// # Errors
    /// The resolver, or the proxy before it, is gone.
    pub(super) async fn next(resolver: &mut Option<Self>) -> io::Result<Vec<u8>> {
        match resolver {
            None => std::future::pending().await,
            Some(Self::Udp { way, answers }) => {
                poll_fn(|cx| {
                    if answers.is_empty() {
                        ready!(room::with(|batch, spare| {
                            ready!(way.poll_receive(cx, batch, spare))?;
                            answers.extend(batch.iter().map(<[u8]>::to_vec));
                            Poll::Ready(Ok::<_, io::Error>(()))
                        }))?;
                    }
                    let answer = answers.pop_front();
                    Poll::Ready(Ok(answer.expect("a receive brings one at least")))
                })
                .await
            }
            Some(Self::Tcp { dialled, frames }) => {
                let next = frames.next(&mut dialled.stream).await?;
                next.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
        }
    }

    /// Whether its end may be no more than that of a connection which rested.
    pub(super) fn may_be_asked_again(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }
}
