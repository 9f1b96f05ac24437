//! Where a namespace's traffic goes, as the map of places says it.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;

use aya::maps::{HashMap, MapData, MapError};
use steer_core::address::Family;
use steer_core::netns;
use steer_core::object::{Carries, Entrance, Hooks};
use steer_core::plan::Netns;

use crate::abi::{PLACE_EXTERNAL, PLACE_V4, PLACE_V6, Place};
use crate::error::EbpfError;
use crate::maps::{Maps, on};
use crate::object::PLACES;
use crate::sys;

/// The place of hooks in their own namespace.
pub(super) fn place(hooks: &Hooks) -> Result<Place, EbpfError> {
    let mut place = Place::default();
    for family in &hooks.families {
        place.flags |= match family {
            Family::V4 => PLACE_V4,
            Family::V6 => PLACE_V6,
        };
    }
    for entrance in &hooks.entrances {
        let Entrance {
            carries,
            port,
            external,
        } = entrance;
        let Some(number) = port.number() else {
            return Err(EbpfError::Misplaced {
                what: format!("an entrance at port {port}"),
            });
        };
        match carries {
            Carries::Streams => place.streams = number,
            Carries::Datagrams => place.datagrams = number,
            Carries::DnsStreams => place.dns_streams = number,
            Carries::DnsDatagrams => place.dns_datagrams = number,
        }
        if external.is_some() {
            place.flags |= PLACE_EXTERNAL;
        }
    }
    Ok(place)
}

/// The kernel's number of a network namespace.
pub(super) fn cookie(netns: &Netns) -> Result<u64, EbpfError> {
    let ask = || -> io::Result<u64> {
        let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::1]:0"))?;
        sys::netns_cookie(socket.as_fd())
    };
    let asked = netns::open(netns).and_then(|file| netns::within(file, ask));
    asked
        .and_then(|cookie| cookie)
        .map_err(|source| unreachable(netns, source))
}

/// A namespace that cannot be looked at.
pub(super) fn unreachable(netns: &Netns, source: io::Error) -> EbpfError {
    let place = match netns {
        Netns::Path(path) => path.clone(),
        _ => "/proc/self/ns/net".to_owned(),
    };
    EbpfError::Netns { place, source }
}

/// Writes a namespace's place, or removes it.
pub(super) fn put(maps: &Maps, netns: u64, place: Option<Place>) -> Result<(), EbpfError> {
    let mut map: HashMap<MapData, u64, Place> = maps.view(PLACES)?;
    let done = match place {
        Some(place) => map.insert(netns, place, 0),
        None => match map.remove(&netns) {
            Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
            done => done,
        },
    };
    on(PLACES, done)
}
