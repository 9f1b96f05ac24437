//! The life of one flow of datagrams.
pub(super) mod held;
mod relay;
pub(super) mod room;

use std::sync::Arc;

use steer_core::datagram::Datagrams;
use steer_core::steered::{Flow, Refusal, Steered};

use super::Shared;
use super::connection::fail;
use super::entry::Entry;
use super::opening::Opening;
use crate::record::Outcome;
use crate::upstream::datagrams::Way;
use held::Held;
use relay::{End, Relay};

/// Takes one flow from its first datagram to its end.
pub(super) fn run(shared: Arc<Shared>, steered: Steered) -> impl Future<Output = ()> + Send {
    let opening = Box::pin(open(shared, steered));
    async move {
        if let Some(line) = opening.await {
            relay(line).await;
        }
    }
}

/// A flow whose way is open.
struct Line {
    entry: Entry,
    flow: Box<dyn Datagrams>,
    way: Way,
    /// What the client sent while the way was opened.
    held: Option<Held>,
}

async fn open(shared: Arc<Shared>, steered: Steered) -> Option<Box<Line>> {
    let mut entry = Entry::new(shared, &steered);
    let Steered {
        flow,
        client,
        upstream,
        answer,
        ..
    } = steered;
    let mut opening = Opening::new(flow, answer);
    let opened = opening.open_way(&mut entry, client, upstream.as_deref());
    match opened.await {
        Ok(way) => {
            let Flow::Udp(flow) = opening.flow else {
                entry.ended(Outcome::Error, Some("a flow without datagrams".to_owned()));
                return None;
            };
            Some(Box::new(Line {
                entry,
                flow,
                way,
                held: opening.held,
            }))
        }
        Err(failure) => {
            Box::pin(fail(entry, opening.flow, opening.answer, &failure)).await;
            None
        }
    }
}

async fn relay(mut line: Box<Line>) {
    let Line {
        entry,
        flow,
        way,
        held,
    } = &mut *line;
    let end = Relay::new(entry, flow.as_mut(), way, held.take()).await;
    let (outcome, error) = match end {
        End::Idle if entry.traffic.received() > 0 => (Outcome::Ok, None),
        End::Idle => (Outcome::Timeout, Some("nothing came back".to_owned())),
        End::ClientGone => (Outcome::Ok, None),
        End::Stopped => (Outcome::Reset, Some("the engine stopped".to_owned())),
        End::Upstream(error) => {
            let refusal = if way.is_relayed() {
                Refusal::Upstream
            } else {
                Refusal::of(&error)
            };
            flow.refuse(refusal);
            let told = match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "the proxy gave the flow up".to_owned(),
                _ => format!("the upstream: {error}"),
            };
            (refusal.into(), Some(told))
        }
    };
    entry.ended(outcome, error);
}
