//! Connections that handlers want to see.
use std::io;
use std::sync::Arc;

use steer_core::address::{ClientAddr, Protocol};
use steer_core::steered::Flow;

use super::connection::told;
use super::entry::Entry;
use super::http::Counted;
use super::inspect;
use super::opening::{Failure, Onward, Opened, Opening};
use crate::handler::{BoxStream, Handler, Interest, Next};
use crate::record::Outcome;
use crate::relay::{Relay, Traffic};
use crate::upstream::direct::Dialled;

/// What became of a connection that handlers were asked about.
pub(super) enum Handled {
    /// It goes on as any other.
    GoesOn,
    /// It has ended.
    NoFurther,
}

/// Asks the handlers what they want to see of a connection, and shows its bytes to those who want
/// them; behind these it goes on as any other.
pub(super) async fn begin(
    entry: &mut Entry,
    opening: &mut Opening,
    client: ClientAddr,
    prescribed: Option<&str>,
) -> Result<Handled, Failure> {
    if opening.flow.protocol() != Protocol::Tcp {
        return Ok(Handled::GoesOn);
    }
    entry.look_up(client)?;
    let about = entry.about();
    let shared = Arc::clone(&entry.shared);
    let mut of_bytes: Vec<Arc<dyn Handler>> = Vec::new();
    for handler in shared.handlers.iter() {
        match handler.connection(&about).await {
            Interest::Pass => {}
            Interest::Bytes => of_bytes.push(Arc::clone(handler)),
            Interest::Requests => opening.watchers.push(Arc::clone(handler)),
            Interest::Reject => return Err(Failure::Denied),
        }
    }
    let Some((first, rest)) = of_bytes.split_first() else {
        return Ok(Handled::GoesOn);
    };
    opening.connected().await?;
    let seen = entry.look_inside();
    let flow = std::mem::replace(&mut opening.flow, Flow::Unmade);
    let watchers = std::mem::take(&mut opening.watchers);
    let stream: BoxStream = Box::new(Counted::new(flow, Some(seen), 0));
    let mut reached = false;
    let last = {
        let (entry, reached) = (&mut *entry, &mut reached);
        Box::new(move |stream: BoxStream| {
            *reached = true;
            let opening = Opening::behind(stream, watchers);
            Box::pin(go_on(entry, opening, client, prescribed)) as _
        })
    };
    let ended = first
        .stream(&about, stream, Next::new(&about, rest, last))
        .await;
    match ended {
        Err(error) if entry.is_fine() || !reached => {
            entry.ended(Outcome::Error, Some(format!("a handler: {error}")));
        }
        Ok(()) if !reached => entry.ended(Outcome::Ok, None),
        _ => {}
    }
    Ok(Handled::NoFurther)
}

/// Takes what the last handler gives to its end.
async fn go_on(
    entry: &mut Entry,
    mut opening: Opening,
    client: ClientAddr,
    prescribed: Option<&str>,
) -> io::Result<()> {
    match opening.open(entry, client, prescribed).await {
        Ok(Onward::Relayed(opened)) => relay(entry, opening, opened).await,
        Ok(Onward::Inside(inside)) => inspect::run(entry, opening, inside).await,
        // There is no program that could be given a connection.
        Ok(Onward::Own(ended)) => entry.handed_over(ended),
        Err(failure) => {
            let (refusal, why) = told(&failure);
            entry.ended(refusal.into(), Some(why));
        }
    }
    entry.how_it_ended()
}

async fn relay(entry: &mut Entry, opening: Opening, opened: Opened) {
    let Opening { flow, prefix, .. } = opening;
    let Opened {
        dialled: Dialled { stream, claim },
        prefix: greeting,
    } = opened;
    let Flow::Stream(client) = flow else {
        return entry.ended(Outcome::Error, Some("a handler gave no stream".to_owned()));
    };
    let limits = entry.shared.limits.relay;
    // What the program sends and gets is counted before the handlers.
    let uncounted = Traffic::default();
    let relay = Relay::new(client, stream, &uncounted)
        .limits(limits)
        .tap(&mut entry.sniffer);
    let end = relay.client_prefix(prefix).upstream_prefix(greeting).await;
    entry.relayed(&end);
    drop(claim);
}
