//! Addresses of names.
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use steer_core::address::HostName;

/// Looks names up: a namespace or a method with names of its own brings another one, and the rest
/// of the engine does not know.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync {
    /// The addresses of a name, the preferred one first, each with the port.
    ///
    /// # Errors
    /// What the resolver says. The caller has a deadline and drops the future when it passes.
    async fn resolve(&self, host: &HostName, port: u16) -> io::Result<Vec<SocketAddr>>;
}

#[async_trait]
impl<T: Resolver + ?Sized> Resolver for Arc<T> {
    async fn resolve(&self, host: &HostName, port: u16) -> io::Result<Vec<SocketAddr>> {
        (**self).resolve(host, port).await
    }
}

/// The resolvers that this host is set up to ask (man 5 resolv.conf); none where nothing is set.
pub fn nameservers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = (words.next() == Some("nameserver")).then(|| words.next());
        let address: IpAddr = address??.parse().ok()?;
        Some(SocketAddr::new(address, 53))
    };
    text.lines().filter_map(server).collect()
}

/// The host's resolver, as every program uses it (man 3 getaddrinfo).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &HostName, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((host.as_str(), port)).await?;
        Ok(found.collect())
    }
}
