//! That there is a router, and in which networks (RFC 4861, 4862, 8106).

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::frame;
use super::neighbour::{ALL_NODES, ALL_NODES_MAC, SOURCE_ADDRESS};
use super::{Answer, GATEWAY, LINK_LOCAL, Mac, Setup};

/// What the gateway says as the link's router, and when.
#[derive(Debug)]
pub(super) struct Router {
    setup: Setup,
    term: Term,
    /// When it was last sent to all.
    last: Option<Instant>,
    /// How often it was sent to all.
    times: u32,
}

/// How long the gateway is a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    /// Nobody knows of an end.
    Open,
    /// For what has begun.
    Ending,
    /// It is none.
    Over,
}

/// How long, in seconds, what a message says is good.
struct Lifetimes {
    /// The gateway as a router, and its resolvers.
    router: u16,
    /// Addresses of a network at all, and for what begins.
    valid: u32,
    preferred: u32,
}

impl Router {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            setup: setup.clone(),
            term: Term::Open,
            last: None,
            times: 0,
        }
    }

    /// Answers a station that asks; to all where it has no address yet, though not for each.
    pub(super) fn solicited(
        &mut self,
        asked: Ipv6Addr,
        mac: Mac,
        now: Instant,
        answer: Answer<'_>,
    ) {
        if !asked.is_unspecified() {
            answer(&self.frame(mac, asked));
        } else if self.is_past(now, BETWEEN) {
            self.tell_all(now, answer);
        }
    }

    /// Tells all, at the times that the RFC names: a few times soon after the start, then seldom.
    pub(super) fn sweep(&mut self, now: Instant, answer: Answer<'_>) {
        let interval = match (self.term, self.times) {
            (Term::Open, 0..INITIALLY) => AT_FIRST,
            (Term::Open, _) => LATER,
            (Term::Ending | Term::Over, _) => return,
        };
        if self.is_past(now, interval) {
            self.tell_all(now, answer);
        }
    }

    /// Tells all that nothing should begin by this router.
    pub(super) fn leave(&mut self, answer: Answer<'_>) {
        if self.term == Term::Open {
            self.term = Term::Ending;
            answer(&self.frame(ALL_NODES_MAC, ALL_NODES));
        }
    }

    /// Tells all that there is no router any more (RFC 4861, 6.2.5).
    pub(super) fn close(&mut self, answer: Answer<'_>) {
        if self.term != Term::Over {
            self.term = Term::Over;
            answer(&self.frame(ALL_NODES_MAC, ALL_NODES));
        }
    }

    fn tell_all(&mut self, now: Instant, answer: Answer<'_>) {
        self.last = Some(now);
        self.times = self.times.saturating_add(1);
        answer(&self.frame(ALL_NODES_MAC, ALL_NODES));
    }

    fn is_past(&self, now: Instant, interval: Duration) -> bool {
        self.last
            .is_none_or(|last| now.saturating_duration_since(last) >= interval)
    }

    fn frame(&self, to: Mac, destination: Ipv6Addr) -> Vec<u8> {
        let message = message(&self.setup, &self.term.lifetimes());
        frame::icmp6(to, LINK_LOCAL, destination, message)
    }
}

impl Term {
    const fn lifetimes(self) -> Lifetimes {
        match self {
            Self::Open => Lifetimes {
                router: 1800,
                valid: 86_400,
                preferred: 14_400,
            },
            // Longer than an engine waits for its connections to end.
            Self::Ending => Lifetimes {
                router: 30,
                ..Self::Over.lifetimes()
            },
            // Nobody may have stations drop an address sooner (RFC 4862, 5.5.3).
            Self::Over => Lifetimes {
                router: 0,
                valid: 7200,
                preferred: 0,
            },
        }
    }
}

fn message(setup: &Setup, lifetimes: &Lifetimes) -> Vec<u8> {
    let [high, low] = lifetimes.router.to_be_bytes();
    let mut bytes = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, HOPS, 0, high, low];
    // Reachable time and retransmission timer: what the stations think right.
    bytes.extend([0; 8]);
    bytes.extend([SOURCE_ADDRESS, 1]);
    bytes.extend(GATEWAY);
    bytes.extend([MTU, 1, 0, 0]);
    bytes.extend(setup.mtu.to_be_bytes());
    for (address, length) in &setup.gateways {
        if let IpAddr::V6(address) = address
            && !address.is_unicast_link_local()
        {
            bytes.extend(prefix(*address, *length, lifetimes));
        }
    }
    let resolvers = setup
        .resolvers
        .iter()
        .filter_map(|resolver| match resolver {
            IpAddr::V6(address) => Some(address.octets()),
            IpAddr::V4(_) => None,
        });
    let resolvers: Vec<[u8; 16]> = resolvers.take(RESOLVERS_MOST).collect();
    if !resolvers.is_empty() {
        let units = 1 + 2 * u8::try_from(resolvers.len()).expect("a few");
        bytes.extend([RESOLVERS, units, 0, 0]);
        bytes.extend(u32::from(lifetimes.router).to_be_bytes());
        bytes.extend(resolvers.concat());
    }
    bytes
}

/// The option of a network; stations make their addresses themselves where it is a /64.
fn prefix(address: Ipv6Addr, length: u8, lifetimes: &Lifetimes) -> Vec<u8> {
    let mask = u128::MAX
        .checked_shl(128 - u32::from(length.min(128)))
        .unwrap_or(0);
    let network = Ipv6Addr::from(u128::from(address) & mask);
    let flags = match length {
        64 => ON_LINK | AUTONOMOUS,
        _ => ON_LINK,
    };
    let head = [PREFIX, 4, length, flags];
    let parts: [&[u8]; 5] = [
        &head,
        &lifetimes.valid.to_be_bytes(),
        &lifetimes.preferred.to_be_bytes(),
        &[0; 4],
        &network.octets(),
    ];
    parts.concat()
}

const ROUTER_ADVERTISEMENT: u8 = 134;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const RESOLVERS: u8 = 25;

const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;

/// The hop limit that stations are to begin with.
const HOPS: u8 = 64;

/// Nobody asks more resolvers than this.
const RESOLVERS_MOST: usize = 3;

/// How many are sent soon after each other at the start, and how long after (RFC 4861, 10).
const INITIALLY: u32 = 3;
const AT_FIRST: Duration = Duration::from_secs(16);
const LATER: Duration = Duration::from_secs(400);

/// The least time between two that all are told.
const BETWEEN: Duration = Duration::from_secs(3);
