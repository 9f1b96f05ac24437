//! What connections go by: the rules, and the proxies that they name.
use steer_core::policy::{Credentials, Policy, Upstream, UpstreamKind};

use super::EngineError;
use super::loops::Loops;
use super::rules::Rules;
use crate::upstream::{Login, SocketFactory};
use crate::value::Values;
use steer_core::address::Destination;

/// What connections go by. One keeps to what it met when it came: its own stands for as long as it
/// lives, whatever others go by since.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) rules: Rules,
    pub(super) proxies: Vec<Proxy>,
    /// What the rules put into fields.
    pub(super) values: Values,
}

/// A proxy that connections can be sent through, its secrets read.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) name: String,
    pub(super) kind: UpstreamKind,
    pub(super) address: Destination,
    pub(super) login: Option<Login>,
}

impl Course {
    /// Reads the secrets of a policy's upstreams.
    pub(super) fn new(
        policy: Policy,
        loops: &Loops,
        sockets: &dyn SocketFactory,
    ) -> Result<Self, EngineError> {
        let values = Values::new(&policy)?;
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
        let proxies = upstreams
            .into_iter()
            .map(|upstream| proxy(upstream, loops, sockets))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            rules,
            proxies,
            values,
        })
    }
}

fn proxy(
    upstream: Upstream,
    loops: &Loops,
    sockets: &dyn SocketFactory,
) -> Result<Proxy, EngineError> {
    let Upstream {
        name,
        kind,
        address,
        credentials,
        ..
    } = upstream;
    if let Destination::Addr(to) = &address
        && loops.leads_back(to.addr(), sockets)
    {
        return Err(EngineError::OwnUpstream {
            upstream: name,
            address: to.addr(),
        });
    }
    let login = credentials
        .map(|Credentials { username, password }| {
            password
                .reveal()
                .map(|password| Login { username, password })
        })
        .transpose()
        .map_err(|source| EngineError::Secret {
            upstream: name.clone(),
            source,
        })?;
    if let Some(login) = &login {
        login
            .sendable(kind)
            .map_err(|(part, why)| EngineError::Unsendable {
                upstream: name.clone(),
                part,
                why,
            })?;
    }
    Ok(Proxy {
        name,
        kind,
        address,
        login,
    })
}
