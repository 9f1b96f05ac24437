//! A host that is steered by a device.

use std::path::PathBuf;

use lab::{Family, Program};
use steer_tests::{Mount, Rig, Setup, Stage};

/// The methods.
pub(crate) const BOTH: [Mount; 2] = [Mount::Tun, Mount::Tap];

/// Two hosts, of which the first is steered.
#[derive(Debug)]
pub(crate) struct Scene {
    // Stopped before its hosts are gone.
    pub(crate) rig: Rig,
    pub(crate) stage: Stage,
}

impl Scene {
    /// With these lines of a config.
    pub(crate) fn new(label: &str, mount: Mount, policy: &str) -> Self {
        let setup = Setup {
            // What each reason is counted for is said at the end.
            variables: vec![("STEER_LOG", PathBuf::from("info,steer_tun=debug"))],
            ..Setup::policy(policy)
        };
        let stage = Stage::new(label);
        let rig = Rig::start(&stage.app, mount, &setup);
        Self { rig, stage }
    }

    /// The name of the device.
    pub(crate) fn device(&self, mount: Mount) -> String {
        format!("{}-{}", mount.method(), self.rig.name())
    }

    /// A program of the host that is steered.
    pub(crate) fn program(&self, program: &str) -> Program {
        self.stage.app.program(program)
    }
}

/// What `ping` and `traceroute` are told of a family.
pub(crate) fn dash(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}
