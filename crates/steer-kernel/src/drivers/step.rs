//! The order of a change over several domains and namespaces.

use std::collections::BTreeMap;

use steer_core::object::{Domain, Object};
use steer_core::plan::{Life, Netns, Planned};

/// A change of one domain in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) netns: Netns,
    pub(super) domain: Domain,
    pub(super) from: Vec<Object>,
    pub(super) to: Vec<Object>,
}

impl Step {
    /// The step back.
    pub(super) fn inverse(&self) -> Self {
        Self {
            from: self.to.clone(),
            to: self.from.clone(),
            ..self.clone()
        }
    }
}

/// The objects of one domain in one namespace.
#[derive(Debug, Default)]
struct Group {
    from: Vec<(Life, Object)>,
    to: Vec<(Life, Object)>,
}

/// The steps from what stands to what shall stand: first whatever makes or changes, what carries
/// others before what is carried; then whatever only removes, the other way round. Devices come
/// before the routes that lead to them, and routes before the packets that are sent there.
pub(super) fn steps(from: &[Planned], to: &[Planned]) -> Vec<Step> {
    let mut groups: BTreeMap<(Netns, Domain), Group> = BTreeMap::new();
    for planned in from {
        let group = groups.entry(place(planned)).or_default();
        group.from.push((planned.life, planned.object.clone()));
    }
    for planned in to {
        let group = groups.entry(place(planned)).or_default();
        group.to.push((planned.life, planned.object.clone()));
    }
    let mut making: Vec<((Life, Life), Step)> = Vec::new();
    let mut removing: Vec<((Life, Life), Step)> = Vec::new();
    for ((netns, domain), group) in groups {
        let Group { mut from, mut to } = group;
        from.sort_by_key(|(life, _)| *life);
        to.sort_by_key(|(life, _)| *life);
        // With a device the kernel removes the routes by it, which may have to be there again.
        let carries_only = domain == Domain::Device
            || from
                .iter()
                .chain(&to)
                .all(|(life, _)| *life == Life::Support);
        // What carries others has to stand while these are changed, so what is gone of it goes in
        // a step of its own at the end.
        let between = match (carries_only, to.is_empty()) {
            (true, _) => union(&from, &to),
            (false, false) => to.clone(),
            (false, true) => from.clone(),
        };
        let step = |list: &mut Vec<_>, from: &[(Life, Object)], to: &[(Life, Object)]| {
            let lives = match domain {
                Domain::Device | Domain::Route => (Life::Support, Life::Support),
                _ => lives(from.iter().chain(to)),
            };
            list.push((
                lives,
                Step {
                    netns: netns.clone(),
                    domain,
                    from: objects(from),
                    to: objects(to),
                },
            ));
        };
        // A step between equals asks the driver to make sure that it stands.
        if !to.is_empty() {
            step(&mut making, &from, &between);
        }
        if between != to {
            step(&mut removing, &between, &to);
        }
    }
    making.sort_by_key(|(lives, _)| *lives);
    removing.reverse();
    removing.sort_by_key(|(lives, _)| std::cmp::Reverse(*lives));
    making
        .into_iter()
        .chain(removing)
        .map(|(_, step)| step)
        .collect()
}

fn place(planned: &Planned) -> (Netns, Domain) {
    (planned.netns.clone(), planned.object.domain())
}

fn union(from: &[(Life, Object)], to: &[(Life, Object)]) -> Vec<(Life, Object)> {
    let mut all = to.to_vec();
    let gone = |one: &&(Life, Object)| !to.iter().any(|other| takes_place(&one.1, &other.1));
    all.extend(from.iter().filter(gone).cloned());
    all
}

/// Whether two objects cannot stand at once.
fn takes_place(one: &Object, other: &Object) -> bool {
    match (one, other) {
        (Object::Device(one), Object::Device(other)) => one.name == other.name,
        _ => one == other,
    }
}

fn objects(list: &[(Life, Object)]) -> Vec<Object> {
    list.iter().map(|(_, object)| object.clone()).collect()
}

