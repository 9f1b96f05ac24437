//! Threads that flows of datagrams run on.
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use tokio::runtime::{Builder, Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// Threads that each run their share of the flows, to their end.
///
/// A datagram is little work. Where the workers of a runtime take tasks from each other, it may wake
/// another processor to do it, which costs more than the work. A flow of a lane stays where its
/// sockets are watched. Made with the first flow, as many need none.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: OnceLock<Vec<Lane>>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Lane {
    handle: Handle,
    /// The thread ends when this is dropped, with the last flow.
    _until: oneshot::Sender<()>,
}

impl Lanes {
    /// The runtime for the next flow; the current one where it has one thread anyway, or where no
    /// more can be had.
    pub(super) fn pick(&self) -> Handle {
        let here = Handle::current();
        if here.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return here;
        }
        let lanes = self.lanes.get_or_init(all);
        if lanes.is_empty() {
            return here;
        }
        let turn = self.next.fetch_add(1, Relaxed) % lanes.len();
        lanes[turn].handle.clone()
    }
}

/// A lane for every second processor: the programs and the kernel want some too.
fn all() -> Vec<Lane> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let lanes = (0..(processors / 2).clamp(1, MOST)).map(|_| Lane::open());
    lanes
        .filter_map(|lane| {
            lane.inspect_err(|error| {
                tracing::warn!(%error, "a thread for datagrams could not be started");
            })
            .ok()
        })
        .collect()
}

impl Lane {
    fn open() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (until, ended) = oneshot::channel();
        thread::Builder::new()
            .name("steer-udp".to_owned())
            .spawn(move || {
                // It is told nothing: the other end is dropped.
                let _ = runtime.block_on(ended);
            })?;
        Ok(Self {
            handle,
            _until: until,
        })
    }
}

/// Lanes at most.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_runtime_of_one_thread_is_lane_enough() {
        let lanes = Lanes::default();
        assert_eq!(lanes.pick().id(), Handle::current().id());
        assert!(lanes.lanes.get().is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_flow_runs_in_one_thread_that_ends_with_the_lanes() {
        let lanes = Lanes::default();
        let thread = || thread::current().id();
        let lane = lanes.pick();
        let first = lane.spawn(async move { thread() }).await.unwrap();
        assert_ne!(first, thread());
        for _ in 0..20 {
            assert_eq!(lane.spawn(async move { thread() }).await.unwrap(), first);
        }
        let waiting = lane.spawn(std::future::pending::<()>());
        drop(lanes);
        let cut_off = tokio::time::timeout(std::time::Duration::from_secs(20), waiting);
        assert!(cut_off.await.unwrap().unwrap_err().is_cancelled());
    }
}
