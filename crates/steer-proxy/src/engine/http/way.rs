//! Which connection a request takes.
use std::net::SocketAddr;

use steer_core::address::{Cidr, Destination};
use steer_tls::ServerName;

use super::super::entry::Route;

/// Which connection a request takes: requests with equal ways share connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Way {
    pub(in crate::engine) route: Route,
    pub(in crate::engine) place: Place,
    /// The name that the server proves, where TLS is spoken.
    pub(in crate::engine) tls: Option<ServerName<'static>>,
}

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Place {
    /// Where the program wanted to go, or its name, for a proxy; of its addresses these alone,
    /// where some are given.
    Own(Destination, Option<Vec<SocketAddr>>),
    /// Where the engine finds a name to be, whatever address the program chose.
    Found(Destination, Claimed),
}

/// Who said the name that the engine looks up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Claimed {
    /// A rule, so that its address may be any.
    ByRule,
    /// The program: an address that the rules reject is not for it, nor one outside of these
    /// networks, where there are some.
    ByProgram(Vec<Cidr>),
}

impl Place {
    /// What is asked for.
    pub(in crate::engine) fn destination(&self) -> &Destination {
        match self {
            Self::Own(to, _) | Self::Found(to, _) => to,
        }
    }
}
