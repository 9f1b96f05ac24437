//! Connections through a proxy.
use std::net::SocketAddr;
use std::sync::Arc;

use steer_core::address::{Destination, Family, HostName, Protocol};
use steer_core::policy::App;
use steer_core::proxy_protocol::{Header, Tlv, Version};
use steer_core::steered::Identity;

use super::super::Shared;
use super::super::course::Proxy;
use super::super::entry::Entry;
use super::{Failure, Opened, Opening};
use crate::upstream::direct::{Dialler, Terms};
use crate::upstream::proxy::{Call, Tunnel};

impl Opening {
    /// Connects through a proxy, by name where one is known.
    ///
    /// The client's first bytes are waited for while the proxy is dialled, and for the sniff limit
    /// at most: until the proxy is asked, no server can speak. A proxy that is told of the client
    /// first is dialled after that, because the name is part of what it is told.
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
        let told = proxy.hops().filter_map(Proxy::version).max();
        if unknown && speaks_first && told == Some(Version::V2) {
            self.sniff(entry, shared.limits.sniff).await?;
        }
        let header = introduction(entry, proxy);
        let dialler = Arc::clone(&entry.dialler);
        let call = Call {
            dialler: &dialler,
            header: header.as_ref(),
            terms,
        };
        let by_name = proxy.takes_names();
        let reach = async { proxy.reach(call).await.map_err(Failure::Upstream) };
        let reached = if unknown && speaks_first && by_name && !self.listened {
            tokio::try_join!(reach, self.sniff(entry, shared.limits.sniff))?.0
        } else {
            reach.await?
        };
        let target = if by_name {
            entry.target()
        } else {
            entry.destination.clone()
        };
        let addresses = proxy.resolved(&target, call).await?;
        let tunnel = match addresses {
            None => proxy.ask(reached, &target, call).await?,
            Some(addresses) => {
                drop(reached);
                proxy.open_any(&addresses, call).await?
            }
        };
        Ok(tunnel.into())
    }
}

/// Connects through a proxy to the first of the addresses that it reaches.
pub(in crate::engine) async fn through_to(
    addresses: &[SocketAddr],
    dialler: &Dialler,
    proxy: &Proxy,
    header: Option<&Header>,
    terms: Terms,
) -> Result<Opened, Failure> {
    let call = Call {
        dialler,
        header,
        terms,
    };
    Ok(proxy.open_any(addresses, call).await?.into())
}

/// Connects through a proxy to a destination.
pub(in crate::engine) async fn through_for(
    target: &Destination,
    dialler: &Dialler,
    proxy: &Proxy,
    header: Option<&Header>,
    terms: Terms,
) -> Result<Opened, Failure> {
    let call = Call {
        dialler,
        header,
        terms,
    };
    Ok(proxy.open(target, call).await?.into())
}

impl From<Tunnel> for Opened {
    fn from(Tunnel { dialled, prefix }: Tunnel) -> Self {
        Self { dialled, prefix }
    }
}

/// What a proxy, or one on the way to it, is told of a connection; none where none asks.
pub(super) fn introduction(entry: &Entry, proxy: &Proxy) -> Option<Header> {
    proxy.hops().find_map(Proxy::version)?;
    let name = match entry.target() {
        Destination::Name { host, .. } => Some(host),
        Destination::Addr(_) => None,
    };
    let whom = Whom {
        client: entry.client().0,
        destination: &entry.destination,
        name: name.as_ref(),
        identity: &entry.identity,
        app: entry.sniffer.conclude().app,
        id: entry.id.0,
    };
    whom.header(proxy)
}

/// What is known of a connection that a proxy is told of.
#[derive(Debug)]
pub(in crate::engine) struct Whom<'a> {
    pub(in crate::engine) client: SocketAddr,
    pub(in crate::engine) destination: &'a Destination,
    /// The name that the client goes to.
    pub(in crate::engine) name: Option<&'a HostName>,
    pub(in crate::engine) identity: &'a Identity,
    pub(in crate::engine) app: App,
    /// The number of the connection in the records.
    pub(in crate::engine) id: u64,
}

impl Whom<'_> {
    /// The header that tells it to a proxy; none where neither it nor one on the way to it asks.
    /// The header that tells it.
    pub(in crate::engine) fn header(&self, proxy: &Proxy) -> Option<Header> {
        proxy.hops().find_map(Proxy::version)?;
        let client = self.client;
        let destination = match self.destination {
            Destination::Addr(to) => to.addr(),
            // No address is known, and none is made up.
            Destination::Name { port, .. } => {
                SocketAddr::new(Family::of(client.ip()).unspecified(), *port)
            }
        };
        let mut header = Header::proxied(Protocol::Tcp, client, destination);
        let alpn: Option<&[u8]> = match self.app {
            App::Http1 => Some(b"http/1.1"),
            App::Http2 => Some(b"h2"),
            _ => None,
        };
        header.tlvs.extend(alpn.map(Tlv::alpn));
        header
            .tlvs
            .extend(self.name.map(|name| Tlv::authority(name.as_str())));
        header
            .tlvs
            .push(Tlv::unique_id(self.id.to_string().as_bytes()));
        header.tlvs.extend(Tlv::of(self.identity));
        Some(header)
    }
}
