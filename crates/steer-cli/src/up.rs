//! `steer up`: what the config says, in the foreground.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::args::Up;
use crate::failure::Failure;
use crate::say;
use crate::session::Session;
use crate::steering::{Decided, Purpose};

/// Steers until a signal comes.
pub(crate) fn up(args: &Up) -> Result<ExitCode, Failure> {
    let runtime = crate::runtime()?;
    runtime.block_on(async {
        let decided = Decided::tried(&args.steering, Purpose::Config).await?;
        // Before anything is in force, so that no signal ends us with the host changed.
        let ended = signals().map_err(|error| Failure::new(&error, "start again"))?;
        let mut session = Session::start(&decided)?;
        let note = decided.announcement().unwrap_or_default();
        let plan = &decided.choice.plan;
        say(&format_args!(
            "steer: {} is in force by {}{}{note}",
            decided.intent.instance,
            plan.method,
            if note.is_empty() { "" } else { "; " },
        ));
        notify("READY=1");
        tokio::select! {
            () = ended => {}
            () = session.guard() => unreachable!("guarding never ends"),
        }
        notify("STOPPING=1");
        say(&format_args!("steer: {} stops", decided.intent.instance));
        session.stop(PATIENCE).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Waits for a signal that asks for an end.
fn signals() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Tells a service manager that asked for it (sd_notify(3)).
fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        match path.as_bytes().strip_prefix(b"@") {
            Some(name) => {
                let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
                socket.send_to_addr(state.as_bytes(), &address)
            }
            None => socket.send_to(state.as_bytes(), &path),
        }
    });
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager could not be told {state}");
    }
}

/// How long connections may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(10);
