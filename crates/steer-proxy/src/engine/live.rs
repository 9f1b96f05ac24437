//! The connections that live.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The connections that live, and the way to end them.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    table: Mutex<Table>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Table {
    places: Vec<Occupant>,
    free: Vec<usize>,
    entered: u64,
    aborting: bool,
}

#[derive(Debug)]
enum Occupant {
    Nobody,
    /// The number tells this connection from a later one in the same place.
    Starting(u64),
    Running(AbortHandle),
}

/// One connection's place; leaving it is dropping it.
#[derive(Debug)]
pub(super) struct Place {
    inner: Arc<Inner>,
    index: usize,
    number: u64,
}

impl Live {
    /// A place, unless `most` are taken.
    pub(super) fn enter(&self, most: usize) -> Option<Place> {
        let mut table = self.inner.table();
        if table.count() >= most {
            return None;
        }
        let index = table.free.pop().unwrap_or_else(|| {
            table.places.push(Occupant::Nobody);
            table.places.len() - 1
        });
        table.entered += 1;
        let number = table.entered;
        table.places[index] = Occupant::Starting(number);
        let inner = Arc::clone(&self.inner);
        Some(Place {
            inner,
            index,
            number,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.inner.table().count()
    }

    /// Ends every connection, also those that start later; returns how many were running.
    pub(super) fn abort(&self) -> usize {
        let mut table = self.inner.table();
        table.aborting = true;
        let running = table.places.iter().filter_map(|occupant| match occupant {
            Occupant::Running(handle) => Some(handle),
            Occupant::Nobody | Occupant::Starting(_) => None,
        });
        running.inspect(|handle| handle.abort()).count()
    }

    /// Waits until no connection lives.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.inner.emptied.notified();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Place {
    /// Runs a connection in this place.
    pub(super) fn spawn(self, connection: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(&Handle::current(), connection);
    }

    /// Runs a connection in this place, on a runtime.
    pub(super) fn spawn_on(
        self,
        runtime: &Handle,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let (inner, index, number) = (Arc::clone(&self.inner), self.index, self.number);
        let task = runtime.spawn(async move {
            connection.await;
            drop(self);
        });
        let mut table = inner.table();
        // It may be over already, and its place taken by another.
        if matches!(table.places[index], Occupant::Starting(waiting) if waiting == number) {
            let handle = task.abort_handle();
            if table.aborting {
                handle.abort();
            }
            table.places[index] = Occupant::Running(handle);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.inner.table();
        table.places[self.index] = Occupant::Nobody;
        table.free.push(self.index);
        if table.count() == 0 {
            drop(table);
            self.inner.emptied.notify_waiters();
        }
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Valid after every statement, so a panic elsewhere leaves nothing half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
