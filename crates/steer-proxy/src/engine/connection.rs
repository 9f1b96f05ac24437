//! The life of one connection.
use std::sync::Arc;

use steer_core::steered::{Answer, Flow, Refusal, Steered, abort};
use steer_tls::ConnectError;
use tokio::time::timeout;
use tracing::Instrument;

use super::Shared;
use super::dns;
use super::entry::Entry;
use super::handled::{self, Handled};
use super::inspect;
use super::opening::{ANSWER, Failure, Onward, Opened, Opening};
use crate::record::Outcome;
use crate::relay::Relay;
use crate::upstream::direct::Dialled;

/// Takes one connection from the method to its end.
///
/// What an idle connection holds is this future and one box: opening needs more room, in a box of
/// its own that is gone when the bytes flow.
pub(super) fn run(shared: Arc<Shared>, steered: Steered) -> impl Future<Output = ()> + Send {
    let opening = Box::pin(open(shared, steered));
    async move {
        if let Some(line) = opening.await {
            relay(line).await;
        }
    }
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
    let prescribed = upstream.as_deref();
    let mut opening = Opening::new(flow, answer);
    if !entry.shared.handlers.is_empty() {
        let handled = Box::pin(handled::begin(&mut entry, &mut opening, client, prescribed));
        match handled.await {
            Ok(Handled::NoFurther) => return None,
            Ok(Handled::GoesOn) => {}
            Err(failure) => {
                Box::pin(fail(entry, opening.flow, opening.answer, &failure)).await;
                return None;
            }
        }
    }
    let span = entry.span.clone();
    let opened = opening.open(&mut entry, client, prescribed);
    match opened.instrument(span).await {
        Ok(Onward::Own(ended)) => {
            entry.handed_over(ended);
            None
        }
        Ok(Onward::Relayed(Opened { dialled, prefix })) => {
            let Opening {
                flow, prefix: said, ..
            } = opening;
            Some(Box::new(Line {
                entry,
                legs: Some((flow, dialled)),
                said,
                greeting: prefix,
            }))
        }
        Ok(Onward::Inside(inside)) => {
            let span = entry.span.clone();
            let inspected = inspect::run(&mut entry, opening, inside);
            Box::pin(inspected.instrument(span)).await;
            None
        }
        Err(failure) => {
            Box::pin(fail(entry, opening.flow, opening.answer, &failure)).await;
            None
        }
    }
}

/// A connection whose two legs are connected.
struct Line {
    entry: Entry,
    /// None once the relay has taken them.
    legs: Option<(Flow, Dialled)>,
    /// What the client has said already.
    said: Vec<u8>,
    /// What the upstream has said already.
    greeting: Vec<u8>,
}

/// Answers a connection that the engine has no room for.
pub(super) async fn refuse(entry: Entry, steered: Steered, why: Refusal) {
    fail(
        entry,
        steered.flow,
        Some(steered.answer),
        &Failure::Refused(why),
    )
    .await;
}

/// Relays until the end; takes the box apart in place, because what is moved into this future
/// stays in it for the connection's whole life.
async fn relay(mut line: Box<Line>) {
    let Line {
        entry,
        legs,
        said,
        greeting,
    } = &mut *line;
    let limits = entry.shared.limits.relay;
    let Entry {
        traffic, sniffer, ..
    } = entry;
    let (said, greeting) = (std::mem::take(said), std::mem::take(greeting));
    let (flow, Dialled { stream, claim }) = legs.take().expect("the legs of a line are taken once");
    let end = match flow {
        Flow::Tcp(client) => {
            let relay = Relay::new(client, stream, traffic)
                .limits(limits)
                .tap(sniffer);
            relay.client_prefix(said).upstream_prefix(greeting).await
        }
        Flow::Stream(client) => {
            let relay = Relay::new(client, stream, traffic)
                .limits(limits)
                .tap(sniffer);
            relay.client_prefix(said).upstream_prefix(greeting).await
        }
        _ => {
            return entry.ended(
                Outcome::Error,
                Some("a kind of flow that is not known".to_owned()),
            );
        }
    };
    entry.relayed(&end);
    drop(claim);
}

