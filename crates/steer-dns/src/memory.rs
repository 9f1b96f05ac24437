//! What clients were told: which name an address stands for.

mod lesson;
mod table;

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steer_core::address::HostName;

use crate::clients::Clients;
use crate::codec::{Message, Question};

pub(crate) use lesson::Lesson;
use table::{Limits, Table};

/// Remembers the answers that clients got.
#[derive(Debug)]
pub(crate) struct Memory {
    clients: Clients,
    table: Mutex<Table>,
}

impl Memory {
    pub(crate) fn new(clients: Clients) -> Self {
        Self {
            clients,
            table: Mutex::new(Table::new(LIMITS)),
        }
    }

    /// Learns from an answer that the client is going to get.
    pub(crate) fn learn(
        &self,
        client: IpAddr,
        question: &Question,
        answer: &Message,
        now: Duration,
    ) {
        let Some(Lesson { name, addresses }) = Lesson::of(question, answer) else {
            return;
        };
        let client = self.clients.client(client);
        let mut table = self.lock();
        for (address, ttl) in addresses {
            let until = now + ttl.clamp(SHORTEST, LONGEST);
            table.put(client, address, &name, until);
        }
    }

    /// The name by which the client last got the address.
    pub(crate) fn name(&self, client: IpAddr, address: IpAddr, now: Duration) -> Option<HostName> {
        let client = self.clients.client(client);
        let table = self.lock();
        table.get(client, address.to_canonical(), now).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Every change leaves the table whole, so a panic elsewhere does not spoil it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Programs go on using an answer after its time: resolvers in libraries, pools of connections.
const SHORTEST: Duration = Duration::from_secs(120);

/// No answer is believed for longer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A name has at most 253 bytes: some tens of megabytes, if somebody really tries.
const LIMITS: Limits = Limits {
    each: 4096,
    all: 65_536,
};
