//! The driver of TUN and TAP devices.
//!
//! A device is not persistent: the kernel removes it, and the routes by it, with its last descriptor.
//! The driver holds one a queue, the engine has duplicates to read and write by, and those are its
//! lifelines too. Once it is removed, a read that waits fails with EFAULT and each later one with
//! EBADFD. Devices of ours are known by what they say of themselves (`ip link`'s alias
//! `steer INSTANCE`), since anybody may have a name. The ioctls are our own (`sys::tun`), because the
//! crates for such devices know queues or offloads, and not both.

mod fault;
pub(crate) mod link;
mod make;
mod queues;

use std::collections::BTreeMap;
use std::io;

use steer_core::driver::{Change, Driver, DriverError, Found, Lifeline};
use steer_core::intake::Shared;
use steer_core::object::{Device, DeviceQueue, Domain, Object};
use steer_core::plan::Netns;

use self::fault::Fault;
use self::link::Links;
use self::queues::Queues;
use crate::drivers::netns::within;

pub(crate) use self::queues::PATH;

/// Makes devices whose packets the engine reads, and holds them.
#[derive(Debug, Default)]
pub struct DeviceDriver {
    held: BTreeMap<(Netns, String), Queues>,
}

/// What was done to one device, for whoever has to undo it.
enum Done<'a> {
    Made(&'a Device),
    Replaced(&'a Device, &'a Device),
}

impl DeviceDriver {
    /// A driver that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a device, or makes sure that it stands.
    fn put<'a>(
        &mut self,
        change: &Change<'a>,
        before: Option<&'a Device>,
        device: &'a Device,
    ) -> Result<Option<Done<'a>>, DriverError> {
        let Change {
            instance, netns, ..
        } = *change;
        let key = (netns.clone(), device.name.clone());
        let what = format!("make {device}");
        let explain = |fault: Fault| fault.explain(&what, &device.name, netns);
        if let Some(held) = self.held.get(&key)
            && before == Some(device)
        {
            // The engine reads it, and would not read another.
            return match held.name() {
                Some(called) if called == device.name => {
                    within(Domain::Device, netns, || make::fit(instance, device))?
                        .map_err(explain)
                        .map(|()| None)
                }
                Some(now) => Err(explain(Fault::Renamed(now))),
                None => Err(explain(Fault::Lost)),
            };
        }
        let standing = before.filter(|_| self.held.contains_key(&key));
        if self.held.contains_key(&key) {
            self.take(change, &device.name)?;
        }
        let made = within(Domain::Device, netns, || make::make(instance, device))?.map_err(explain);
        match made {
            Ok(queues) => {
                self.held.insert(key, queues);
                Ok(Some(match standing {
                    Some(old) => Done::Replaced(old, device),
                    None => Done::Made(device),
                }))
            }
            Err(error) => {
                if let Some(old) = standing {
                    self.put(change, None, old)?;
                }
                Err(error)
            }
        }
    }

    /// Removes a device, so that whoever reads it reads its end.
    fn take(&mut self, change: &Change<'_>, name: &str) -> Result<(), DriverError> {
        let Change {
            instance, netns, ..
        } = *change;
        let key = (netns.clone(), name.to_owned());
        // It may have been renamed; a descriptor knows.
        let called = self.held.get(&key).map(|held| held.name());
        let called = match &called {
            Some(Some(called)) => called,
            Some(None) | None => name,
        };
        within(Domain::Device, netns, || make::unmake(instance, called))?
            .map_err(|fault| fault.explain(&format!("remove device {name}"), name, netns))?;
        self.held.remove(&key);
        Ok(())
    }

    /// The step back.
    fn undo(&mut self, change: &Change<'_>, done: &Done<'_>) -> Result<(), DriverError> {
        match *done {
            Done::Made(device) => self.take(change, &device.name),
            Done::Replaced(old, new) => {
                self.take(change, &new.name)?;
                self.put(change, None, old).map(drop)
            }
        }
    }
}

