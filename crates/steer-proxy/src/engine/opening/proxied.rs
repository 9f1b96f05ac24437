//! Connections through a proxy.
use std::net::SocketAddr;
use std::sync::Arc;

use steer_core::address::Destination;
use steer_core::policy::UpstreamKind;
use tokio::time::timeout_at;

use super::super::Shared;
use super::super::course::Proxy;
use super::super::entry::Entry;
use super::{Failure, Opened, Opening};
use crate::error::UpstreamError;
use crate::upstream::direct::{Dialled, Dialler, Terms};
use crate::upstream::{connect, socks5};

impl Opening {
    /// Connects through a proxy, by name where one is known.
    ///
    /// The client's first bytes are waited for while the proxy is dialled, and for the sniff limit
    /// at most: until the proxy is asked, no server can speak.
    pub(super) async fn through(
        &mut self,
        entry: &mut Entry,
        shared: &Shared,
        proxy: &Proxy,
        terms: Terms,
    ) -> Result<Opened, Failure> {
        let unknown = !entry.is_named() && !entry.sniffer.verdict().is_decided();
        // It may have had its time already, because the rules wanted to see its bytes.
        let speaks_first = !self.listened
            && self
                .answer
                .as_ref()
                .is_none_or(|answer| !answer.is_awaited());
        let dialler = Arc::clone(&entry.dialler);
        let dial = dialler.dial(&proxy.address, terms);
        let dialled = if unknown && speaks_first {
            let dial = async { dial.await.map_err(Failure::Upstream) };
            tokio::try_join!(dial, self.sniff(entry, shared.limits.sniff))?.0
        } else {
            dial.await?
        };
        ask(proxy, dialled, &entry.target(), terms).await
    }
}

/// Connects through a proxy to the first of the addresses that it reaches.
pub(in crate::engine) async fn through_to(
    addresses: &[SocketAddr],
    dialler: &Dialler,
    proxy: &Proxy,
    terms: Terms,
) -> Result<Opened, Failure> {
    let mut last = UpstreamError::Deadline(proxy.address.clone());
    for (index, address) in addresses.iter().enumerate() {
        let share = terms.share(addresses.len() - index);
        let dialled = dialler.dial(&proxy.address, share).await?;
        match ask(proxy, dialled, &Destination::addr(*address), share).await {
            // The proxy works, so what it says is about the address.
            Err(Failure::Upstream(
                error @ (UpstreamError::Socks5(_)
                | UpstreamError::Status(_)
                | UpstreamError::Deadline(_)),
            )) => last = error,
            asked => return asked,
        }
    }
    Err(last.into())
}

/// Connects through a proxy to a destination.
pub(in crate::engine) async fn through_for(
    target: &Destination,
    dialler: &Dialler,
    proxy: &Proxy,
    terms: Terms,
) -> Result<Opened, Failure> {
    let dialled = dialler.dial(&proxy.address, terms).await?;
    ask(proxy, dialled, target, terms).await
}

/// Asks a proxy for a destination.
async fn ask(
    proxy: &Proxy,
    mut dialled: Dialled,
    target: &Destination,
    terms: Terms,
) -> Result<Opened, Failure> {
    let login = proxy.login.as_ref();
    let stream = &mut dialled.stream;
    let asked = async {
        match proxy.kind {
            UpstreamKind::Socks5 => socks5::connect(stream, target, login).await,
            UpstreamKind::Http => connect::connect(stream, target, login).await,
            UpstreamKind::Tcp => Ok(Vec::new()),
        }
    };
    match timeout_at(terms.deadline, asked).await {
        Ok(Ok(prefix)) => Ok(Opened { dialled, prefix }),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(UpstreamError::Deadline(proxy.address.clone()).into()),
    }
}
