//! Sockets of ours, in the network namespace of the program.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;
use steer_core::address::Family;
use steer_core::netns::{MakeSockets, SocketKind, SocketWish};
use steer_core::object::Binding;

/// Makes sockets: here, or by somebody in a namespace that we cannot enter.
#[derive(Clone, Debug)]
pub(super) struct Maker(pub(super) Option<Arc<dyn MakeSockets>>);

impl Maker {
    /// A nonblocking, close-on-exec socket whose connections are reset should this process die.
    pub(super) fn socket(&self, family: Family) -> io::Result<Socket> {
        let wish = SocketWish {
            family,
            kind: SocketKind::Stream,
            binding: Binding::Own,
            mark: None,
            bind: None,
        };
        let made = match &self.0 {
            Some(inside) => inside.make(&wish),
            None => wish.open(),
        };
        let socket = Socket::from(made?);
        if family == Family::V6 {
            socket.set_only_v6(true)?;
        }
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_tcp_nodelay(true)?;
        Ok(socket)
    }
}
