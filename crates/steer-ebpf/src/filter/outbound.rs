//! What programs send.

use steer_core::address::{Cidr, Protocol};
use steer_core::intent::{Dns, Loopback, OnFailure, Quic, Scope, Selector, Traffic};
use steer_core::key::Key;
use steer_core::object::{Hooks, Reach};
use steer_core::symbol::NameSet;

use super::lists::{cgroups, names, ranges};
use super::{Filter, FilterError, Known, Part, nets, ports};
use crate::abi::{
    Config, DO_CLOSED, DO_DNS_TCP, DO_DNS_UDP, DO_EXTERNAL, DO_HERE, DO_LEAVE_DNS, DO_LEAVE_QUIC,
    DO_LEAVE_TCP, DO_LEAVE_UDP, DO_LOOPBACK, DO_NETS, DO_OTHERS, DO_REFUSE_QUIC, DO_TAKE, DO_TCP,
    DO_UDP, NET_LEFT, NET_MEANT, NET_REFUSED,
};

impl Filter<Config> {
    /// What hooks ask for.
    pub(crate) fn outbound(hooks: &Hooks, known: &Known) -> Result<Self, FilterError> {
        let Hooks {
            cgroups: _,
            scope:
                Scope {
                    command: _,
                    of,
                    except,
                },
            within: _,
            traffic,
            names: _,
            made_up,
            reach,
            families: _,
            entrances,
            bypass,
            on_failure,
            takes,
        } = hooks;
        seen(except)?;
        let Traffic {
            include, exclude, ..
        } = traffic;
        let narrowed = !(include.cidrs.is_empty() && include.domains.is_empty());
        let flags = [
            (*takes, DO_TAKE),
            (*on_failure == OnFailure::Closed, DO_CLOSED),
            (*reach == Reach::Here, DO_HERE),
            (narrowed, DO_NETS),
            (
                entrances.iter().any(|entrance| entrance.external.is_some()),
                DO_EXTERNAL,
            ),
        ];
        let ports = ports::ports(&include.ports, &exclude.ports);
        let config = Config {
            flags: sum(&flags) | of_traffic(traffic),
            bypass: bypass.value,
            bypass_mask: bypass.mask,
            unused: 0,
            netns: known.netns,
            uid: ranges(Part::Of(Key::Uid), &of.uid)?,
            except_uid: ranges(Part::Except(Key::Uid), &except.uid)?,
            gid: ranges(Part::Of(Key::Gid), &of.gid)?,
            except_gid: ranges(Part::Except(Key::Gid), &except.gid)?,
            command: names(Part::Of(Key::CommandName), &of.command)?,
            except_command: names(Part::Except(Key::CommandName), &except.command)?,
            cgroup: cgroups(Part::Of(Key::Pid), &known.within)?,
            except_cgroup: cgroups(Part::Except(Key::Cgroup), &known.except)?,
        };
        let addresses = |set| {
            let known = hooks.names.get(&set).into_iter().flatten();
            known.map(|ip| Cidr::host(*ip))
        };
        let flagged = |flag| move |net: Cidr| (net, flag);
        let meant = include.cidrs.iter().copied();
        let meant = meant.chain(addresses(NameSet::Included));
        let left = exclude.cidrs.iter().copied();
        let left = left.chain(addresses(NameSet::Excluded));
        let refused = made_up.iter().copied().map(flagged(NET_REFUSED));
        Ok(Self {
            config,
            ports,
            nets: nets::nets(
                Part::Traffic(Key::Cidrs),
                meant
                    .map(flagged(NET_MEANT))
                    .chain(left.map(flagged(NET_LEFT)))
                    .chain(refused),
            )?,
        })
    }
}

/// The flags of which the condition holds.
pub(super) fn sum(flags: &[(bool, u32)]) -> u32 {
    let held = flags.iter().filter(|(holds, _)| *holds);
    held.fold(0, |sum, (_, flag)| sum | flag)
}

fn of_traffic(traffic: &Traffic) -> u32 {
    let Traffic {
        include,
        exclude,
        loopback,
        dns,
        quic,
    } = traffic;
    let meant = |protocol: Protocol| {
        (include.protocols.is_empty() || include.protocols.contains(&protocol))
            && !exclude.protocols.contains(&protocol)
    };
    let excludes_dns = exclude.ports.iter().any(|range| range.contains(53));
    let captures = *dns == Some(Dns::Capture) && !excludes_dns;
    // DNS has a key of its own, so that of the protocols only exclusion counts.
    let dns_by = |protocol: Protocol| captures && !exclude.protocols.contains(&protocol);
    let everything = include == &steer_core::intent::Filter::default();
    sum(&[
        (meant(Protocol::Tcp), DO_TCP),
        (meant(Protocol::Udp), DO_UDP),
        (!meant(Protocol::Tcp), DO_LEAVE_TCP),
        (!meant(Protocol::Udp), DO_LEAVE_UDP),
        (everything, DO_OTHERS),
        (*loopback == Some(Loopback::Steer), DO_LOOPBACK),
        (dns_by(Protocol::Tcp), DO_DNS_TCP),
        (dns_by(Protocol::Udp), DO_DNS_UDP),
        (!captures, DO_LEAVE_DNS),
        (*quic == Some(Quic::Leave), DO_LEAVE_QUIC),
        (*quic == Some(Quic::Reject), DO_REFUSE_QUIC),
    ])
}

/// Refuses to leave somebody out whom the hooks cannot tell.
fn seen(except: &Selector) -> Result<(), FilterError> {
    let Selector {
        host,
        cgroup: _,
        uid: _,
        gid: _,
        command: _,
        pid,
        interface,
        netns,
        inbound,
    } = except;
    let unseen = [
        (*host, Key::Host),
        (!pid.is_empty(), Key::Pid),
        (!interface.is_empty(), Key::Interface),
        (netns.is_some(), Key::Netns),
        (*inbound, Key::Inbound),
    ];
    match unseen.into_iter().find(|(written, _)| *written) {
        Some((_, key)) => Err(FilterError::Unseen {
            part: Part::Except(key),
        }),
        None => Ok(()),
    }
}