/// Tells the client that there is no upstream, in the method's own terms.
pub(super) async fn fail(
    mut entry: Entry,
    flow: Flow,
    answer: Option<Box<dyn Answer>>,
    failure: &Failure,
) {
    let (refusal, error) = told(failure);
    entry.ended(refusal.into(), Some(error));
    entry.shared.connection_failed(failure);
    match (answer, flow) {
        (Some(answer), flow) => {
            // Whoever does not read its answer loses it: its place is worth more.
            let _ = timeout(ANSWER, answer.failed(flow, refusal)).await;
        }
        (None, Flow::Tcp(stream)) => abort(stream),
        (None, Flow::Udp(mut flow)) => flow.refuse(refusal),
        (None, flow) => drop(flow),
    }
}

/// What a failure means to the client, and what the records say of it.
pub(super) fn told(failure: &Failure) -> (Refusal, String) {
    match failure {
        Failure::Denied => (Refusal::Denied, "a rule rejects it".to_owned()),
        Failure::Stranger => (
            Refusal::Denied,
            "a rule asks who the program is, which cannot be told".to_owned(),
        ),
        Failure::Dead => (
            Refusal::Denied,
            "the address was made up for a name, and for none that is known".to_owned(),
        ),
        Failure::OwnDial => (
            Refusal::Loop,
            "it is a dial of this engine that was steered back".to_owned(),
        ),
        Failure::Refused(Refusal::Busy) => (
            Refusal::Busy,
            "the engine is at its limit of connections".to_owned(),
        ),
        Failure::Refused(why) => (*why, format!("{why:?}")),
        Failure::Upstream(error) => (error.refusal(), chain(error)),
        Failure::Resolver(why, error) => (*why, dns::describe(error)),
        Failure::Client(error) => (Refusal::Reset, format!("the client: {error}")),
        Failure::Tls(error) => (tls_refusal(error), chain(error)),
        Failure::OtherVersion => (
            Refusal::Upstream,
            "the server does not speak the client's version of HTTP".to_owned(),
        ),
        Failure::Guarded(guarded) => (Refusal::Denied, guarded.to_string()),
        Failure::Value(error) => (Refusal::Other, chain(error)),
        Failure::Path(error) => (Refusal::Denied, error.to_string()),
    }
}

fn tls_refusal(error: &ConnectError) -> Refusal {
    match error.is_timeout() {
        true => Refusal::TimedOut,
        false => Refusal::Upstream,
    }
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use steer_core::address::{ClientAddr, Destination};
    use steer_core::method::Method;
    use steer_core::policy::Policy;
    use steer_core::steered::{Identity, ResetAnswer};

    use super::*;
    use crate::engine::{Engine, udp};

    fn steered(flow: Flow) -> Steered {
        let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
        Steered {
            flow,
            client: ClientAddr(address),
            destination: Destination::addr(address),
            identity: Identity::default(),
            via: Method::Redirect,
            upstream: None,
            app: None,
            inside: None,
            answer: Box::new(ResetAnswer),
        }
    }

    fn stream() -> Steered {
        let (stream, _) = tokio::io::duplex(1);
        steered(Flow::Stream(Box::new(stream)))
    }

    #[test]
    fn the_future_of_a_connection_is_small() {
        let engine = Engine::builder(Policy::default()).build().unwrap();
        let size = size_of_val(&run(Arc::clone(&engine.shared), stream()));
        assert!(size <= 512, "{size} bytes");
    }

    #[test]
    fn the_futures_of_flows_and_conversations_are_small() {
        let engine = Engine::builder(Policy::default()).build().unwrap();
        let flow = udp::run(Arc::clone(&engine.shared), stream());
        assert!(size_of_val(&flow) <= 512, "{} bytes", size_of_val(&flow));
        let talk = dns::run(Arc::clone(&engine.shared), stream());
        assert!(size_of_val(&talk) <= 64, "{} bytes", size_of_val(&talk));
    }
}
