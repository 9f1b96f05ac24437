use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use steer_core::address::HostName;

use crate::clients::Client;

/// The names of addresses, for each client, no more than the limits allow.
#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    shares: HashMap<Client, Share>,
    /// Everything that is known, the oldest first.
    order: BTreeMap<u64, (Client, IpAddr)>,
    next: u64,
}

/// How many addresses have a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of one client.
    pub(super) each: usize,
    /// Of all clients.
    pub(super) all: usize,
}

/// What one client knows.
#[derive(Debug, Default)]
struct Share {
    known: HashMap<IpAddr, Known>,
    /// The oldest first.
    order: BTreeMap<u64, IpAddr>,
}

#[derive(Debug)]
struct Known {
    name: HostName,
    until: Duration,
    number: u64,
}

impl Table {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            shares: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
        }
    }

    /// Gives an address its name; the last one counts.
    pub(super) fn put(
        &mut self,
        client: Client,
        address: IpAddr,
        name: &HostName,
        until: Duration,
    ) {
        self.remove(client, address);
        if self
            .shares
            .get(&client)
            .is_some_and(|share| share.known.len() >= self.limits.each)
            && let Some(oldest) = self.shares[&client].order.values().next().copied()
        {
            self.remove(client, oldest);
        }
        if self.order.len() >= self.limits.all
            && let Some((client, oldest)) = self.order.values().next().copied()
        {
            self.remove(client, oldest);
        }
        let number = self.next;
        self.next += 1;
        self.order.insert(number, (client, address));
        let share = self.shares.entry(client).or_default();
        share.order.insert(number, address);
        let known = Known {
            name: name.clone(),
            until,
            number,
        };
        share.known.insert(address, known);
    }

    /// The name of an address, while it holds.
    pub(super) fn get(&self, client: Client, address: IpAddr, now: Duration) -> Option<&HostName> {
        let known = self.shares.get(&client)?.known.get(&address)?;
        (known.until > now).then_some(&known.name)
    }

    fn remove(&mut self, client: Client, address: IpAddr) {
        let Some(share) = self.shares.get_mut(&client) else {
            return;
        };
        if let Some(known) = share.known.remove(&address) {
            share.order.remove(&known.number);
            self.order.remove(&known.number);
        }
        if share.known.is_empty() {
            self.shares.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(text: &str) -> HostName {
        HostName::new(text).unwrap()
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    const EVER: Duration = Duration::from_secs(1000);

    #[test]
    fn the_last_name_of_an_address_wins_and_each_client_has_its_own() {
        let mut table = Table::new(Limits { each: 8, all: 8 });
        let [one, two] = [1, 2].map(|n| Client::At(ip(n)));
        table.put(one, ip(9), &host("a.example"), EVER);
        table.put(one, ip(9), &host("a.example"), EVER);
        table.put(one, ip(9), &host("b.example"), EVER);
        table.put(two, ip(9), &host("c.example"), EVER);
        let name = |client| table.get(client, ip(9), Duration::ZERO).unwrap().as_str();
        assert_eq!((name(one), name(two)), ("b.example", "c.example"));
        assert_eq!(table.get(one, ip(9), EVER), None, "its time is over");
        assert_eq!(table.get(Client::Here, ip(9), Duration::ZERO), None);
    }

    #[test]
    fn who_learns_too_much_forgets_its_own_oldest() {
        let mut table = Table::new(Limits { each: 2, all: 8 });
        let [busy, quiet] = [1, 2].map(|n| Client::At(ip(n)));
        table.put(quiet, ip(0), &host("q.example"), EVER);
        for last in 1..=200 {
            table.put(busy, ip(last), &host("b.example"), EVER);
        }
        let known = |client, last| table.get(client, ip(last), Duration::ZERO).is_some();
        assert!(known(quiet, 0) && known(busy, 199) && known(busy, 200));
        assert!(!known(busy, 198));
    }

    proptest! {
        #[test]
        fn the_limits_hold_and_both_orders_agree(
            puts in proptest::collection::vec((0_u8..6, 0_u8..12, 0_u8..4), 0..200)
        ) {
            let limits = Limits { each: 5, all: 13 };
            let mut table = Table::new(limits);
            for (client, address, name) in puts {
                let name = host(&format!("n{name}.example"));
                let client = Client::At(ip(client));
                table.put(client, ip(address), &name, EVER);
                prop_assert_eq!(table.get(client, ip(address), Duration::ZERO), Some(&name));
                let all: usize = table.shares.values().map(|s| s.known.len()).sum();
                prop_assert!(all <= limits.all && all == table.order.len());
                for share in table.shares.values() {
                    prop_assert!((1..=limits.each).contains(&share.known.len()));
                    prop_assert_eq!(share.known.len(), share.order.len());
                }
            }
        }
    }
}
