//! Names asked of the host's resolvers over the engine's own sockets.
mod settings;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hickory_resolver::ResolverBuilder;
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioHandle, TokioTime};
use hickory_resolver::net::{DnsError, NetError};
use nix::errno::Errno;
use steer_core::address::{Family, HostName};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Resolver, SocketFactory};
use settings::{Settings, Stamp};

/// The host's resolvers (man 5 resolv.conf), or a chosen one, asked over the engine's own sockets.
///
/// For where the engine's sockets are not those of every program: the C library makes sockets of
/// its own, whose queries would be steered back to the engine, or leave by another namespace.
/// /etc/hosts and search domains hold as ever; other sources of the name service switch (mDNS,
/// LDAP) do not. Answers are kept for as long as they say, and the settings are read again when
/// they change.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use std::sync::Arc;
/// use steer_core::address::HostName;
/// use steer_proxy::upstream::{HostResolver, PlainSockets, Resolver};
///
/// let resolver = HostResolver::new(Arc::new(PlainSockets), None, Vec::new())?;
/// let localhost = HostName::new("localhost").unwrap();
/// let found = resolver.resolve(&localhost, 80).await?;
/// assert!(found.iter().all(|address| address.ip().is_loopback()));
/// # Ok(()) }
/// ```
pub struct HostResolver {
    settings: Settings,
    asking: Mutex<Asking>,
    sockets: Arc<dyn SocketFactory>,
}

/// Who asks, by the settings as they were read last.
struct Asking {
    by: Arc<Library>,
    read: Stamp,
    /// When the settings are looked at again.
    due: Instant,
}

type Library = hickory_resolver::Resolver<Sockets>;

impl HostResolver {
    /// A resolver that asks `chosen`, or else those of /etc/resolv.conf, by these sockets.
    ///
    /// `ours` are addresses at which the engine itself is the resolver: they are never asked.
    ///
    /// # Errors
    /// The host's settings cannot be read, or name nobody but us.
    pub fn new(
        sockets: Arc<dyn SocketFactory>,
        chosen: Option<SocketAddr>,
        ours: Vec<IpAddr>,
    ) -> io::Result<Self> {
        Self::with(sockets, Settings::of_host(chosen, ours))
    }

    fn with(sockets: Arc<dyn SocketFactory>, settings: Settings) -> io::Result<Self> {
        // Before the text: what changes in between is read again.
        let read = settings.stamp();
        let asking = Asking {
            by: Arc::new(library(&sockets, &settings)?),
            read,
            due: Instant::now() + LOOK,
        };
        Ok(Self {
            settings,
            asking: Mutex::new(asking),
            sockets,
        })
    }

    /// Who asks, by the settings as they are.
    fn asking(&self) -> Arc<Library> {
        // Each field is whole after every statement, so a panic elsewhere does not spoil it.
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now >= asking.due {
            asking.due = now + LOOK;
            let read = self.settings.stamp();
            if read != asking.read {
                asking.read = read;
                match library(&self.sockets, &self.settings) {
                    Ok(library) => asking.by = Arc::new(library),
                    // Written at this moment, or by whoever makes us the host's resolver: the
                    // last that was right holds.
                    Err(error) => tracing::info!(%error, "resolvers are asked as before"),
                }
            }
        }
        Arc::clone(&asking.by)
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

fn library(sockets: &Arc<dyn SocketFactory>, settings: &Settings) -> io::Result<Library> {
    let (config, options) = settings.read()?;
    let provider = Sockets {
        factory: Arc::clone(sockets),
        handle: TokioHandle::default(),
    };
    let builder: ResolverBuilder<_> =
        hickory_resolver::Resolver::builder_with_config(config, provider);
    builder
        .with_options(options)
        .build()
        .map_err(io::Error::other)
}

#[async_trait]
impl Resolver for HostResolver {
    async fn resolve(&self, host: &HostName, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = match self.asking().lookup_ip(host.as_str()).await {
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

/// How often the settings are looked at, at most.
const LOOK: Duration = Duration::from_secs(3);

/// How long a connection to a resolver may take.
const CONNECT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