impl Driver for DeviceDriver {
    fn domain(&self) -> Domain {
        Domain::Device
    }

    fn set(&mut self, change: &Change<'_>) -> Result<(), DriverError> {
        let (from, to) = (devices(change.from)?, devices(change.to)?);
        let of_name = |list: &[&'_ Device], name: &str| list.iter().any(|d| d.name == name);
        let mut done = Vec::new();
        let mut failed = None;
        for device in &to {
            let before = from.iter().find(|d| d.name == device.name).copied();
            match self.put(change, before, device) {
                Ok(step) => done.extend(step),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if failed.is_none() {
            let gone = from.iter().filter(|d| !of_name(&to, &d.name));
            for device in gone {
                if let Err(error) = self.take(change, &device.name) {
                    failed = Some(error);
                    break;
                }
            }
        }
        let Some(mut error) = failed else {
            return Ok(());
        };
        for step in done.into_iter().rev() {
            if let Err(more) = self.undo(change, &step) {
                error.what = format!("{}; and what was done before it stays: {more}", error.what);
            }
        }
        Err(error)
    }

    fn observe(&mut self, netns: &Netns) -> Result<Vec<Found>, DriverError> {
        let links = within(Domain::Device, netns, || Ok(Links::open()?.all()?))?;
        let links =
            links.map_err(|fault: Fault| fault.explain("look for our devices", "", netns))?;
        let found = links.into_iter().filter_map(|link| {
            Some(Found {
                domain: Domain::Device,
                netns: netns.clone(),
                instance: Some(link.owner()?),
                role: None,
                what: format!("{FOUND}{}", link.name),
            })
        });
        Ok(found.collect())
    }

    fn remove(&mut self, found: &Found) -> Result<(), DriverError> {
        let Found {
            netns,
            instance,
            what,
            ..
        } = found;
        let (Some(instance), Some(name)) = (instance, what.strip_prefix(FOUND)) else {
            return Ok(());
        };
        within(Domain::Device, netns, || make::unmake(instance, name))?
            .map_err(|fault| fault.explain(&format!("remove {what}"), name, netns))?;
        self.held.remove(&(netns.clone(), name.to_owned()));
        Ok(())
    }

    fn lifelines(&self) -> io::Result<Vec<Lifeline>> {
        let mut lifelines = Vec::new();
        for ((netns, name), queues) in &self.held {
            for (label, fd) in queues.duplicates(name)? {
                lifelines.push(Lifeline {
                    domain: Domain::Device,
                    netns: netns.clone(),
                    label: label.to_string(),
                    fd,
                });
            }
        }
        Ok(lifelines)
    }

    fn shared(&self) -> io::Result<Vec<Shared>> {
        let mut shared = Vec::new();
        for ((_, name), queues) in &self.held {
            for (label, fd) in queues.duplicates(name)? {
                let label = label.to_string();
                shared.push(Shared { label, fd });
            }
        }
        Ok(shared)
    }

    fn adopt(&mut self, lifeline: Lifeline) {
        let Lifeline {
            domain: _,
            netns,
            label,
            fd,
        } = lifeline;
        match label.parse() {
            Ok(DeviceQueue {
                name,
                queue,
                offloads,
            }) => self
                .held
                .entry((netns, name))
                .or_insert_with(|| Queues::empty(offloads))
                .insert(queue, fd),
            Err(error) => tracing::warn!(%error, "a lifeline of a device cannot be used"),
        }
    }
}

/// The devices of a list of objects.
fn devices(objects: &[Object]) -> Result<Vec<&Device>, DriverError> {
    fn device(object: &Object) -> Result<&Device, DriverError> {
        match object {
            Object::Device(device) => Ok(device),
            other => Err(DriverError::new(
                Domain::Device,
                format!("the driver of devices cannot make {other}"),
                "this is a mistake in steer: please report it with the output of steer plan",
            )),
        }
    }
    objects.iter().map(device).collect()
}

/// How what was found begins.
const FOUND: &str = "device ";
