//! Work inside another network namespace, without leaving our own.

use std::fs::File;
use std::io;
use std::thread;

use nix::sched::{CloneFlags, setns};
use steer_core::driver::DriverError;
use steer_core::object::Domain;
use steer_core::plan::Netns;

/// Runs `work` in a network namespace.
///
/// A namespace with a path is entered by a thread of its own that ends with the work, so the
/// caller's never changes. What the work opens or starts stays in the namespace.
pub(crate) fn within<T: Send>(
    domain: Domain,
    netns: &Netns,
    work: impl FnOnce() -> T + Send,
) -> Result<T, DriverError> {
    let path = match netns {
        Netns::Here => return Ok(work()),
        Netns::Path(path) => path,
        other => {
            return Err(DriverError::new(
                domain,
                format!("could not enter network namespace {other:?}"),
                "give the namespace as a path: /run/netns/NAME or /proc/PID/ns/net",
            ));
        }
    };
    let entered = thread::scope(|scope| {
        scope
            .spawn(|| -> io::Result<T> {
                setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            })
            .join()
    });
    match entered {
        Ok(done) => done.map_err(|source| {
            DriverError::new(
                domain,
                format!("could not enter network namespace {path}"),
                "look for it with ip netns list; entering needs CAP_SYS_ADMIN: run as root",
            )
            .because(source)
        }),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
