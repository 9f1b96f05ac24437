//! Made-up addresses that stand for names, so that a name selects where only addresses can.
//!
//! A chosen name gets its address without anybody being asked: whether it exists shows when the
//! engine dials it. Its HTTPS and SVCB records are answered with nothing, since their hints, and
//! the names of other servers in them, would lead past the made-up address.

mod book;
mod choice;
mod pool;
mod reverse;
mod store;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steer_core::address::{Cidr, Family, HostName};

use crate::clock::Clock;
use crate::codec::{Class, Data, Kind, Name, ResponseCode};
use crate::error::ResolverError;
use crate::query::Asked;
use crate::reply::{Reply, Why};

use book::Book;
pub(crate) use choice::Choice;
pub(crate) use pool::Pool;
use store::Store;

/// Gives chosen names addresses of the pools.
#[derive(Debug)]
pub(crate) struct Fake {
    pools: Vec<Pool>,
    choice: Choice,
    book: Arc<Mutex<Book>>,
    store: Option<Store>,
}

/// What a query for a name or address of ours comes to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is for others.
    NotOurs,
    /// This is the answer.
    Answer(Vec<u8>),
    /// Every address is in use; this is the answer.
    Exhausted(Vec<u8>),
}

impl Fake {
    /// `pinned` names have the first addresses for ever; at most `others` get one on demand.
    pub(crate) fn new(
        pools: &[Cidr],
        choice: Choice,
        pinned: &[HostName],
        others: Option<u32>,
    ) -> Result<Self, ResolverError> {
        let pools = pools.iter().copied().map(Pool::new).collect::<Vec<_>>();
        if let Some(small) = pools.iter().find(|pool| pool.places() == 0) {
            return Err(ResolverError::PoolTooSmall { pool: small.net() });
        }
        let places = pools.iter().map(Pool::places).min().unwrap_or_default();
        let places = match others {
            Some(others) => others
                .saturating_add(u32::try_from(pinned.len()).unwrap_or(u32::MAX))
                .min(places),
            None => places,
        };
        Ok(Self {
            pools,
            choice,
            book: Arc::new(Mutex::new(Book::new(places, pinned))),
            store: None,
        })
    }

    /// Takes over the mapping that a file holds, and keeps it there from now on.
    pub(crate) fn kept_in(mut self, path: &Path, clock: &dyn Clock) -> Result<Self, ResolverError> {
        let nets: Vec<_> = self.pools.iter().map(Pool::net).collect();
        self.store = Some(Store::open(path, &nets, Arc::clone(&self.book), clock)?);
        Ok(self)
    }

    /// What a query comes to.
    pub(crate) fn answer(&self, asked: &Asked, now: Duration) -> Verdict {
        let question = &asked.question;
        if !matches!(question.class, Class::IN | Class::ANY) {
            return Verdict::NotOurs;
        }
        if let Some(answer) = self.reversed(asked) {
            return Verdict::Answer(answer);
        }
        let service = matches!(question.kind, Kind::HTTPS | Kind::SVCB);
        let host = if service {
            question.name.service_host()
        } else {
            question.name.host()
        };
        let Some(host) = host.filter(|host| self.choice.takes(host)) else {
            return Verdict::NotOurs;
        };
        let families: &[Family] = match question.kind {
            Kind::A => &[Family::V4],
            Kind::AAAA => &[Family::V6],
            Kind::ANY => &Family::ALL,
            Kind::HTTPS | Kind::SVCB => &[],
            _ => return Verdict::NotOurs,
        };
        let pools: Vec<_> = self
            .pools
            .iter()
            .filter(|pool| families.contains(&pool.net().family()))
            .collect();
        let mut reply = Reply::new(asked, ResponseCode::NO_ERROR);
        if pools.is_empty() {
            return Verdict::Answer(reply.finish());
        }
        let Some(place) = self.place(host, now) else {
            let reply = Reply::new(asked, ResponseCode::SERV_FAIL).because(Why::NotReady);
            return Verdict::Exhausted(reply.finish());
        };
        for pool in pools {
            reply = reply.record(TTL, Data::address(pool.address(place)));
        }
        Verdict::Answer(reply.finish())
    }

    /// The name that a made-up address stands for; `None` where the address is nobody's of ours.
    pub(crate) fn name(&self, address: IpAddr, now: Duration) -> Option<Option<HostName>> {
        let address = address.to_canonical();
        let pool = self
            .pools
            .iter()
            .find(|pool| pool.net().contains(address))?;
        let place = pool.place(address);
        Some(place.and_then(|place| self.lock().name(place, now)))
    }

    fn place(&self, host: HostName, now: Duration) -> Option<u32> {
        let place = self.lock().place(host, now)?;
        if let (true, Some(store)) = (place.is_fresh, &self.store) {
            store.changed();
        }
        Some(place.number)
    }

    /// A query about one of our addresses is never anybody else's.
    fn reversed(&self, asked: &Asked) -> Option<Vec<u8>> {
        let address = reverse::address(&asked.question.name)?;
        let pool = self
            .pools
            .iter()
            .find(|pool| pool.net().contains(address))?;
        // Asking for the name is not using the address.
        let name = pool
            .place(address)
            .and_then(|place| self.lock().peek(place));
        let Some(name) = name else {
            return Some(Reply::new(asked, ResponseCode::NX_DOMAIN).finish());
        };
        let reply = Reply::new(asked, ResponseCode::NO_ERROR);
        Some(match asked.question.kind {
            Kind::PTR | Kind::ANY => reply.record(TTL, Data::Ptr(Name::of(&name))).finish(),
            _ => reply.finish(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // Every change leaves the book whole, so a panic elsewhere does not spoil it.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds: a program should ask again rather than keep an address that may change its name.
const TTL: u32 = 1;
