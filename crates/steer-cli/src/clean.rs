//! `steer clean`: removes what a crash left behind.

use std::process::ExitCode;

use steer::kernel::drivers::Drivers;
use steer::kernel::journal::RunDir;
use steer::kernel::keeper::{self, Reach};
use steer::registry;

use crate::args::Clean;
use crate::failure::Failure;
use crate::{print, say};

/// Removes everything that carries our tags and belongs to nobody alive.
pub(crate) fn clean(args: &Clean) -> Result<ExitCode, Failure> {
    for steerer in registry::all() {
        let swept = steerer.sweep();
        let swept = swept.map_err(|error| Failure::new(&error, "look at what the path holds"))?;
        for line in swept {
            print(&format_args!("{line}\n"))?;
        }
    }
    let dir = RunDir::find().map_err(|error| Failure::new(&error, error.help()))?;
    let reach = if args.force { Reach::All } else { Reach::Dead };
    let mut drivers = Drivers::new(registry::drivers());
    let cleaned = keeper::clean(&mut drivers, &dir, reach)
        .map_err(|error| Failure::new(&error, error.help()))?;
    print(&cleaned)?;
    for failure in &cleaned.failures {
        say(&Failure::new(failure, failure.help()));
    }
    Ok(if cleaned.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
