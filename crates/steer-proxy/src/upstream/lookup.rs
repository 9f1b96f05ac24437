//! Names asked of the host's resolvers over the engine's own sockets.
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::ResolverBuilder;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioHandle, TokioTime};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::system_conf::parse_resolv_conf;
use nix::errno::Errno;
use steer_core::address::{Family, HostName};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Resolver, SocketFactory};

/// The host's resolvers (man 5 resolv.conf), or a chosen one, asked over the engine's own sockets.
///
/// For where the engine's sockets are not those of every program: the C library makes sockets of
/// its own, whose queries would be steered back to the engine, or leave by another namespace.
/// /etc/hosts and search domains hold as ever; other sources of the name service switch (mDNS,
/// LDAP) do not. Answers are kept for as long as they say.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use std::sync::Arc;
/// use steer_core::address::HostName;
/// use steer_proxy::upstream::{HostResolver, PlainSockets, Resolver};
///
/// let resolver = HostResolver::new(Arc::new(PlainSockets), None)?;
/// let localhost = HostName::new("localhost").unwrap();
/// let found = resolver.resolve(&localhost, 80).await?;
/// assert!(found.iter().all(|address| address.ip().is_loopback()));
/// # Ok(()) }
/// ```
pub struct HostResolver {
    asking: hickory_resolver::Resolver<Sockets>,
    sockets: Arc<dyn SocketFactory>,
}

impl HostResolver {
    /// A resolver that asks `chosen`, or else those of /etc/resolv.conf, by these sockets.
    ///
    /// # Errors
    /// The host's settings cannot be read.
    pub fn new(sockets: Arc<dyn SocketFactory>, chosen: Option<SocketAddr>) -> io::Result<Self> {
        let text = match std::fs::read("/etc/resolv.conf") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            text => text?,
        };
        Self::with(sockets, chosen, &text)
    }

    fn with(
        sockets: Arc<dyn SocketFactory>,
        chosen: Option<SocketAddr>,
        text: &[u8],
    ) -> io::Result<Self> {
        // Without any, it is the one on this host (man 5 resolv.conf).
        let local = b"\nnameserver 127.0.0.1\n";
        let (config, mut options) = parse_resolv_conf(text)
            .or_else(|_| parse_resolv_conf([text, local].concat()))
            .map_err(io::Error::other)?;
        let servers = match chosen {
            None => config.name_servers().to_vec(),
            Some(chosen) => vec![server(chosen)],
        };
        let domain = config.domain().cloned();
        let config = ResolverConfig::from_parts(domain, config.search().to_vec(), servers);
        limit(&mut options);
        let provider = Sockets {
            factory: Arc::clone(&sockets),
            handle: TokioHandle::default(),
        };
        let builder: ResolverBuilder<_> =
            hickory_resolver::Resolver::builder_with_config(config, provider);
        let asking = builder.with_options(options).build();
        Ok(Self {
            asking: asking.map_err(io::Error::other)?,
            sockets,
        })
    }

    /// Puts addresses that no route leads to behind the others, as getaddrinfo does (RFC 6724,
    /// rule 1). Connecting a UDP socket sends nothing.
    fn sort(&self, addresses: &mut [SocketAddr]) {
        let reachable = |address: &SocketAddr| {
            let socket = self.sockets.udp(Family::of(address.ip()));
            socket.is_ok_and(|socket| socket.connect(&(*address).into()).is_ok())
        };
        addresses.sort_by_cached_key(|address| !reachable(address));
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// Keeps a lookup within the time that a dial has, whatever the host's settings are.
fn limit(options: &mut ResolverOpts) {
    options.timeout = options.timeout.min(Duration::from_secs(3));
    options.attempts = options.attempts.min(3);
    options.cache_size = 1024;
    // An answer that changes is followed within minutes, also where it says otherwise.
    options.positive_max_ttl = Some(Duration::from_secs(300));
    options.negative_max_ttl = Some(Duration::from_secs(5));
}

#[async_trait]
impl Resolver for HostResolver {
    async fn resolve(&self, host: &HostName, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = match self.asking.lookup_ip(host.as_str()).await {
            Ok(found) => found,
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => return Ok(Vec::new()),
            Err(error) => return Err(io::Error::other(error)),
        };
        let at = |ip: IpAddr| SocketAddr::new(ip, port);
        let mut addresses: Vec<SocketAddr> = found.iter().map(at).collect();
        if addresses.len() > 1 {
            self.sort(&mut addresses);
        }
        Ok(addresses)
    }
}

impl fmt::Debug for HostResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostResolver")
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}

/// Gives the engine's sockets to the library that asks.
#[derive(Clone)]
struct Sockets {
    factory: Arc<dyn SocketFactory>,
    handle: TokioHandle,
}

type Made<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl RuntimeProvider for Sockets {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = UdpSocket;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> TokioHandle {
        self.handle.clone()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        bind: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Made<Self::Tcp> {
        let factory = Arc::clone(&self.factory);
        Box::pin(async move {
            let socket = factory.tcp(Family::of(server.ip()))?;
            if let Some(bind) = bind {
                socket.bind(&bind.into())?;
            }
            match socket.connect(&server.into()) {
                Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => {
                    return Err(error);
                }
                _ => {}
            }
            let stream = TcpStream::from_std(socket.into())?;
            timeout(limit.unwrap_or(CONNECT), stream.writable()).await??;
            stream.take_error()?.map_or(Ok(()), Err)?;
            Ok(AsyncIoTokioAsStd(stream))
        })
    }

    fn bind_udp(&self, local: SocketAddr, _server: SocketAddr) -> Made<UdpSocket> {
        let factory = Arc::clone(&self.factory);
        Box::pin(async move {
            let socket = factory.udp(Family::of(local.ip()))?;
            socket.bind(&local.into())?;
            UdpSocket::from_std(socket.into())
        })
    }
}

/// How long a connection to a resolver may take.
const CONNECT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
