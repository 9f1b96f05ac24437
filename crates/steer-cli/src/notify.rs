//! What a service manager that asked for it is told (sd_notify(3)).

use std::fmt::Display;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The steering is in force.
pub(crate) fn ready(status: &dyn Display) {
    tell(&format!("READY=1\nSTATUS={}", first_line(status)));
}

/// How often a manager that watches us wants to hear of us; none where it does not.
pub(crate) fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let ours = std::env::var_os("WATCHDOG_PID").is_none()
        || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
    // Twice in its time, as sd_watchdog_enabled(3) has it.
    let every = Duration::from_micros(number("WATCHDOG_USEC")? / 2);
    (ours && !every.is_zero()).then_some(every)
}

/// Tells a manager that watches us that we live, for as long as tasks have their turn.
pub(crate) async fn live(every: Duration) {
    let mut beat = tokio::time::interval(every);
    loop {
        beat.tick().await;
        tell("WATCHDOG=1");
    }
}

/// It ends.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

/// The configuration is read again; [`reloaded`] says what became of it.
pub(crate) fn reloading() {
    // The manager tells by it that what follows is not about an earlier signal. The clock is
    // always there; one that were not would leave the manager to its own.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1_000
    });
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
}

/// What was read is in force, or what was before is still.
pub(crate) fn reloaded(outcome: &dyn Display) {
    tell(&format!("READY=1\nSTATUS={}", first_line(outcome)));
}

/// A status is a line.
fn first_line(text: &dyn Display) -> String {
    let text = text.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

fn tell(state: &str) {
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
