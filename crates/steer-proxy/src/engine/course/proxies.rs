//! The proxies of a policy, ready to be dialled.
use std::sync::Arc;

use steer_core::address::Destination;
use steer_core::policy::{Certificate, Credentials, Tls, Upstream, UpstreamTls};
use steer_tls::{Connector, ServerName};

use super::super::EngineError;
use super::super::loops::Loops;
use crate::upstream::proxy::{Proxy, Sealing};
use crate::upstream::standing::Standing;
use crate::upstream::{Login, SocketFactory};

/// Reads the secrets and certificates of upstreams, and joins those that go through each other.
pub(super) fn read(
    upstreams: &[Upstream],
    loops: &Loops,
    sockets: &dyn SocketFactory,
    before: &[Proxy],
) -> Result<Vec<Proxy>, EngineError> {
    for Upstream { name, via, .. } in upstreams {
        if let Some(via) = via
            && upstreams.iter().all(|other| other.name != *via)
        {
            return Err(EngineError::UnknownVia {
                upstream: name.clone(),
                via: via.clone(),
            });
        }
    }
    let mut read: Vec<Option<Proxy>> = upstreams.iter().map(|_| None).collect();
    // Whoever is reached through another one comes after it.
    while read.iter().any(Option::is_none) {
        let mut known = None;
        for (index, upstream) in upstreams.iter().enumerate() {
            let via = match &upstream.via {
                _ if read[index].is_some() => continue,
                None => None,
                Some(via) => {
                    let through = read.iter().flatten().find(|proxy| proxy.name == *via);
                    let Some(through) = through else { continue };
                    Some(Arc::new(through.clone()))
                }
            };
            known = Some(index);
            read[index] = Some(proxy(upstream, via, loops, sockets, before)?);
        }
        if known.is_none() {
            let missing = read.iter().position(Option::is_none);
            let upstream = &upstreams[missing.expect("one is not read")];
            return Err(EngineError::Circle(upstream.name.clone()));
        }
    }
    Ok(read.into_iter().flatten().collect())
}

fn proxy(
    upstream: &Upstream,
    via: Option<Arc<Proxy>>,
    loops: &Loops,
    sockets: &dyn SocketFactory,
    before: &[Proxy],
) -> Result<Proxy, EngineError> {
    let Upstream {
        name,
        kind,
        credentials,
        tls,
        ..
    } = upstream;
    // What is reached through another proxy is dialled by that one, from where it is.
    let places = upstream.places().filter(|_| via.is_none());
    for place in places {
        if let Destination::Addr(to) = place
            && loops.leads_back(to.addr(), sockets)
        {
            return Err(EngineError::OwnUpstream {
                upstream: name.clone(),
                address: to.addr(),
            });
        }
    }
    let login = credentials
        .as_ref()
        .map(|Credentials { username, password }| {
            let username = username.clone();
            let password = password.reveal();
            password.map(|password| Login { username, password })
        });
    let login = login.transpose().map_err(|source| EngineError::Secret {
        upstream: name.clone(),
        source,
    })?;
    if let Some(login) = &login {
        login
            .sendable(*kind)
            .map_err(|(part, why)| EngineError::Unsendable {
                upstream: name.clone(),
                part,
                why,
            })?;
    }
    let sealing = tls.as_ref().map(|tls| sealing(upstream, tls));
    let stood = before.iter().find(|other| other.standing.is_of(upstream));
    Ok(Proxy {
        name: name.clone(),
        kind: *kind,
        login,
        via,
        sealing: sealing.transpose()?.map(Arc::new),
        standing: match stood {
            Some(proxy) => Arc::clone(&proxy.standing),
            None => Arc::new(Standing::new(upstream.clone())),
        },
    })
}

/// Reads the certificates of an upstream.
fn sealing(upstream: &Upstream, tls: &UpstreamTls) -> Result<Sealing, EngineError> {
    let UpstreamTls {
        name,
        roots,
        certificate,
    } = tls;
    let names: Vec<ServerName<'static>> = upstream
        .places()
        .map(|place| match (name, place) {
            (Some(name), _) | (None, Destination::Name { host: name, .. }) => {
                ServerName::try_from(name.as_str().to_owned())
                    .map_err(|_| EngineError::ServerName(name.clone()))
            }
            (None, Destination::Addr(at)) => Ok(ServerName::from(at.addr().ip().to_canonical())),
        })
        .collect::<Result<_, _>>()?;
    let hosts = names.iter().filter_map(|name| name.to_str().parse().ok());
    let certificates = certificate.iter().map(|certificate| Certificate {
        host: hosts.clone().collect(),
        chain: certificate.chain.clone(),
        key: certificate.key.clone(),
    });
    let connector = Connector::new(&Tls {
        roots: roots.clone(),
        certificates: certificates.collect(),
        ..Tls::default()
    });
    Ok(Sealing {
        connector: connector.map_err(|source| EngineError::Sealing {
            upstream: upstream.name.clone(),
            source: Box::new(source),
        })?,
        names,
    })
}
