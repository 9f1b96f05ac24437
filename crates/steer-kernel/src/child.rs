//! The command of `steer run`: started as the plan says, otherwise as if it had been run directly.
//!
//! The command stays in the caller's process group, as under `env` or `nice`: a terminal's keys
//! reach it directly, pipelines and `kill 0` work, and an interactive shell makes itself a group
//! of its own. What only reaches the caller is passed on ([`Running::wait`]), and a stop of the
//! command stops the caller too, so that the shell sees the job stop.
//!
//! So are the descriptors that the caller was given. Some of them lead out of namespaces of the
//! command's own: [`Passed`] tells which.

mod exit;
mod inherited;
mod loaded;
mod passed;
mod running;
mod spawner;
mod steps;

pub use exit::Exit;
pub(crate) use inherited::Files;
pub use inherited::Inherited;
pub use loaded::processes_with;
pub use passed::{Leads, Passed};
pub use running::Running;
pub use spawner::{SpawnError, Spawner};
pub(crate) use steps::{Step, Steps};
