//! What is done with a call.

use crate::abi::{
    COUNT_LEFT, COUNT_REFUSED, COUNT_RIDDEN, Config, DO_CLOSED, DO_DNS_UDP, DO_HERE, DO_TAKE,
    DO_UDP, GENERATIONS, NET_REFUSED,
};
use crate::call::{Call, Protocol};
use crate::end::{End, protocol_key};
use crate::maps::{ACTIVE, CONFIG, PLACES, count};
use crate::traffic::{self, Traffic};
use crate::{engine, listener, place, scope};

/// What is done with a call.
#[derive(Clone, Copy)]
pub enum Decision {
    /// It goes where it wants.
    Leave,
    /// It fails.
    Refuse,
    /// It goes to this port, under a token.
    Take(Taking),
}

/// How a call is taken.
#[derive(Clone, Copy)]
pub struct Taking {
    /// The port of the listener.
    pub port: u16,
    /// What is done where no token is to be had.
    pub otherwise: Otherwise,
    /// Whether a token may be made; else those that there are still lead there.
    pub fresh: bool,
}

/// What is done with what is meant and cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    Leave,
    Refuse,
}

impl Otherwise {
    #[inline(always)]
    fn of(config: &Config, nets: u32) -> Self {
        if config.flags & DO_CLOSED != 0 || nets & NET_REFUSED != 0 {
            Self::Refuse
        } else {
            Self::Leave
        }
    }

    /// Does it, and counts it.
    #[inline(always)]
    pub fn decision(self) -> Decision {
        match self {
            Self::Leave => {
                count(COUNT_LEFT);
                Decision::Leave
            }
            Self::Refuse => {
                count(COUNT_REFUSED);
                Decision::Refuse
            }
        }
    }
}

/// The configuration that holds, with its generation.
#[inline(always)]
pub fn configuration() -> Option<(&'static Config, u32)> {
    let generation = *ACTIVE.get(0)?;
    Some((CONFIG.get(generation % GENERATIONS)?, generation))
}

/// Decides over a call to an address. Read once, the generation holds for all of it.
#[inline(always)]
pub fn over(call: Call, to: End) -> Decision {
    let Some((config, generation)) = configuration() else {
        return Decision::Leave;
    };
    if listener::is_own(config, call.mark()) {
        engine::note();
        return Decision::Leave;
    }
    let (protocol, netns) = (call.protocol(), call.netns());
    if rides(protocol, netns, to) {
        count(COUNT_RIDDEN);
        return Decision::Refuse;
    }
    let is_meant =
        (config.flags & DO_HERE == 0 || config.netns == netns) && scope::holds(generation);
    if !is_meant {
        return Decision::Leave;
    }
    let nets = traffic::nets(generation, to);
    let otherwise = Otherwise::of(config, nets);
    let traffic = traffic::of(config, generation, protocol, to, nets);
    match traffic {
        Traffic::Left if nets & NET_REFUSED != 0 => return Otherwise::Refuse.decision(),
        Traffic::Left => return Decision::Leave,
        Traffic::Untakeable => return otherwise.decision(),
        Traffic::Refused => return Otherwise::Refuse.decision(),
        Traffic::Meant | Traffic::Dns => {}
    }
    // A socket that is bound to another interface would wait for an answer for ever: tokens are
    // addresses of the loopback interface.
    if call.interface() > LOOPBACK {
        return otherwise.decision();
    }
    let Some(place) = place::of(netns) else {
        return otherwise.decision();
    };
    match place.port(traffic, protocol, to) {
        Some(port) if listener::is_there(call, config, to, port, place.is_external()) => {
            Decision::Take(Taking {
                port,
                otherwise,
                fresh: config.flags & DO_TAKE != 0,
            })
        }
        _ => otherwise.decision(),
    }
}

/// Whether the engine hears what a socket sends to the token that it is connected to.
#[inline(always)]
pub fn is_heard(call: Call, to: End) -> bool {
    let Some((config, _)) = configuration() else {
        return false;
    };
    // SAFETY: as below.
    let place = unsafe { PLACES.get(call.netns()) };
    place.is_some_and(|place| listener::is_there(call, config, to, to.port, place.is_external()))
}

/// Whether there are datagrams of a socket that could be taken or refused.
#[inline(always)]
pub fn may_refuse_datagrams(call: Call) -> bool {
    configuration().is_some_and(|(config, _)| {
        let is_here = config.flags & DO_HERE == 0 || config.netns == call.netns();
        is_here && config.flags & (DO_UDP | DO_DNS_UDP | DO_CLOSED) != 0
    })
}

/// Whether a program goes to an address of a token by itself: it was not given it by these
/// programs, and would be taken for the one that was.
#[inline(always)]
fn rides(protocol: Protocol, netns: u64, to: End) -> bool {
    if to.token(protocol_key(protocol == Protocol::Udp)).is_none() {
        return false;
    }
    // SAFETY: the memory is an entry's of this map as long as the program runs; should it be another
    // namespace's by now, nobody listens there with the engine's mark in this one.
    unsafe { PLACES.get(netns) }.is_some_and(|place| place.has(protocol, to.port))
}

/// The number of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;
