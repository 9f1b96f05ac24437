//! The hosts of a case about forwarded traffic.

use std::net::SocketAddr;

use lab::{Family, Host, Interface, Lab};

/// Three hosts in a row: a client that knows nothing, a router with `steer`, and the servers.
#[derive(Debug)]
pub struct Gateway {
    /// The lab, for more hosts.
    pub lab: Lab,
    /// Where the clients are.
    pub app: Host,
    /// The router between them, where `steer` is.
    pub gate: Host,
    /// Where the servers are.
    pub srv: Host,
    /// The router's interface to the clients.
    pub inner: Interface,
    /// Its interface to the servers.
    pub outer: Interface,
}

impl Gateway {
    /// Opens a lab with all hosts.
    pub fn new(label: &str) -> Self {
        let lab = Lab::new(label);
        let (app, gate, srv) = (lab.host("app"), lab.router("gate"), lab.host("srv"));
        let (_, inner) = lab.link(&app, &gate);
        let (outer, _) = lab.link(&gate, &srv);
        Self {
            lab,
            app,
            gate,
            srv,
            inner,
            outer,
        }
    }

    /// The address of a port of `srv`.
    pub fn at(&self, family: Family, port: u16) -> SocketAddr {
        self.srv.at(family, port)
    }

    /// The router's address towards the servers.
    pub fn outside(&self, family: Family) -> std::net::IpAddr {
        match family {
            Family::V4 => self.outer.v4.into(),
            Family::V6 => self.outer.v6.into(),
        }
    }

    /// The scope of what the clients send.
    pub fn scope(&self) -> String {
        format!("{{ interface: [{}] }}", self.inner.name)
    }
}
