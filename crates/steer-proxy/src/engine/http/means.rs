//! What looking into connections takes: values, roots, an authority.
use std::sync::Arc;

use steer_core::policy::{Failing, Inspect, Policy};
use steer_tls::{Authority, Connector};

use super::super::EngineError;

/// What looking into connections takes; nothing where no rule of a policy does.
#[derive(Debug)]
pub(in crate::engine) struct Means {
    /// What begins TLS with servers.
    pub(in crate::engine) connector: Option<Arc<Connector>>,
    /// What makes the certificates that clients are shown.
    pub(in crate::engine) authority: Option<Arc<Authority>>,
    /// What becomes of clients that do not believe them.
    pub(in crate::engine) failing: Failing,
}

impl Means {
    /// Reads what a policy needs.
    pub(in crate::engine) fn of(policy: &Policy) -> Result<Self, EngineError> {
        let Policy { rules, tls, .. } = policy;
        let opens = rules.iter().any(|rule| rule.tls == Inspect::Intercept);
        let connector = match policy.looks_inside() {
            true => {
                let connector = Connector::new(tls).map_err(Box::new);
                Some(Arc::new(connector.map_err(EngineError::Connector)?))
            }
            false => None,
        };
        let authority = match opens {
            true => {
                let opened = Authority::folder_of(tls).and_then(|at| Authority::open(&at));
                let authority = opened.map_err(Box::new);
                Some(Arc::new(authority.map_err(EngineError::Authority)?))
            }
            false => None,
        };
        Ok(Self {
            connector,
            authority,
            failing: tls.failing,
        })
    }
}
