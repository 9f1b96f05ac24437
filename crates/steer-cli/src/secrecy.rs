//! What is in our memory is for nobody else.

use nix::sys::prctl::set_dumpable;
use steer::core::policy::Policy;

use crate::failure::Failure;

/// Where a policy has secrets, has the kernel write no core dump of this process, and let no other
/// process of the user read its memory and environment: a program that is steered is one.
///
/// What is begun from here on is not affected: a program that is executed starts open.
pub(crate) fn keep(policy: &Policy) -> Result<(), Failure> {
    if !policy.has_secrets() {
        return Ok(());
    }
    set_dumpable(false).map_err(|errno| {
        let error = std::io::Error::from(errno);
        Failure::new(
            &error,
            "the kernel has to keep other processes from our memory",
        )
    })
}
