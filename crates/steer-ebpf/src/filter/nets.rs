//! Networks as a trie by longest prefix wants them.

use std::net::IpAddr;

use steer_core::address::{Cidr, Family};

use super::{FilterError, Part};
use crate::abi::{Address, NETS_MOST};

/// A network and what holds for the addresses of which it is the smallest that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Net {
    /// The first address.
    pub(crate) address: Address,
    /// How many of its bits count.
    pub(crate) prefix: u32,
    /// `NET_…` of the network and of all around it.
    pub(crate) flags: u32,
}

/// The networks with what holds in each, so that the longest match says it all.
///
/// # Errors
/// More than half of what the map can hold: the list that is replaced is there as well for a moment.
pub(super) fn nets(
    part: Part,
    all: impl IntoIterator<Item = (Cidr, u32)>,
) -> Result<Vec<Net>, FilterError> {
    let all: Vec<(Cidr, u32)> = all.into_iter().collect();
    let mut nets: Vec<Net> = Vec::with_capacity(all.len());
    for family in Family::ALL {
        let of_family = all.iter().filter(|(net, _)| net.family() == family);
        nets.extend(inherited(
            of_family.filter_map(|(n, flags)| own(*n, *flags)),
        ));
    }
    // Networks of IPv6 around the mapped addresses say nothing about those of IPv4.
    let mapped = own(Cidr::all(Family::V4), 0).expect("IPv4 is mapped");
    let around = |net: &Net| net.prefix < mapped.prefix && contains(net, &mapped);
    let same = |net: &Net| net.prefix == mapped.prefix && net.address == mapped.address;
    if nets.iter().any(around) && !nets.iter().any(same) {
        nets.push(mapped);
    }
    let most = NETS_MOST as usize / 2;
    if nets.len() > most {
        return Err(FilterError::TooMany {
            part,
            count: nets.len(),
            most,
        });
    }
    nets.sort_unstable();
    Ok(nets)
}

/// The network with its own flags; none for one of IPv6 within the mapped addresses, which the
/// kernel knows as IPv4.
fn own(net: Cidr, flags: u32) -> Option<Net> {
    let (address, prefix) = match net.address() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), 96 + u32::from(net.prefix())),
        IpAddr::V6(v6) if net.prefix() >= 96 && v6.to_ipv4_mapped().is_some() => return None,
        IpAddr::V6(v6) => (v6, u32::from(net.prefix())),
    };
    Some(Net {
        address: address.octets(),
        prefix,
        flags,
    })
}

/// Each network once, with the flags of those around it as well.
fn inherited(nets: impl Iterator<Item = Net>) -> Vec<Net> {
    let mut sorted: Vec<Net> = nets.collect();
    // A network comes right before those within it.
    sorted.sort_unstable();
    let mut all: Vec<Net> = Vec::with_capacity(sorted.len());
    // The networks around the one that is looked at, the smallest last.
    let mut around: Vec<Net> = Vec::new();
    for mut net in sorted {
        while around.pop_if(|outer| !contains(outer, &net)).is_some() {}
        if let Some(outer) = around.last_mut() {
            net.flags |= outer.flags;
            if outer.prefix == net.prefix {
                *outer = net;
                *all.last_mut().expect("it was the last one") = net;
                continue;
            }
        }
        around.push(net);
        all.push(net);
    }
    all
}

fn contains(outer: &Net, inner: &Net) -> bool {
    let [outer_bits, inner_bits] = [outer, inner].map(|net| u128::from_be_bytes(net.address));
    let differ = (outer_bits ^ inner_bits).leading_zeros();
    outer.prefix <= inner.prefix && differ >= outer.prefix
}
