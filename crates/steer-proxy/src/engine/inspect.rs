//! Connections of which the inside is looked at.
use steer_core::steered::Flow;

use super::entry::{Entry, Route};
use super::http::{Counted, Desk, Spoken, serve};
use super::intercept;
use super::opening::{Inside, Opening};

/// Looks at what is inside of a connection, to its end.
pub(super) async fn run(entry: &mut Entry, opening: Opening, inside: Inside) {
    match inside {
        Inside::Session(spoken, prescribed) => session(entry, opening, spoken, prescribed).await,
        Inside::Tls(decided) => intercept::run(entry, opening, decided).await,
    }
}

async fn session(entry: &mut Entry, opening: Opening, spoken: Spoken, prescribed: Option<Route>) {
    let Opening {
        flow,
        prefix,
        watchers,
        ..
    } = opening;
    let client = counted(entry, flow, prefix.len());
    let desk = Desk::new(entry, watchers, spoken).prescribed(prescribed);
    let (outcome, error) = serve(client, prefix, desk).await;
    entry.ended(outcome, error);
}

/// The program's end, of which so many bytes were read already. What it sends and gets is counted
/// once: before handlers of bytes, where there are any.
pub(super) fn counted(entry: &mut Entry, flow: Flow, read: usize) -> Counted {
    let counts = entry.seen.is_none();
    let seen = entry.look_inside();
    Counted::new(flow, counts.then_some(seen), read)
}
