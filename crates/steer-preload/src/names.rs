//! Addresses that stand for names, so that the engine gets the name when a program connects.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use steer_core::address::{Cidr, Destination, Family, HostName, HostPattern};
use steer_core::intent::{FakeIp, Intent};

/// Gives names addresses, and names of addresses back.
#[derive(Debug)]
pub(crate) struct Names {
    pools: Vec<Cidr>,
    chosen: Vec<HostPattern>,
    except: Vec<HostPattern>,
    /// How many names have an address.
    most: u32,
    book: Mutex<Book>,
}

/// Names by number.
///
/// None is given up for another: a program that still has its address would get to the other's
/// host.
#[derive(Debug, Default)]
struct Book {
    numbers: HashMap<HostName, u32>,
    names: Vec<HostName>,
    /// Whether it was said that there is no room.
    told: bool,
}

/// Every address stands for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Names {
    /// Those that an intent asks for: written, or wanted because an upstream gets more of a name
    /// than of an address.
    pub(crate) fn of(intent: &Intent) -> Option<Self> {
        let written = &intent.resolve.fake;
        if !wanted(intent) {
            return None;
        }
        let fake = written.as_ref();
        let pools = fake.map_or_else(FakeIp::default_pools, |fake| fake.pools.clone());
        Some(Self {
            most: pools.iter().copied().map(places).min().unwrap_or(0),
            pools,
            chosen: fake.map(|fake| fake.names.clone()).unwrap_or_default(),
            except: fake.map(|fake| fake.except.clone()).unwrap_or_default(),
            book: Mutex::default(),
        })
    }

    /// The address that stands for a name, of a family where one is wanted; nothing where the
    /// program is to look the name up itself.
    pub(crate) fn stand_in(
        &self,
        name: &[u8],
        family: Option<Family>,
    ) -> Result<Option<IpAddr>, Full> {
        let Some((name, pool)) = self.chosen(name, family) else {
            return Ok(None);
        };
        let number = self.book().number(name, self.most)?;
        Ok(Some(address(pool, number)))
    }

    /// The name, and where its address is taken from.
    fn chosen(&self, name: &[u8], family: Option<Family>) -> Option<(HostName, Cidr)> {
        let name = std::str::from_utf8(name).ok()?;
        let name = HostName::new(name.strip_suffix('.').unwrap_or(name)).ok()?;
        let named = |list: &[HostPattern]| list.iter().any(|pattern| pattern.matches(&name));
        if !(self.chosen.is_empty() || named(&self.chosen)) || named(&self.except) {
            return None;
        }
        // A name that this host knows of itself is no upstream's.
        if is_in_hosts(&name) {
            return None;
        }
        let fits = |pool: &&Cidr| family.is_none_or(|family| pool.family() == family);
        let pool = *self.pools.iter().find(fits).filter(|_| self.most > 0)?;
        Some((name, pool))
    }

    /// What a program means by an address; nothing where it stands for a name that is not known.
    pub(crate) fn meant(&self, to: SocketAddr) -> Option<Destination> {
        let ip = to.ip().to_canonical();
        let Some(pool) = self.pools.iter().find(|pool| pool.contains(ip)) else {
            return Some(Destination::addr(to));
        };
        let number = number(*pool, ip)?;
        let number = usize::try_from(number).ok()?;
        let host = self.book().names.get(number)?.clone();
        let port = to.port();
        Some(Destination::Name { host, port })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether names are kept for an intent.
pub(crate) const fn wanted(intent: &Intent) -> bool {
    intent.proxied || intent.resolve.fake.is_some()
}

impl Book {
    fn number(&mut self, name: HostName, most: u32) -> Result<u32, Full> {
        if let Some(number) = self.numbers.get(&name) {
            return Ok(*number);
        }
        let next = u32::try_from(self.names.len()).ok();
        let Some(number) = next.filter(|next| *next < most) else {
            if !std::mem::replace(&mut self.told, true) {
                tracing::warn!(
                    names = most,
                    help = "start the command again, or write larger pools in `dns.fake_ip`",
                    "every made up address stands for a name; further names are not found"
                );
            }
            return Err(Full);
        };
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        Ok(number)
    }
}

/// How many addresses of a network can stand for names: not the first ones, nor the last.
fn places(pool: Cidr) -> u32 {
    let size = 1_u128 << (pool.family().bits() - pool.prefix()).min(64);
    let places = size.saturating_sub(u128::from(FIRST) + 1);
    u32::try_from(places).unwrap_or(MOST).min(MOST)
}

fn address(pool: Cidr, number: u32) -> IpAddr {
    let offset = FIRST + number;
    match pool.address() {
        IpAddr::V4(net) => Ipv4Addr::from_bits(net.to_bits().saturating_add(offset)).into(),
        IpAddr::V6(net) => Ipv6Addr::from_bits(net.to_bits().saturating_add(offset.into())).into(),
    }
}

fn number(pool: Cidr, ip: IpAddr) -> Option<u32> {
    let offset = match (pool.address(), ip) {
        (IpAddr::V4(net), IpAddr::V4(ip)) => ip.to_bits().checked_sub(net.to_bits())?,
        (IpAddr::V6(net), IpAddr::V6(ip)) => {
            u32::try_from(ip.to_bits().checked_sub(net.to_bits())?).ok()?
        }
        _ => return None,
    };
    offset.checked_sub(FIRST)
}

/// Whether `/etc/hosts` (hosts(5)) has a name, which the resolver asks before all else.
fn is_in_hosts(name: &HostName) -> bool {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    hosts
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| line.split_ascii_whitespace().skip(1))
        .any(|known| {
            known
                .trim_end_matches('.')
                .eq_ignore_ascii_case(name.as_str())
        })
}

