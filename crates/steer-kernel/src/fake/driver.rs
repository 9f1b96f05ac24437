//! The drivers of a host in memory.

use std::collections::BTreeSet;

use steer_core::driver::{Change, Driver, DriverError, Found};
use steer_core::instance::Instance;
use steer_core::object::{Domain, Object};
use steer_core::plan::Netns;
use steer_core::ruleset::Role;

use super::{FakeHost, FakeState, Model};
use crate::nft::table;

/// One driver of a [`FakeHost`].
#[derive(Debug)]
pub(super) struct FakeDriver {
    domain: Domain,
    host: FakeHost,
    /// Where it has made tables that it owns.
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
        drop(model);
        if domain == Domain::Nft {
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
            let place = (netns.clone(), Domain::Nft, instance.clone());
            if let Some(objects) = model.state.ours.get_mut(&place) {
                objects.retain(|object| role(object) != Some(Role::Steer));
                if objects.is_empty() {
                    model.state.ours.remove(&place);
                }
            }
        }
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
