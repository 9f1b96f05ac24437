//! What a command believes whose TLS is opened.

use steer::core::object::ChildSetting;
use steer::core::policy::{Inspect, Policy};
use steer::tls::{Authority, Trust};

use crate::failure::Failure;
use crate::say;

/// Has the command believe the local authority where a rule opens TLS. The files stay as long as
/// what is returned.
pub(crate) fn give(
    policy: &Policy,
    settings: &mut Vec<ChildSetting>,
) -> Result<Option<Trust>, Failure> {
    if !policy
        .rules
        .iter()
        .any(|rule| rule.tls == Inspect::Intercept)
    {
        return Ok(None);
    }
    let authority = Authority::folder_of(&policy.tls)
        .and_then(|folder| Authority::open(&folder))
        .map_err(|error| Failure::new(&error, error.help()))?;
    let trust = Trust::prepare(&authority, |name| std::env::var_os(name))
        .map_err(|error| Failure::new(&error, error.help()))?;
    for warning in trust.warnings() {
        say(&format_args!("steer: {warning}"));
    }
    // With mounts of its own it finds them in the place of the system's, too.
    let entered = settings
        .iter()
        .position(|setting| matches!(setting, ChildSetting::Enter(_)));
    if let Some(at) = entered {
        settings.splice(at + 1..at + 1, trust.covers());
    }
    settings.extend_from_slice(trust.settings());
    Ok(Some(trust))
}
