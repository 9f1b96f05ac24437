//! Really trying the method: every program is loaded, and attached to a cgroup that nobody is in.

use std::error::Error;

use steer_core::driver::{Change, Driver};
use steer_core::instance::Instance;
use steer_core::intent::{Intent, OnFailure};
use steer_core::object::{Carries, Entrance, Hooks, Object, Reach};
use steer_core::plan::Netns;
use steer_core::steerer::Evidence;
use steer_core::symbol::{CgroupRef, PortRef};
use steer_kernel::cgroup::{CgroupTree, Inhabitants};

use crate::driver::EbpfDriver;
use crate::plan;

/// Attaches the hooks below our own cgroup, and detaches them.
pub(crate) async fn really(intent: &Intent) -> Evidence {
    let intent = intent.clone();
    match tokio::task::spawn_blocking(move || attempt(&intent)).await {
        Ok(Ok(())) => Evidence::Works,
        Ok(Err(failed)) => failed,
        Err(error) => Evidence::Unknown {
            why: error.to_string(),
        },
    }
}

fn attempt(intent: &Intent) -> Result<(), Evidence> {
    let nowhere = |error: &dyn Error| Evidence::Unknown {
        why: format!("no cgroup could be made to try it in: {}", told(error)),
    };
    let tree = CgroupTree::open().map_err(|error| nowhere(&error))?;
    let own = CgroupTree::own().map_err(|error| nowhere(&error))?;
    let name = format!("steer-probe-{}", std::process::id());
    let path = match own.is_empty() {
        true => name.clone(),
        false => format!("{own}/{name}"),
    };
    tree.create(&path).map_err(|error| nowhere(&error))?;
    let instance =
        Instance::new(&format!("p{}", std::process::id())).expect("a name and a number are valid");
    let tried = attach(&instance, intent, &path);
    let removed = tree.remove(&path, Inhabitants::ToParent);
    tried?;
    removed.map_err(|error| nowhere(&error))
}

fn attach(instance: &Instance, intent: &Intent, path: &str) -> Result<(), Evidence> {
    let hooks = [Object::Hooks(Hooks {
        cgroups: vec![CgroupRef::Path(path.to_owned())],
        scope: Default::default(),
        within: Vec::new(),
        traffic: plan::hooked(intent),
        names: Default::default(),
        made_up: Vec::new(),
        reach: Reach::Here,
        families: Vec::new(),
        entrances: vec![Entrance {
            carries: Carries::Streams,
            port: PortRef::Fixed(UNUSED),
            external: None,
        }],
        bypass: intent.bypass,
        on_failure: OnFailure::Open,
        takes: false,
    })];
    let mut driver = EbpfDriver::new();
    let steps: [(&[Object], &[Object]); 2] = [(&[], &hooks), (&hooks, &[])];
    for (from, to) in steps {
        driver
            .set(&Change {
                instance,
                netns: &Netns::Here,
                from,
                to,
            })
            .map_err(|error| Evidence::Fails {
                why: told(&error),
                remedy: error.help().to_owned(),
            })?;
    }
    Ok(())
}

/// An error with all of its causes.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Nobody is in the cgroup, so that nothing is sent there.
const UNUSED: u16 = 1;
