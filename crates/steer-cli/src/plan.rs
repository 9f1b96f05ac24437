//! `steer plan`: what would be installed.

use std::process::ExitCode;

use steer::core::key::Key;
use steer::core::method::Method;
use steer::kernel::host;
use steer::registry;

use crate::args::{Plan, Steering};
use crate::failure::Failure;
use crate::print;
use crate::steering::{self, Decided, Purpose};

/// Prints the plan; changes nothing.
pub(crate) fn plan(args: &Plan) -> Result<ExitCode, Failure> {
    let given = args.host.as_deref().map(host::load).transpose();
    let given = given.map_err(|error| Failure::new(&error, error.help()))?;
    let purpose = if args.run || (args.steering.config.is_none() && can_run(&args.steering)) {
        Purpose::Command
    } else {
        Purpose::Config
    };
    if let Some(path) = &args.save_host {
        let facts = match given {
            Some(facts) => facts,
            None => steering::facts(&args.steering, purpose)?,
        };
        host::save(&facts, path).map_err(|error| Failure::new(&error, error.help()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let decided = Decided::planned(&args.steering, purpose, given)?;
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
