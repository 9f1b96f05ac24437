use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use steer_core::address::HostName;

/// Which name has which place.
///
/// No place has two names. A place gets another name only when all have been given away, the one
/// that was asked for or dialled longest ago first, and never one whose last use is not over for
/// long enough that no program should still hold it.
#[derive(Debug)]
pub(super) struct Book {
    places: u32,
    by_name: HashMap<HostName, u32>,
    by_place: HashMap<u32, Entry>,
    /// Places that can get another name, the one used longest ago first.
    order: BTreeMap<u64, u32>,
    next: u64,
    /// Where a free place is looked for next, and how many have not been looked at.
    cursor: u32,
    untried: u32,
}

#[derive(Clone, Debug)]
struct Entry {
    name: HostName,
    used: Duration,
    /// Its number in the order; `None` is pinned.
    number: Option<u64>,
}

/// The place of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) number: u32,
    /// Whether the name has it only since this call.
    pub(super) is_fresh: bool,
}

impl Book {
    pub(super) fn new(places: u32, pinned: &[HostName]) -> Self {
        let mut book = Self {
            places,
            by_name: HashMap::new(),
            by_place: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
            cursor: 0,
            untried: places,
        };
        for (place, name) in (0..places).zip(pinned) {
            let entry = Entry {
                name: name.clone(),
                used: Duration::ZERO,
                number: None,
            };
            book.by_name.insert(name.clone(), place);
            book.by_place.insert(place, entry);
        }
        book
    }

    /// The place of a name, a fresh one if need be; `None` while every place is in use.
    pub(super) fn place(&mut self, name: HostName, now: Duration) -> Option<Place> {
        if let Some(&number) = self.by_name.get(&name) {
            self.touch(number, now);
            return Some(Place {
                number,
                is_fresh: false,
            });
        }
        let number = self
            .preferred(&name)
            .or_else(|| self.unused())
            .or_else(|| self.oldest(now))?;
        self.insert(number, name, now);
        Some(Place {
            number,
            is_fresh: true,
        })
    }

    /// The name of a place that is going to be used.
    pub(super) fn name(&mut self, place: u32, now: Duration) -> Option<HostName> {
        self.touch(place, now);
        self.peek(place)
    }

    /// The name of a place.
    pub(super) fn peek(&self, place: u32) -> Option<HostName> {
        self.by_place.get(&place).map(|entry| entry.name.clone())
    }

    /// Takes over the names of an earlier run, the one used longest ago first: all or none.
    ///
    /// # Errors
    /// The place that is taken, not there, or given to a name that has one.
    pub(super) fn restore(
        &mut self,
        names: impl IntoIterator<Item = (u32, HostName, Duration)>,
    ) -> Result<(), u32> {
        for (place, name, used) in names {
            let taken = self.by_place.contains_key(&place) || self.by_name.contains_key(&name);
            if taken || place >= self.places {
                self.forget();
                return Err(place);
            }
            self.insert(place, name, used);
        }
        Ok(())
    }

    /// Takes their places from all names that are not pinned.
    fn forget(&mut self) {
        for place in std::mem::take(&mut self.order).into_values() {
            if let Some(entry) = self.by_place.remove(&place) {
                self.by_name.remove(&entry.name);
            }
        }
    }

    /// Every name that is not pinned, with its place and last use, the oldest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&HostName, u32, Duration)> {
        self.order.values().filter_map(|place| {
            let entry = self.by_place.get(place)?;
            Some((&entry.name, *place, entry.used))
        })
    }

    fn insert(&mut self, place: u32, name: HostName, used: Duration) {
        self.by_name.insert(name.clone(), place);
        let number = self.number(place);
        let entry = Entry {
            name,
            used,
            number: Some(number),
        };
        self.by_place.insert(place, entry);
    }

    fn number(&mut self, place: u32) -> u64 {
        let number = self.next;
        self.next += 1;
        self.order.insert(number, place);
        number
    }

    fn touch(&mut self, place: u32, now: Duration) {
        let Some(entry) = self.by_place.get_mut(&place) else {
            return;
        };
        entry.used = now;
        if let Some(before) = entry.number {
            self.order.remove(&before);
            let number = self.number(place);
            if let Some(entry) = self.by_place.get_mut(&place) {
                entry.number = Some(number);
            }
        }
    }

    /// A free place that the name itself tells.
    ///
    /// A name so gets the same place in every run, whether or not its mapping was kept: a program
    /// that still holds an address of an earlier run hits its name or none, hardly ever another.
    fn preferred(&self, name: &HostName) -> Option<u32> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let first = hasher.finish() % u64::from(self.places.max(1));
        let first = u32::try_from(first).unwrap_or_default();
        (0..self.places.min(PROBES))
            .map(|step| (first + step) % self.places)
            .find(|place| !self.by_place.contains_key(place))
    }

    /// A place that never had a name. Each is looked at once in the life of the book.
    fn unused(&mut self) -> Option<u32> {
        while self.untried > 0 {
            let place = self.cursor;
            self.cursor = (self.cursor + 1) % self.places;
            self.untried -= 1;
            if !self.by_place.contains_key(&place) {
                return Some(place);
            }
        }
        None
    }

    /// Takes the place that was used longest ago from its name.
    fn oldest(&mut self, now: Duration) -> Option<u32> {
        let (&number, &place) = self.order.first_key_value()?;
        let used = self.by_place.get(&place)?.used;
        if now.saturating_sub(used) < IN_USE {
            return None;
        }
        self.order.remove(&number);
        let entry = self.by_place.remove(&place)?;
        self.by_name.remove(&entry.name);
        Some(place)
    }
}

