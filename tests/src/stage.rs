//! The hosts of a case.

use std::net::{IpAddr, SocketAddr};

use lab::{Family, Host, Lab, Server, Service};

/// Two hosts and a link: programs run on `app`, and their servers on `srv`.
#[derive(Debug)]
pub struct Stage {
    /// The lab, for more hosts.
    pub lab: Lab,
    /// Where `steer` and the clients are.
    pub app: Host,
    /// Where the servers are.
    pub srv: Host,
}

impl Stage {
    /// Opens a lab with both hosts.
    pub fn new(label: &str) -> Self {
        let lab = Lab::new(label);
        let (app, srv) = (lab.host("app"), lab.host("srv"));
        lab.link(&app, &srv);
        Self { lab, app, srv }
    }

    /// The address of a port of `srv`.
    pub fn at(&self, family: Family, port: u16) -> SocketAddr {
        self.srv.at(family, port)
    }

    /// Serves a port of `srv` and gives the server with its IPv4 address.
    pub fn serve(&self, port: u16, service: Service) -> (Server, SocketAddr) {
        (self.srv.serve(port, service), self.at(Family::V4, port))
    }

    /// One more address of `srv`, reached through the link.
    pub fn another_address(&self, family: Family, n: u8) -> IpAddr {
        let address = family.foreign(n);
        self.srv.add_address(address);
        address
    }
}
