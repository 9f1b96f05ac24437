//! `steer plan`: what would be installed.

use std::process::ExitCode;

use steer::core::key::Key;
use steer::core::method::Method;
use steer::kernel::host;
use steer::registry;

use crate::args::{Plan, Steering};
use crate::failure::Failure;
use crate::print;
use crate::steering::{Decided, Purpose};

/// Prints the plan; changes nothing.
pub(crate) fn plan(args: &Plan) -> Result<ExitCode, Failure> {
    let facts = match &args.host {
        Some(path) => host::load(path).map_err(|error| Failure::new(&error, error.help()))?,
        None => host::observe(),
    };
    if let Some(path) = &args.save_host {
        host::save(&facts, path).map_err(|error| Failure::new(&error, error.help()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let purpose = if args.run || (args.steering.config.is_none() && can_run(&args.steering)) {
        Purpose::Command
    } else {
        Purpose::Config
    };
    let decided = Decided::planned(&args.steering, purpose, facts)?;
    let choice = &decided.choice;
    if args.json {
        let text =
            serde_json::to_string_pretty(&choice.plan).map_err(|error| Failure::new(&error, ""))?;
        return print(&format_args!("{text}\n"));
    }
    let mut out = choice.plan.to_string();
    for refused in &choice.refused {
        out.push_str(&format!("note: {refused}\n"));
    }
    print(&out)
}

/// Whether any method that may be used steers commands.
fn can_run(steering: &Steering) -> bool {
    let chosen = steering
        .method
        .as_ref()
        .and_then(|choice| choice.preferred());
    let runs = |method: &Method| {
        registry::find(*method).is_none_or(|s| s.profile().keys.contains(&Key::Command))
    };
    chosen.is_none_or(|methods| methods.iter().any(runs))
}
