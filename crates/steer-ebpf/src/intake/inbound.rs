//! TCP connections of other machines, which the lookup of sockets gives to the listener.

use std::fs;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use aya::maps::SockMap;
use steer_core::accept::{Accepted, Acceptor};
use steer_core::address::{Destination, canonical};
use steer_core::intake::{Intake, Sockets};
use steer_core::method::Method;
use steer_core::netns::Inside;
use steer_core::steered::{Flow, Identity, ResetAnswer, Steered, abort};
use steer_kernel::sock_diag::SockDiag;

use super::maps::Maps;

/// Connections that keep both of their addresses.
#[derive(Debug)]
pub(super) struct Inbound {
    acceptor: Acceptor,
    /// The listeners' own addresses.
    own: Vec<SocketAddr>,
    diag: SockDiag,
    refused: u64,
}

impl Inbound {
    /// Has the lookup give connections to these sockets; call it within a runtime.
    pub(super) fn new(sockets: Sockets, maps: &Maps, inside: &Inside) -> io::Result<Self> {
        let own = sockets.addresses()?;
        let sockets = sockets.streams()?;
        let mut listeners = SockMap::try_from(maps.open("LISTENERS")?).map_err(io::Error::other)?;
        for (socket, at) in sockets.iter().zip(&own) {
            let index = u32::from(at.is_ipv6());
            listeners.set(index, socket, 0).map_err(io::Error::other)?;
        }
        Ok(Self {
            acceptor: Acceptor::new(sockets)?,
            own,
            diag: inside.run(SockDiag::open)??,
            refused: 0,
        })
    }

    /// Whether a connection was addressed to the listener itself, or is one that the engine has
    /// dialled: what goes from one address of this host to another is looked up as well.
    fn is_none(&self, client: SocketAddr, local: SocketAddr) -> bool {
        if self.own.contains(&canonical(local)) {
            return true;
        }
        match self.diag.tcp_inode(client, local) {
            Ok(inode) => inode.is_some_and(is_ours),
            Err(error) => {
                tracing::debug!(%error, "who opened a connection cannot be told");
                false
            }
        }
    }
}

/// Whether a descriptor of this process is of a socket.
fn is_ours(inode: u32) -> bool {
    let name = format!("socket:[{inode}]");
    let all = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten();
    let mut links = all.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| link.as_os_str() == name.as_str())
}

#[async_trait]
impl Intake for Inbound {
    async fn next(&mut self) -> Option<Steered> {
        loop {
            let Accepted {
                stream,
                client,
                local,
            } = self.acceptor.accept().await;
            if !self.is_none(client.0, local) {
                return Some(Steered {
                    flow: Flow::Tcp(stream),
                    client,
                    destination: Destination::addr(local),
                    // The program is on another machine.
                    identity: Identity::default(),
                    via: Method::Ebpf,
                    upstream: None,
                    app: None,
                    inside: None,
                    answer: Box::new(ResetAnswer),
                });
            }
            self.refused += 1;
            tracing::debug!(%client, count = self.refused, "a connection was refused that came to the listener itself or from us");
            abort(stream);
        }
    }
}
