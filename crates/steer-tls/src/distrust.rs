//! The clients that did not believe our certificate.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A client, as well as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Processes of one program.
    Program(PathBuf),
    /// Processes of one user.
    User(u32),
    /// Whoever has this address.
    Address(IpAddr),
}

/// Which clients did not believe our certificate for which names, for some time.
///
/// ```
/// use std::time::Instant;
/// use steer_tls::{Client, Distrust};
///
/// let (distrust, now) = (Distrust::default(), Instant::now());
/// let client = Client::User(1000);
/// distrust.note(client.clone(), "pinned.example", now);
/// assert!(distrust.holds(&client, "pinned.example", now));
/// assert!(!distrust.holds(&client, "other.example", now));
/// ```
#[derive(Debug)]
pub struct Distrust {
    lifetime: Duration,
    capacity: usize,
    noted: Mutex<HashMap<Client, HashMap<String, Instant>>>,
}

impl Distrust {
    /// A memory of `capacity` pairs; the oldest makes room for a later one.
    #[must_use]
    pub fn new(lifetime: Duration, capacity: usize) -> Self {
        Self {
            lifetime,
            capacity: capacity.max(1),
            noted: Mutex::default(),
        }
    }

    /// Remembers that a client refused our certificate for a name.
    pub fn note(&self, client: Client, name: &str, now: Instant) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let until = now + self.lifetime;
        if let Some(known) = noted.get_mut(&client).and_then(|names| names.get_mut(name)) {
            *known = until;
            return;
        }
        noted.retain(|_, names| {
            names.retain(|_, until| *until > now);
            !names.is_empty()
        });
        if noted.values().map(HashMap::len).sum::<usize>() >= self.capacity {
            forget_oldest(&mut noted);
        }
        noted
            .entry(client)
            .or_default()
            .insert(name.to_owned(), until);
    }

    /// Whether a client refused our certificate for a name not long ago.
    #[must_use]
    pub fn holds(&self, client: &Client, name: &str, now: Instant) -> bool {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let until = noted.get(client).and_then(|names| names.get(name));
        until.is_some_and(|until| *until > now)
    }
}

impl Default for Distrust {
    /// Ten minutes, a thousand pairs.
    fn default() -> Self {
        Self::new(Duration::from_secs(600), 1000)
    }
}

fn forget_oldest(noted: &mut HashMap<Client, HashMap<String, Instant>>) {
    let all = noted.iter().flat_map(|(client, names)| {
        names
            .iter()
            .map(move |(name, until)| (*until, client, name))
    });
    let oldest = all.min_by_key(|(until, ..)| *until);
    let Some((_, client, name)) =
        oldest.map(|(at, client, name)| (at, client.clone(), name.clone()))
    else {
        return;
    };
    if let Some(names) = noted.get_mut(&client) {
        names.remove(&name);
        if names.is_empty() {
            noted.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_forgotten_after_its_time() {
        let distrust = Distrust::new(Duration::from_secs(600), 10);
        let (client, now) = (Client::User(1), Instant::now());
        distrust.note(client.clone(), "a", now);
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(distrust.holds(&client, "a", later(599)));
        assert!(!distrust.holds(&client, "a", later(600)));
        distrust.note(client.clone(), "a", later(300));
        assert!(distrust.holds(&client, "a", later(899)));
    }

    #[test]
    fn the_oldest_makes_room_and_no_other() {
        let distrust = Distrust::new(Duration::from_secs(600), 3);
        let now = Instant::now();
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        for n in 0..5 {
            distrust.note(Client::User(n), "a", at(n.into()));
        }
        let held: Vec<_> = (0..5)
            .filter(|n| distrust.holds(&Client::User(*n), "a", at(5)))
            .collect();
        assert_eq!(held, [2, 3, 4]);
    }

    #[test]
    fn one_client_is_not_taken_for_another() {
        let (distrust, now) = (Distrust::default(), Instant::now());
        distrust.note(Client::Program("/usr/bin/curl".into()), "a", now);
        for other in [
            Client::Program("/usr/bin/wget".into()),
            Client::User(0),
            Client::Address("127.0.0.1".parse().unwrap()),
        ] {
            assert!(!distrust.holds(&other, "a", now));
        }
    }
}
