//! What has to be done beside taking connections, once for each steering.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use aya::maps::{MapData, PerCpuArray, RingBuf};
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use super::maps::Maps;
use super::overflow::Overflow;
use super::places::Places;
use super::sweep;
use super::tokens::Tokens;
use crate::abi::{COUNT_EXHAUSTED, COUNT_REFUSED};
use crate::sys;

/// Tasks that end with the value.
#[derive(Debug)]
pub(super) struct Chores(JoinSet<()>);

impl Chores {
    /// Begins; call it within a runtime.
    pub(super) fn start(maps: &Maps, places: &Arc<Places>) -> io::Result<Self> {
        let Self(mut tasks) = Self::beside(maps, Arc::downgrade(places))?;
        if places.are_meant() {
            let events = RingBuf::try_from(maps.open("EVENTS")?).map_err(io::Error::other)?;
            let events = sys::watched(events)?;
            tasks.spawn(follow(events, Arc::downgrade(places)));
        }
        Ok(Self(tasks))
    }

    /// The same where nothing is taken in other network namespaces.
    pub(super) fn without_places(maps: &Maps) -> io::Result<Self> {
        Self::beside(maps, Weak::new())
    }

    fn beside(maps: &Maps, places: Weak<Places>) -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        let tokens = Tokens::open(maps)?;
        let looked_at = (tokens, Overflow::open(maps)?, Counters::open(maps)?);
        tasks.spawn(watch(looked_at, places));
        Ok(Self(tasks))
    }
}

/// Enters the namespaces that programs of the scope are in, and come to be in.
async fn follow(mut events: AsyncFd<RingBuf<MapData>>, places: Weak<Places>) {
    if let Some(places) = places.upgrade() {
        // Entering takes a thread each.
        let _ = spawn_blocking(move || places.enter_all()).await;
    }
    loop {
        let mut seen = Vec::new();
        match events.readable_mut().await {
            Ok(mut ready) => {
                while let Some(event) = ready.get_inner_mut().next() {
                    seen.extend(read(&event));
                }
                ready.clear_ready();
            }
            Err(error) => {
                tracing::warn!(%error, help = "start again", "the hooks are not heard any more");
                return;
            }
        }
        // One attempt for each namespace, however many tried to connect there.
        seen.sort_unstable();
        seen.dedup_by_key(|(cookie, _)| *cookie);
        let Some(places) = places.upgrade() else {
            return;
        };
        let entered = spawn_blocking(move || {
            for (cookie, pid) in seen {
                places.enter_of(cookie, pid);
            }
        });
        let _ = entered.await;
    }
}

/// A namespace's cookie and a process in it (`Event` of abi.rs).
fn read(event: &[u8]) -> Option<(u64, u32)> {
    let (cookie, rest) = event.split_first_chunk::<8>()?;
    let (pid, _) = rest.split_first_chunk::<4>()?;
    Some((u64::from_ne_bytes(*cookie), u32::from_ne_bytes(*pid)))
}

/// Looks at the tokens and at what the hooks have counted, now and then.
async fn watch(mut looked_at: (Tokens, Overflow, Counters), places: Weak<Places>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let places = places.clone();
        let looked = spawn_blocking(move || {
            let (tokens, overflow, counters) = &mut looked_at;
            let swept = sweep::now()
                .and_then(|now| sweep::sweep(tokens, now))
                .and_then(|count| Ok(count + overflow.sweep(tokens)?));
            match swept {
                Ok(0) => {}
                Ok(count) => tracing::debug!(count, "what nobody used was removed"),
                Err(error) => tracing::debug!(%error, "the tokens could not be looked at"),
            }
            counters.tell();
            if let Some(places) = places.upgrade() {
                places.tidy();
            }
            looked_at
        });
        match looked.await {
            Ok(kept) => looked_at = kept,
            // The runtime ends.
            Err(_) => return,
        }
    }
}

/// What the hooks have counted, and how much of it was told.
pub(super) struct Counters {
    map: PerCpuArray<MapData, u64>,
    exhausted: u64,
    refused: u64,
}

impl Counters {
    pub(super) fn open(maps: &Maps) -> io::Result<Self> {
        let map = PerCpuArray::try_from(maps.open("COUNTERS")?).map_err(io::Error::other)?;
        let mut counters = Self {
            map,
            exhausted: 0,
            refused: 0,
        };
        // What an engine before us was told is no news.
        counters.exhausted = counters.read(COUNT_EXHAUSTED);
        counters.refused = counters.read(COUNT_REFUSED);
        Ok(counters)
    }

    fn read(&self, index: u32) -> u64 {
        let values = self.map.get(&index, 0);
        values.map_or(0, |values| values.iter().sum())
    }

    /// How many more connections found no token, and were refused otherwise, than when last asked.
    pub(super) fn grown(&mut self) -> (u64, u64) {
        let (exhausted, refused) = (self.read(COUNT_EXHAUSTED), self.read(COUNT_REFUSED));
        let grown = (
            exhausted.saturating_sub(self.exhausted),
            refused.saturating_sub(self.refused),
        );
        (self.exhausted, self.refused) = (exhausted, refused);
        grown
    }

    /// Warns of what has grown.
    fn tell(&mut self) {
        let (exhausted, refused) = self.grown();
        if exhausted > 0 {
            tracing::warn!(
                count = exhausted,
                help = "narrow the scope, or end programs that connect without end: every token is \
                        in use",
                "connections were not steered, as too many are open"
            );
        }
        if refused > 0 {
            tracing::warn!(
                count = refused,
                help = "sockets that are bound to a device, other network namespaces in which the \
                        engine does not listen yet, and protocols other than TCP and UDP are refused \
                        under on_failure: closed; `steer plan` tells what cannot be steered",
                "connections were refused that could not be steered"
            );
        }
    }
}

/// The time between two looks, and so between two warnings.
const EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_and_half_of_one_is_not() {
        let bytes = [&7_u64.to_ne_bytes()[..], &9_u32.to_ne_bytes(), &[0; 4]].concat();
        assert_eq!(read(&bytes), Some((7, 9)));
        assert_eq!(read(&bytes[..10]), None);
    }
}
