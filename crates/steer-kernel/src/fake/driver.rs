//! The drivers of a host in memory.

use std::collections::BTreeSet;

use steer_core::driver::{Change, Driver, DriverError, Found};
use steer_core::instance::Instance;
use steer_core::object::{Domain, Leads, Object};
use steer_core::plan::Netns;
use steer_core::ruleset::Role;

use super::{FakeHost, FakeState, Model};
use crate::nft::table;

/// One driver of a [`FakeHost`].
#[derive(Debug)]
pub(super) struct FakeDriver {
    domain: Domain,
    host: FakeHost,
    /// Where it has made tables or devices that go with it.
    owned: BTreeSet<(Netns, Instance)>,
}

impl FakeDriver {
    pub(super) fn boxed(domain: Domain, host: FakeHost) -> Box<dyn Driver> {
        Box::new(Self {
            domain,
            host,
            owned: BTreeSet::new(),
        })
    }
}

impl Driver for FakeDriver {
    fn domain(&self) -> Domain {
        self.domain
    }

    fn set(&mut self, change: &Change<'_>) -> Result<(), DriverError> {
        let Change {
            instance,
            netns,
            from,
            to,
        } = *change;
        let domain = self.domain;
        let mut model = self.host.model();
        let (before, after) = (from.len(), to.len());
        model.begin(domain, format!("set {domain} {instance} {before}->{after}"))?;
        for object in to {
            if object.domain() != domain {
                return Err(error(
                    domain,
                    format!("the fake {domain} driver cannot make {object}"),
                ));
            }
            if let Some(name) = name(instance, object)
                && model
                    .state
                    .foreign
                    .contains(&(netns.clone(), domain, name.clone()))
            {
                return Err(error(domain, format!("{name} belongs to another program")));
            }
        }
        let device = |name: &str| model.state.has_device(netns, name);
        if let Some(route) = to
            .iter()
            .find(|o| leads_to(o).is_some_and(|name| !device(name)))
        {
            return Err(error(domain, format!("there is no device for the {route}")));
        }
        let place = (netns.clone(), domain, instance.clone());
        let mut stands = model.state.ours.remove(&place).unwrap_or_default();
        match domain {
            // A cgroup that nobody names is nobody's to remove.
            Domain::Cgroup => {
                stands.retain(|object| !from.contains(object) && !to.contains(object));
                stands.splice(0..0, to.iter().cloned());
            }
            _ => stands = to.to_vec(),
        }
        if !stands.is_empty() {
            model.state.ours.insert(place, stands);
        }
        model.state.remove_routes_without_a_device(netns);
        drop(model);
        if matches!(domain, Domain::Nft | Domain::Device) {
            self.owned.insert((netns.clone(), instance.clone()));
        }
        Ok(())
    }

    fn observe(&mut self, netns: &Netns) -> Result<Vec<Found>, DriverError> {
        let domain = self.domain;
        let model = self.host.model();
        let FakeState { ours, foreign: _ } = &model.state;
        let mut found = Vec::new();
        for ((place, of, instance), objects) in ours {
            if (place, *of) != (netns, domain) {
                continue;
            }
            found.extend(objects.iter().map(|object| Found {
                domain,
                netns: netns.clone(),
                // As with the real one, what bears no name does not tell whose it is.
                instance: (domain != Domain::Route).then(|| instance.clone()),
                role: role(object),
                what: what(instance, object),
            }));
        }
        Ok(found)
    }

    fn remove(&mut self, found: &Found) -> Result<(), DriverError> {
        let Found {
            domain,
            netns,
            instance,
            role: of,
            what: told,
        } = found;
        let mut model = self.host.model();
        let whose = instance.as_ref().map_or(told.as_str(), Instance::as_str);
        model.begin(*domain, format!("remove {domain} {whose}"))?;
        model
            .state
            .ours
            .retain(|(place, in_domain, owner), objects| {
                let meant = instance.as_ref().is_none_or(|i| i == owner);
                if (place, in_domain) == (netns, domain) && meant {
                    objects.retain(|object| role(object) != *of || what(owner, object) != *told);
                }
                !objects.is_empty()
            });
        Ok(())
    }
}

impl Drop for FakeDriver {
    fn drop(&mut self) {
        let mut model = self.host.model();
        for (netns, instance) in &self.owned {
            let place = (netns.clone(), self.domain, instance.clone());
            if let Some(objects) = model.state.ours.get_mut(&place) {
                let goes = |object: &Object| match object {
                    Object::Nft(rules) => rules.role == Role::Steer,
                    Object::Device(_) => true,
                    _ => false,
                };
                objects.retain(|object| !goes(object));
                if objects.is_empty() {
                    model.state.ours.remove(&place);
                }
            }
            model.state.remove_routes_without_a_device(netns);
        }
    }
}

impl FakeState {
    fn has_device(&self, netns: &Netns, name: &str) -> bool {
        let places = self.ours.iter().filter(|((place, ..), _)| place == netns);
        let mut objects = places.flat_map(|(_, objects)| objects);
        objects.any(|object| matches!(object, Object::Device(device) if device.name == name))
    }

    /// What the kernel does when a device goes.
    fn remove_routes_without_a_device(&mut self, netns: &Netns) {
        let before = self.clone();
        self.ours.retain(|(place, ..), objects| {
            if place == netns {
                objects.retain(|object| {
                    leads_to(object).is_none_or(|name| before.has_device(netns, name))
                });
            }
            !objects.is_empty()
        });
    }
}

/// The device that an object needs.
fn leads_to(object: &Object) -> Option<&str> {
    match object {
        Object::Route(route) => match &route.to {
            Leads::Device { name, .. } => Some(name),
            Leads::Here | Leads::Nowhere => None,
        },
        _ => None,
    }
}

impl Model {
    /// Notes an operation, and fails where a test wants it to.
    fn begin(&mut self, domain: Domain, what: String) -> Result<(), DriverError> {
        let number = self.operations.len();
        let fails = self.fail_at.contains(&number);
        let told = format!("operation {number} was told to fail: {what}");
        self.operations.push(what);
        match fails {
            true => Err(error(domain, told)),
            false => Ok(()),
        }
    }
}

/// The name by which an object would be in another program's way.
fn name(instance: &Instance, object: &Object) -> Option<String> {
    match object {
        Object::Nft(rules) => Some(table::name(instance, rules.role)),
        Object::Iptables(..) => Some(format!("STEER_{instance}")),
        Object::Cgroup(path) => Some(path.to_string()),
        Object::Device(device) => Some(device.name.clone()),
        _ => None,
    }
}

/// What it is, for people.
fn what(instance: &Instance, object: &Object) -> String {
    match name(instance, object) {
        Some(name) => format!("{} {name}", object.domain()),
        None => object.to_string(),
    }
}

const fn role(object: &Object) -> Option<Role> {
    match object {
        Object::Nft(rules) => Some(rules.role),
        _ => None,
    }
}

fn error(domain: Domain, what: String) -> DriverError {
    DriverError::new(domain, what, "this host exists only in a test")
}