/// The first and the last life in a list.
fn lives<'a>(list: impl Iterator<Item = &'a (Life, Object)>) -> (Life, Life) {
    let mut lives: Vec<Life> = list.map(|(life, _)| *life).collect();
    lives.sort_unstable();
    let first = lives.first().copied().unwrap_or(Life::Support);
    (first, lives.last().copied().unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use steer_core::address::Family;
    use steer_core::object::{Device, IptablesVariant, Layer, Leads, Route};
    use steer_core::ruleset::{Role, Ruleset};
    use steer_core::symbol::{CgroupRef, TableRef};

    fn planned(life: Life, object: Object) -> Planned {
        Planned {
            netns: Netns::Here,
            life,
            object,
        }
    }

    fn cgroup(path: &str) -> Planned {
        planned(
            Life::Support,
            Object::Cgroup(CgroupRef::Path(path.to_owned())),
        )
    }

    fn rules(role: Role) -> Ruleset {
        Ruleset {
            role,
            families: Vec::new(),
            chains: Vec::new(),
        }
    }

    fn steer() -> Planned {
        planned(Life::Steer, Object::Nft(rules(Role::Steer)))
    }

    fn guard() -> Planned {
        let object = Object::Iptables(rules(Role::Guard), IptablesVariant::Legacy);
        planned(Life::Guard, object)
    }

    /// The steps as `domain from->to`, by the numbers of objects.
    fn told(from: &[Planned], to: &[Planned]) -> Vec<String> {
        steps(from, to)
            .iter()
            .map(|step| format!("{} {}->{}", step.domain, step.from.len(), step.to.len()))
            .collect()
    }

    #[test]
    fn what_carries_is_made_first_and_removed_last() {
        let all = [steer(), guard(), cgroup("a")];
        assert_eq!(
            told(&[], &all),
            ["cgroup 0->1", "iptables 0->1", "nft 0->1"]
        );
        assert_eq!(
            told(&all, &[]),
            ["nft 1->0", "iptables 1->0", "cgroup 1->0"]
        );
    }

    #[test]
    fn devices_come_before_routes_to_them_and_those_before_the_rules_that_send_packets_there() {
        let device = Object::Device(Device {
            name: "tun-main".to_owned(),
            layer: Layer::Ip,
            mtu: 1500,
            addresses: Vec::new(),
            queues: 1,
            bridge: None,
            forwards: false,
        });
        let route = |to: Leads| {
            Object::Route(Route {
                family: Family::V4,
                net: None,
                table: TableRef::Fixed(15_001),
                to,
            })
        };
        let by_device = Leads::Device {
            name: "tun-main".to_owned(),
            via: None,
        };
        let guards = [
            cgroup("a"),
            planned(Life::Guard, route(Leads::Nowhere)),
            planned(Life::Guard, Object::Nft(rules(Role::Guard))),
        ];
        let mut all = guards.to_vec();
        all.extend([
            steer(),
            planned(Life::Steer, route(by_device)),
            planned(Life::Steer, device),
        ]);
        let made = ["cgroup 0->1", "device 0->1", "route 0->2", "nft 0->2"];
        assert_eq!(told(&[], &all), made);
        let removed = ["nft 2->0", "route 2->0", "device 1->0", "cgroup 1->0"];
        assert_eq!(told(&all, &[]), removed);
        // A crash under closed.
        let left = ["cgroup 1->1", "route 2->1", "nft 2->1", "device 1->0"];
        assert_eq!(told(&all, &guards), left);
    }

    #[test]
    fn a_swap_keeps_what_carries_until_nothing_needs_it() {
        let (old, new) = ([cgroup("a"), steer()], [cgroup("b"), steer()]);
        assert_eq!(told(&old, &new), ["cgroup 1->2", "nft 1->1", "cgroup 2->1"]);
    }

    #[test]
    fn another_backend_takes_over_before_the_first_one_lets_go() {
        assert_eq!(told(&[guard()], &[steer()]), ["nft 0->1", "iptables 1->0"]);
        let closed = [cgroup("a"), guard(), steer()];
        assert_eq!(
            told(&closed, &closed[..2]),
            ["cgroup 1->1", "iptables 1->1", "nft 1->0"]
        );
    }
}
