//! `steer env`: the variables that bring programs to a port, for a shell.
//!
//! ```text
//! --listen, config or default ─> port ─> plan of the method env ─> variables ─> shell
//! ```
//!
//! The variables are those of `steer run -m env`: its plan is made for the port, and its settings
//! are printed instead of given to a command.

mod port;
mod shell;
mod variables;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Env;
use crate::failure::Failure;
use port::Port;
use variables::Variables;

/// Prints the variables; nothing is printed where something is wrong, so that `eval` does nothing.
pub(crate) fn env(args: &Env) -> Result<ExitCode, Failure> {
    let Env {
        listen,
        config,
        shell,
        unset,
    } = args;
    let variables = if *unset {
        Variables::new(&Port::default())?.unset()
    } else {
        Variables::new(&Port::find(*listen, config.as_deref())?)?.set()?
    };
    let text = shell::text(&variables, *shell)
        .map_err(|error| Failure::plain(error.to_string(), error.help()))?;
    let mut out = io::stdout().lock();
    match out.write_all(&text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(&error, "check where stdout goes"))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
