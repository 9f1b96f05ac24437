//! Ports on which the engine takes connections.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::address::{Destination, Protocol};
use crate::method::Method;
use crate::policy::App;
use crate::symbol::ListenerId;

/// A port on which the engine takes connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name in the plan.
    pub id: ListenerId,
    /// The method that tells where its connections wanted to go.
    pub method: Method,
    /// The transport.
    pub protocol: Protocol,
    /// The addresses to listen on, all with one port.
    pub addresses: Vec<IpAddr>,
    /// The port; `None` lets the kernel choose.
    pub port: Option<u16>,
    /// A fixed destination of everything that connects here.
    pub to: Option<Destination>,
    /// Whose addresses its sockets may have.
    pub binding: Binding,
    /// What is spoken on its connections, whatever their port.
    pub app: Option<App>,
}

/// Whose addresses a listener's sockets may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Binding {
    /// Its own.
    #[default]
    Own,
    /// Any: packets come with the destination that the program asked for (IP_TRANSPARENT).
    Transparent,
    /// Every address of this host, for what comes by `lo`: a packet filter of the socket drops all
    /// else. It carries the engine's mark, by which hooks know it, and is not bound to the device, as
    /// they would not find it then (`bpf_sk_lookup_tcp` asks from none). It answers from addresses that
    /// are local by a route alone (IP_FREEBIND).
    Lo,
    /// Its own at a device that the plan makes, which is not there yet when the socket is bound
    /// (IP_FREEBIND). Whoever takes its connections binds it to the device (SO_BINDTODEVICE) before
    /// the first: from then on nothing reaches it but what the engine has written there.
    Device,
    /// None of the network: a unix socket (SOCK_STREAM) in the abstract namespace of its network
    /// namespace, by which code of ours in the program's processes speaks to the engine. Its name
    /// is nobody else's, and no secret (/proc/net/unix): both ends ask for the other's user
    /// (SO_PEERCRED).
    Control,
}

impl Listener {
    /// The socket addresses, with the given port.
    pub fn sockets(&self, port: u16) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses
            .iter()
            .map(move |ip| SocketAddr::new(*ip, port))
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.binding == Binding::Control {
            return write!(f, "control listener {} for {}", self.id, self.method);
        }
        write!(f, "listener {} {}", self.id, self.protocol)?;
        for ip in &self.addresses {
            match (self.port, ip) {
                (Some(port), ip) => write!(f, " {}", SocketAddr::new(*ip, port))?,
                (None, IpAddr::V4(ip)) => write!(f, " {ip}:{{{}}}", self.id)?,
                (None, IpAddr::V6(ip)) => write!(f, " [{ip}]:{{{}}}", self.id)?,
            }
        }
        write!(f, " for {}", self.method)?;
        if self.binding == Binding::Transparent {
            write!(f, ", transparent")?;
        }
        if let Some(to) = &self.to {
            write!(f, ", to {to}")?;
        }
        Ok(())
    }
}
