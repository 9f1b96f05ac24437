//! `steer check`: is the config right?

use std::process::ExitCode;

use steer::core::config::Config;
use steer::kernel::host;
use steer::registry;

use crate::args::Check;
use crate::failure::Failure;
use crate::print;

/// Reads the config and says whether it is right; does not ask whether this host can do it.
pub(crate) fn check(args: &Check) -> Result<ExitCode, Failure> {
    let config = Config::read(&args.config, &host::observe())
        .map_err(|error| Failure::new(&error, error.help()))?;
    if let Some(methods) = config.method.preferred()
        && methods
            .iter()
            .all(|method| registry::find(*method).is_none())
    {
        let built: Vec<_> = registry::all().iter().map(|s| s.method().name()).collect();
        return Err(Failure::plain(
            format!(
                "{}: the method {} is not in this build",
                args.config.display(),
                config.method
            ),
            format!("choose one of {}", built.join(", ")),
        ));
    }
    print(&format_args!(
        "{}: right; method {}, {} rules, {} upstreams\n",
        args.config.display(),
        config.method,
        config.policy.rules.len(),
        config.policy.upstreams.len(),
    ))
}
