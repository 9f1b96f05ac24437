//! A plan in force.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain as SocketDomain, Socket, TcpKeepalive, Type};
use tokio::net::unix::pipe::Receiver;

use crate::address::Protocol;
use crate::intake::Bound;
use crate::intent::Intent;
use crate::keeper::{EngageError, Job, Keeper, KeeperError, Released};
use crate::object::{ChildSetting, Listener, Object};
use crate::plan::{Netns, Plan};
use crate::symbol::Bindings;

/// A plan in force: losing it undoes it.
///
/// Listeners accept before anything steers; dropping the guard releases the host's objects, also
/// on a panic.
#[derive(Debug)]
#[must_use = "dropping it stops the steering"]
pub struct Engaged {
    keeper: Box<dyn Keeper>,
    bindings: Bindings,
    bound: Vec<Bound>,
    child: Vec<ChildSetting>,
    released: bool,
}

impl Engaged {
    /// Opens the plan's listeners, then has the keeper make the host's objects.
    ///
    /// `own_cgroup` is the caller's cgroup, below which a command's is made.
    ///
    /// # Errors
    /// Nothing is changed when an error is returned.
    pub fn engage(
        mut keeper: Box<dyn Keeper>,
        intent: &Intent,
        plan: &Plan,
        own_cgroup: Option<&str>,
    ) -> Result<Self, EngageError> {
        let mut bindings = Bindings::new(intent.instance.clone());
        if plan.wants_command_cgroup() {
            bindings.command_cgroup = own_cgroup.map(|own| {
                let name = format!("steer-{}", intent.instance);
                if own.is_empty() {
                    name
                } else {
                    format!("{own}/{name}")
                }
            });
        }
        keeper.await_predecessors()?;
        let mut bound: Vec<Bound> = Vec::new();
        for planned in &plan.objects {
            if let Object::Listener(listener) = &planned.object {
                supported(listener, &planned.netns)?;
                let (port, sockets) = listen(listener)?;
                bindings.ports.insert(listener.id.clone(), port);
                bound.push(Bound {
                    listener: Listener {
                        port: Some(port),
                        ..listener.clone()
                    },
                    sockets,
                });
            }
        }
        let child = plan
            .objects
            .iter()
            .filter(|p| matches!(p.object, Object::Child(_)))
            .map(|p| p.object.resolve(&bindings))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .filter_map(|object| match object {
                Object::Child(setting) => Some(setting.reveal()),
                _ => None,
            })
            .collect::<Result<Vec<_>, _>>()?;
        let job = Job {
            method: plan.method,
            on_failure: intent.failure(),
            scope: intent.scope.clone(),
            objects: plan.host_objects(&bindings)?,
            bindings: bindings.clone(),
        };
        let listeners: Vec<_> = bound
            .iter()
            .flat_map(|b| &b.sockets)
            .map(AsFd::as_fd)
            .collect();
        keeper.hold(&listeners)?;
        keeper.commit(&job)?;
        Ok(Self {
            keeper,
            bindings,
            bound,
            child,
            released: false,
        })
    }

    /// The values that the plan's symbols got.
    #[must_use]
    pub const fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    /// Hands over the listeners, for [`Steerer::intake`](crate::steerer::Steerer::intake).
    pub fn take_bound(&mut self) -> Vec<Bound> {
        std::mem::take(&mut self.bound)
    }

    /// How the command has to be started.
    #[must_use]
    pub fn child(&self) -> &[ChildSetting] {
        &self.child
    }

    /// Takes no further flow and lets those that were taken go on; call before draining.
    pub fn retire(&mut self) -> Result<(), KeeperError> {
        self.keeper.retire()
    }

