//! Processes that outlive the command: who they are and what becomes of them.
//!
//! Methods that put the command into a cgroup know them by that; namespaces and a loaded library
//! are looked for in `/proc`. A supervisor of system calls knows of no process that makes none, so
//! nothing is said of those that it leaves behind; the method's profile tells what becomes of them.

use std::io;
use std::path::PathBuf;

use steer::core::intent::OnFailure;
use steer::core::keeper::Released;
use steer::core::object::ChildSetting;
use steer::kernel::child::processes_with;
use steer::kernel::confine::Residents;

use crate::say;
use crate::session::Session;
use crate::steering::Decided;

/// How processes that outlive the command are found, once the steering has ended.
#[derive(Debug)]
pub(crate) enum Survivors {
    /// By the namespaces.
    Inside(Residents),
    /// By the library that is loaded.
    Loaded {
        library: PathBuf,
        on_failure: OnFailure,
    },
    /// By the keeper, if by anybody.
    Kept,
}

impl Survivors {
    /// As the steering in force has it; afterwards its namespaces could not be told.
    pub(crate) fn of(decided: &Decided, session: &Session) -> Self {
        if let Some(holder) = session.bindings().holder {
            match Residents::of(holder) {
                Ok(residents) => return Self::Inside(residents),
                Err(error) => tracing::warn!(%error, "who is in the namespaces cannot be told"),
            }
        }
        let library = session.child().iter().find_map(|setting| match setting {
            ChildSetting::Prepend { name, value } if name == "LD_PRELOAD" => Some(value.into()),
            _ => None,
        });
        match library {
            Some(library) => Self::Loaded {
                library,
                on_failure: decided.intent.failure(),
            },
            None => Self::Kept,
        }
    }

    /// Says who there is, and what becomes of them.
    pub(crate) fn report(&self, released: &Released) {
        if let Released::Lingers {
            processes,
            on_failure,
        } = released
        {
            let fate = match on_failure {
                OnFailure::Open => "their connections go direct from here on",
                OnFailure::Closed => "their connections are refused the network until they end",
            };
            return tell(processes, fate);
        }
        let (found, fate): (io::Result<Vec<u32>>, _) = match self {
            Self::Kept => return,
            Self::Inside(residents) => (residents.list(), "they have no network from here on"),
            Self::Loaded {
                library,
                on_failure,
            } => {
                let fate = match on_failure {
                    OnFailure::Open => "their connections go direct from here on",
                    OnFailure::Closed => "their connections are refused from here on",
                };
                (processes_with(library), fate)
            }
        };
        match found {
            Ok(processes) => tell(&processes, fate),
            Err(error) => tracing::warn!(%error, "who outlives the command cannot be told"),
        }
    }
}

fn tell(processes: &[u32], fate: &str) {
    if !processes.is_empty() {
        let list = list(processes);
        say(&format_args!(
            "steer: processes outlive the command ({list}); {fate}"
        ));
    }
}

/// The first of them, and how many more there are.
fn list(processes: &[u32]) -> String {
    let (listed, more) = processes.split_at(processes.len().min(LISTED));
    let mut list: Vec<_> = listed.iter().map(ToString::to_string).collect();
    if !more.is_empty() {
        list.push(format!("and {} more", more.len()));
    }
    list.join(", ")
}

/// How many processes are named.
const LISTED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_processes_ends_with_how_many_more_there_are() {
        assert_eq!(list(&[7, 8]), "7, 8");
        let many: Vec<u32> = (1..=18).collect();
        assert!(list(&many).ends_with(", 15, 16, and 2 more"));
    }
}
