//! What the engine and the holder of namespaces say to each other; `keeper::wire` carries it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use steer_core::instance::Instance;
use steer_core::object::{Listener, Namespace};
use steer_core::plan::Planned;

use crate::keeper::fault::Fault;
use crate::keeper::wire::Tag;

/// What the engine asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Leave the engine's namespaces for others; their users are not mapped yet.
    Unshare,
    /// Equip the namespaces, once users are mapped.
    Furnish(Namespace),
    /// Enter the namespaces that a holder left who is gone; they come beside, and after them the
    /// lifelines of what is in force there.
    Join {
        /// What the lifelines are.
        lifelines: Vec<Tag>,
        /// The paths that are covered.
        masked: Vec<String>,
    },
    /// Open the sockets of a listener.
    Listen(Box<Listener>),
    /// Have these objects in force in the place of others of the instance.
    Commit {
        instance: Instance,
        /// What stands.
        from: Vec<Planned>,
        /// What shall stand.
        to: Vec<Planned>,
    },
}

/// What the holder answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// It has left, and is this process.
    Unshared {
        /// The holder.
        pid: u32,
    },
    /// The namespaces can be used: of users, of the network, of mounts, and the socket by which
    /// others are asked for come beside.
    Furnished {
        /// The holder.
        pid: u32,
    },
    /// The sockets come beside.
    Listening { port: u16 },
    /// The listener could not be opened at this address.
    NotListening { address: SocketAddr, errno: i32 },
    /// Done; lifelines come beside.
    Done { lifelines: Vec<Tag> },
    /// Not done.
    Failed(Fault),
}

/// The answer to a `SocketWish`: the socket beside it, or the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// What the kernel says, where there is no socket.
    pub(super) errno: Option<i32>,
}