    /// Waits until the keeper is gone, for ever where it cannot be; then [`Engaged::restore`].
    ///
    /// Cancel safe. Needs a tokio runtime.
    pub fn lost(&self) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        let end = self
            .keeper
            .lost()?
            .map(|pipe| Receiver::from_owned_fd(pipe.into()))
            .transpose()?;
        Ok(async move {
            match end {
                // An error of the poll is an end as well: `restore` finds out.
                Some(pipe) => drop(pipe.readable().await),
                None => std::future::pending().await,
            }
        })
    }

    /// Puts a successor in the place of a keeper that is gone.
    pub fn restore(&mut self) -> Result<(), KeeperError> {
        self.keeper.restore()
    }

    /// Undoes the plan.
    pub fn release(mut self) -> Result<Released, KeeperError> {
        self.released = true;
        self.keeper.release()
    }
}

impl Drop for Engaged {
    fn drop(&mut self) {
        if !self.released
            && let Err(error) = self.keeper.release()
        {
            tracing::warn!(%error, help = error.help(), "the steering could not be undone");
        }
    }
}

/// Refuses what would otherwise become a listener of another kind or in another place.
fn supported(listener: &Listener, netns: &Netns) -> Result<(), EngageError> {
    let refuse = |what| {
        Err(EngageError::Unsupported {
            id: listener.id.to_string(),
            what,
        })
    };
    match (netns, listener.protocol) {
        (Netns::Here, Protocol::Tcp) => Ok(()),
        (Netns::Here, Protocol::Udp) => refuse("UDP listeners are not built yet"),
        (Netns::Path(_), _) => refuse("listeners in other namespaces are not built yet"),
    }
}

/// One socket an address, all with the same port.
fn listen(listener: &Listener) -> Result<(u16, Vec<TcpListener>), EngageError> {
    let mut last = None;
    for _ in 0..PORT_TRIES {
        match listen_once(listener) {
            Ok(done) => return Ok(done),
            Err((address, source)) => {
                // The kernel chose the first address's port; the second may have it in use.
                let retry = listener.port.is_none() && source.kind() == io::ErrorKind::AddrInUse;
                last = Some(EngageError::Listen {
                    id: listener.id.to_string(),
                    address,
                    source,
                });
                if !retry {
                    break;
                }
            }
        }
    }
    Err(last.expect("a listener is tried at least once"))
}

fn listen_once(listener: &Listener) -> Result<(u16, Vec<TcpListener>), (SocketAddr, io::Error)> {
    let mut port = listener.port.unwrap_or(0);
    let mut sockets = Vec::new();
    if let (0, Some(ip)) = (port, listener.addresses.first()) {
        // A port that the kernel gives to a bind is lost when the socket stops listening; one that
        // was asked for by number stays until the socket is closed, which keepers rely on.
        let address = SocketAddr::new(*ip, 0);
        let any = TcpListener::bind(address).map_err(|e| (address, e))?;
        port = any.local_addr().map_err(|e| (address, e))?.port();
    }
    for ip in &listener.addresses {
        let address = SocketAddr::new(*ip, port);
        let socket = open(address).map_err(|e| (address, e))?;
        sockets.push(socket);
    }
    Ok((port, sockets))
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        SocketDomain::for_address(address),
        Type::STREAM.nonblocking(),
        None,
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for TIME_WAIT of connections that the last run closed first.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it: a process killed before it accepted resets its clients too.
    socket.set_linger(Some(Duration::ZERO))?;
    // Inherited as well. conntrack forgets a half-closed connection that is silent for a minute;
    // what its client sends then would no longer be rewritten and go in clear.
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3);
    socket.set_tcp_keepalive(&keepalive)?;
    // Inherited too: a relay has nothing to gain from holding small segments back.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// As long as the kernel lets it be; `net.core.somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// Less than `nf_conntrack_tcp_timeout_close_wait`, the shortest after which conntrack forgets.
const KEEPALIVE: Duration = Duration::from_secs(45);

