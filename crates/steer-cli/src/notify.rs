//! What a service manager that asked for it is told (sd_notify(3)).

use std::fmt::Display;
use std::os::unix::net::UnixDatagram;

use nix::time::{ClockId, clock_gettime};

/// The steering is in force.
pub(crate) fn ready() {
    tell("READY=1");
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
    let text = outcome.to_string();
    // A status is a line.
    let line = text.lines().next().unwrap_or_default();
    tell(&format!("READY=1\nSTATUS={line}"));
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
