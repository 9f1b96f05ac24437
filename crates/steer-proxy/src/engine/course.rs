//! What connections go by: the rules, and the proxies that they name.
mod checks;
mod proxies;

use steer_core::policy::Policy;

use super::EngineError;
use super::http::Means;
use super::loops::Loops;
use super::rules::Rules;
use crate::upstream::SocketFactory;
use crate::value::Values;

pub(super) use crate::upstream::proxy::Proxy;
pub(super) use checks::Checks;

/// What connections go by. One keeps to what it met when it came: its own stands for as long as it
/// lives, whatever others go by since.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) rules: Rules,
    pub(super) proxies: Vec<Proxy>,
    /// What the rules put into fields.
    pub(super) values: Values,
    /// What looking into connections takes.
    pub(super) means: Means,
}

impl Course {
    /// Reads the secrets of a policy's upstreams. Those that are as they were `before` stand as they
    /// stood.
    pub(super) fn new(
        policy: Policy,
        loops: &Loops,
        sockets: &dyn SocketFactory,
        before: &[Proxy],
    ) -> Result<Self, EngineError> {
        let values = Values::new(&policy)?;
        let means = Means::of(&policy)?;
        let Policy {
            upstreams,
            rules,
            tls: _,
        } = policy;
        let rules = Rules(rules);
        if let Some((rule, name)) = rules
            .upstreams()
            .find(|(_, name)| upstreams.iter().all(|up| up.name != *name))
        {
            return Err(EngineError::UnknownUpstream {
                rule: rule.name.clone(),
                upstream: name.to_owned(),
            });
        }
        let proxies = proxies::read(&upstreams, loops, sockets, before)?;
        Ok(Self {
            rules,
            proxies,
            values,
            means,
        })
    }
}