/// How often a port is sought that is free on every address.
const PORT_TRIES: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::*;
    use crate::address::Family;
    use crate::instance::Instance;
    use crate::intent::Scope;
    use crate::keeper::NoKeeper;
    use crate::method::Method;
    use crate::plan::Life;
    use crate::symbol::ListenerId;

    fn listener() -> Listener {
        Listener {
            id: ListenerId("outbound".to_owned()),
            method: Method::Redirect,
            protocol: Protocol::Tcp,
            addresses: Family::ALL.map(Family::loopback).to_vec(),
            port: None,
            to: None,
        }
    }

    #[test]
    fn listeners_share_a_port_and_their_connections_are_reset_and_kept_alive() {
        let mut plan = Plan::new(Method::Redirect);
        plan.push(Life::Steer, Object::Listener(listener()));
        let intent = Intent::new(Instance::new("test").unwrap(), Scope::command());
        let mut engaged = Engaged::engage(Box::new(NoKeeper), &intent, &plan, None).unwrap();
        let bound = engaged.take_bound().remove(0);
        let ports: Vec<u16> = bound
            .sockets
            .iter()
            .map(|s| s.local_addr().unwrap().port())
            .collect();
        assert_eq!(ports, [ports[0]; 2]);
        assert_eq!(bound.listener.port, Some(ports[0]));
        plan.objects[0].netns = Netns::Path("/run/netns/x".to_owned());
        let elsewhere = Engaged::engage(Box::new(NoKeeper), &intent, &plan, None);
        assert!(elsewhere.is_err(), "not quietly opened here");
        for socket in &bound.sockets {
            socket.set_nonblocking(false).unwrap();
            let _client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
            let (accepted, _) = socket.accept().unwrap();
            let accepted = SockRef::from(&accepted);
            assert_eq!(accepted.linger().unwrap(), Some(Duration::ZERO));
            assert!(accepted.tcp_nodelay().unwrap());
            assert!(accepted.keepalive().unwrap());
            assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE);
        }
    }

    #[test]
    fn a_port_that_the_kernel_chose_is_taken_until_the_socket_is_closed() {
        let (_, sockets) = listen(&listener()).unwrap();
        for socket in sockets {
            let at = socket.local_addr().unwrap();
            // As a keeper does it after the engine's death.
            let held = SockRef::from(&socket);
            held.set_reuse_address(false).unwrap();
            held.shutdown(std::net::Shutdown::Both).unwrap();
            let refused = TcpStream::connect(at).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{at}");
            let taken = TcpListener::bind(at).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "{at}");
        }
    }

    /// A keeper whose end the test decides.
    #[derive(Debug)]
    struct Mortal {
        life: io::PipeReader,
        restored: std::sync::mpsc::Sender<()>,
    }

    impl Keeper for Mortal {
        fn commit(&mut self, _: &Job) -> Result<(), KeeperError> {
            Ok(())
        }

        fn retire(&mut self) -> Result<(), KeeperError> {
            Ok(())
        }

        fn release(&mut self) -> Result<Released, KeeperError> {
            Ok(Released::Clean)
        }

        fn lost(&self) -> io::Result<Option<io::PipeReader>> {
            self.life.try_clone().map(Some)
        }

        fn restore(&mut self) -> Result<(), KeeperError> {
            self.restored.send(()).unwrap();
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_loss_of_the_keeper_is_told_and_a_successor_can_be_had() {
        let (life, alive) = io::pipe().unwrap();
        let (restored_tx, restored) = std::sync::mpsc::channel();
        let keeper = Mortal {
            life,
            restored: restored_tx,
        };
        let intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
        let plan = Plan::new(Method::Redirect);
        let mut engaged = Engaged::engage(Box::new(keeper), &intent, &plan, None).unwrap();
        let mut lost = std::pin::pin!(engaged.lost().unwrap());
        let pending = std::future::poll_fn(|cx| std::task::Poll::Ready(lost.as_mut().poll(cx)));
        assert!(pending.await.is_pending());
        drop(alive);
        lost.await;
        engaged.restore().unwrap();
        restored.recv().unwrap();
    }
}
