//! The `steer` command.
//!
//! ```text
//! args ─> steering (config, host, method, plan) ─┬─> plan: print it
//!                                                └─> session (keeper, engine) ─> run | up
//! ```
//!
//! Results go to stdout. What `steer` itself has to say goes to stderr, so that a command's own
//! streams stay its own.
#![forbid(unsafe_code)]

mod args;
mod check;
mod clean;
mod dial;
mod env;
mod events;
mod failure;
mod follow;
mod force;
mod hangup;
mod metrics;
mod nested;
mod notify;
mod passed;
mod plan;
mod records;
mod reload;
mod reset;
mod run;
mod secrecy;
mod session;
mod steering;
mod survivors;
mod trust;
mod up;
mod verify;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use steer::kernel::child::Inherited;
use steer::kernel::drivers::Drivers;
use steer::kernel::keeper;
use steer::registry;
use tracing_subscriber::EnvFilter;

use args::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    // The keeper is this program, executed again: it needs the drivers of every method.
    keeper::entry_with(|| Drivers::new(registry::drivers()));
    let inherited = Inherited::capture();
    let Cli { verbose, command } = Cli::parse();
    log(verbose);
    let inherited = match inherited {
        Ok(inherited) => inherited,
        Err(error) => {
            let what = format!("what the command inherits cannot be read from /proc: {error}");
            say(&Failure::plain(what, "mount it: mount -t proc proc /proc"));
            return ExitCode::from(STATUS_OURS);
        }
    };
    if let Err(error) = inherited.raise_open_files() {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    let done = match command {
        Command::Run(args) => return run::run(&args, inherited),
        Command::Up(args) => up::up(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Check(args) => check::check(&args),
        Command::Env(args) => env::env(&args),
        Command::Clean(args) => clean::clean(&args),
    };
    done.unwrap_or_else(|failure| {
        say(&failure);
        ExitCode::FAILURE
    })
}

/// Events go to stderr: warnings, more with `-v`, or what STEER_LOG asks for.
fn log(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("STEER_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .init();
}

/// Does asynchronous work.
///
/// Threads that still wait when it is done (a lookup by the C library may take minutes) hold
/// nothing that has to be undone, and end with the process.
fn complete<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(&error, "check `ulimit -u` and `ulimit -n`"))?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_TASKS);
    done
}

/// Prints a result.
fn print(text: &dyn Display) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(&error, "check where stdout goes"))
        }
        // Whoever closed the pipe has read enough.
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Says something on stderr; where that is closed there is nobody to tell.
fn say(text: &dyn Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// How long the runtime may take to drop tasks that are left; only where a thread waits for the
/// world outside it is needed.
const LAST_TASKS: Duration = Duration::from_secs(1);

/// The exit status of `run` for failures of its own, as `env` and `timeout` have it.
const STATUS_OURS: u8 = 125;

/// The exit status of `run --verify` where the command succeeded and packets escaped.
const STATUS_ESCAPED: u8 = 124;