/// The addresses before are the network's, and one for whoever serves it.
const FIRST: u32 = 2;

/// As many names as are remembered: what the smallest default pool has addresses for.
const MOST: u32 = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;
    use steer_core::instance::Instance;
    use steer_core::intent::Scope;

    fn names(change: impl FnOnce(&mut Intent)) -> Option<Names> {
        let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
        change(&mut intent);
        Names::of(&intent)
    }

    #[test]
    fn a_name_has_one_address_a_family_and_the_address_means_the_name() {
        let names = names(|intent| intent.proxied = true).unwrap();
        let v4 = names.stand_in(b"example.com", None).unwrap().unwrap();
        assert_eq!(v4, IpAddr::from([198, 18, 0, 2]));
        assert_eq!(
            names.stand_in(b"Example.COM.", Some(Family::V4)),
            Ok(Some(v4))
        );
        let v6 = names.stand_in(b"example.com", Some(Family::V6));
        let v6 = v6.unwrap().unwrap();
        let other = names.stand_in(b"example.org", None).unwrap().unwrap();
        assert_eq!(other, IpAddr::from([198, 18, 0, 3]));
        for ip in [v4, v6] {
            let meant = names.meant(SocketAddr::new(ip, 443)).unwrap();
            assert_eq!(meant.to_string(), "example.com:443");
        }
    }

    #[test]
    fn an_address_of_no_name_means_nothing_and_others_mean_themselves() {
        let names = names(|intent| intent.proxied = true).unwrap();
        assert_eq!(names.meant("198.18.0.9:1".parse().unwrap()), None);
        let to = "203.0.113.7:1".parse().unwrap();
        assert_eq!(names.meant(to), Some(Destination::addr(to)));
    }

    #[test]
    fn names_that_are_not_chosen_are_the_program_s_to_look_up() {
        assert!(names(|_| {}).is_none());
        let names = names(|intent| {
            intent.resolve.fake = Some(FakeIp {
                pools: FakeIp::default_pools(),
                names: vec!["*.corp".parse().unwrap()],
                except: vec!["own.corp".parse().unwrap()],
                file: None,
            });
        })
        .unwrap();
        assert!(names.stand_in(b"a.corp", None).unwrap().is_some());
        assert_eq!(names.stand_in(b"own.corp", None), Ok(None));
        assert_eq!(names.stand_in(b"example.com", None), Ok(None));
        assert_eq!(names.stand_in(b"\xff", None), Ok(None));
    }

    #[test]
    fn a_number_never_stands_for_another_name() {
        let mut book = Book::default();
        let most = Names::of(&{
            let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
            intent.proxied = true;
            intent
        })
        .unwrap()
        .most;
        // All of 198.18.0.0/15 but the first two and the last.
        assert_eq!(most, (1 << 17) - 3);
        let name = |n: u32| HostName::new(&format!("n{n}.example")).unwrap();
        for n in 0..most {
            assert_eq!(book.number(name(n), most), Ok(n));
        }
        assert_eq!(book.number(name(most), most), Err(Full));
        assert_eq!(book.number(name(0), most), Ok(0));
        assert_eq!(book.names[0], name(0));
    }
}