/// How long after its last use an address may still be held by a program: far more than its TTL,
/// since libraries and pools keep addresses.
pub(super) const IN_USE: Duration = Duration::from_secs(10 * 60);

/// How many places a name may prefer, one after the other; in a pool that is nearly full the next
/// free one may be far.
const PROBES: u32 = 8;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn host(number: u32) -> HostName {
        HostName::new(&format!("n{number}.example")).unwrap()
    }

    fn number(book: &mut Book, name: u32, now: Duration) -> Option<u32> {
        book.place(host(name), now).map(|place| place.number)
    }

    const START: Duration = Duration::from_secs(1_000_000);

    #[test]
    fn places_are_given_again_only_when_all_are_gone_and_the_oldest_is_long_unused() {
        let mut book = Book::new(4, &[]);
        let first: Vec<_> = (0..4)
            .map(|n| number(&mut book, n, START).unwrap())
            .collect();
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), 4);
        assert_eq!(number(&mut book, 4, START), None, "every place is in use");
        let later = START + IN_USE;
        assert_eq!(book.name(first[0], later), Some(host(0)), "a dial is a use");
        assert_eq!(number(&mut book, 4, later), Some(first[1]));
        assert_eq!(book.peek(first[1]), Some(host(4)));
        assert_eq!(number(&mut book, 0, later), Some(first[0]));
        assert_eq!(
            number(&mut book, 1, later),
            Some(first[2]),
            "the next oldest"
        );
    }

    #[test]
    fn a_name_has_the_same_place_in_every_run() {
        let order = [[0, 1, 2], [2, 0, 1]];
        let [one, other] = order.map(|names| {
            let mut book = Book::new(1 << 17, &[]);
            let mut places = names.map(|name| (name, number(&mut book, name, START)));
            places.sort_unstable();
            places
        });
        assert_eq!(one, other);
    }

    #[test]
    fn every_place_can_be_given_away() {
        let mut book = Book::new(1000, &[]);
        let places: HashSet<_> = (0..1000).map(|n| number(&mut book, n, START)).collect();
        assert_eq!(places.len(), 1000);
        assert!(!places.contains(&None));
        assert_eq!(number(&mut book, 1000, START), None);
    }

    #[test]
    fn a_pinned_name_keeps_its_place_for_ever() {
        let mut book = Book::new(3, &[host(0), host(1)]);
        let only = number(&mut book, 9, START);
        assert_eq!(only, Some(2));
        for (n, hours) in (10..20).zip(1..) {
            let now = START + Duration::from_secs(3600 * hours);
            assert_eq!(number(&mut book, n, now), only);
        }
        assert_eq!(
            [0, 1].map(|n| number(&mut book, n, START)),
            [Some(0), Some(1)]
        );
        assert_eq!(book.entries().count(), 1);
    }

    #[test]
    fn a_mapping_is_restored_whole_or_not_at_all() {
        let line = |place, name| (place, host(name), START);
        for (bad, why) in [
            (line(2, 3), "the place is taken"),
            (line(3, 2), "the name has one"),
            (line(0, 3), "pinned"),
            (line(4, 3), "there is no such place"),
        ] {
            let mut book = Book::new(4, &[host(0)]);
            assert_eq!(book.restore([line(2, 2), bad.clone()]), Err(bad.0), "{why}");
            assert_eq!((book.entries().count(), book.peek(2)), (0, None), "{why}");
            assert_eq!(book.restore([line(2, 2), line(3, 3)]), Ok(()));
            assert_eq!(number(&mut book, 3, START), Some(3));
            assert_eq!(book.peek(0), Some(host(0)));
        }
    }

    proptest! {
        #[test]
        fn no_two_names_ever_share_a_place(
            steps in proptest::collection::vec((0_u32..12, 0_u64..2000), 1..300)
        ) {
            let mut book = Book::new(5, &[host(0)]);
            let mut now = START;
            for (name, pause) in steps {
                now += Duration::from_secs(pause);
                let before: Vec<_> = book.entries().map(|(n, p, u)| (n.clone(), p, u)).collect();
                if let Some(place) = number(&mut book, name, now) {
                    prop_assert_eq!(book.peek(place), Some(host(name)));
                    for (other, held, used) in before {
                        // Whoever lost its place had not used it for long.
                        if held == place && other != host(name) {
                            prop_assert!(now - used >= IN_USE);
                        }
                    }
                }
                let places: HashSet<_> = book.by_name.values().collect();
                prop_assert_eq!(places.len(), book.by_name.len());
                prop_assert_eq!(book.by_place.len(), book.by_name.len());
                prop_assert_eq!(book.order.len() + 1, book.by_place.len());
                prop_assert!(book.by_place.len() <= 5);
            }
        }
    }
}
