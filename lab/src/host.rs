//! A host: one network namespace, its addresses, and ways to run code inside.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::client::{Client, Failure};
use crate::family::Family;
use crate::namespace::{Namespace, ip};
use crate::program::Program;
use crate::server::{Server, Service, UdpServer};
use crate::sys;
use crate::watched::eventually;

/// A network namespace of its own, made by [`Lab::host`](crate::Lab::host), or one that somebody
/// else has made ([`Host::of_process`]).
///
/// Clones name the same host. When the last handle of one that the lab has made is dropped, also
/// by a panic, every process inside is killed and the namespace is removed.
#[derive(Debug, Clone)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    namespace: Namespace,
    forwarding: Forwarding,
    ports: Mutex<Vec<Port>>,
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The interface's name inside its host.
    pub name: String,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

/// An interface, and the namespace path and name of the interface at the other end.
///
/// The peer is remembered by its path: two hosts holding each other would never be dropped.
#[derive(Debug)]
struct Port {
    interface: Interface,
    peer: Option<(PathBuf, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forwarding {
    On,
    Off,
}

impl Host {
    pub(crate) fn new(label: &str, forwarding: Forwarding) -> Self {
        let namespace = Namespace::new(label);
        ip(&["-n", namespace.name(), "link", "set", "lo", "up"]);
        let host = Self(Arc::new(Inner {
            namespace,
            forwarding,
            ports: Mutex::default(),
        }));
        // Duplicate address detection would make addresses unusable for a second.
        host.set_sysctl("net/ipv6/conf/all/accept_dad", "0");
        host.set_sysctl("net/ipv6/conf/default/accept_dad", "0");
        if forwarding == Forwarding::On {
            host.set_sysctl("net/ipv4/ip_forward", "1");
            host.set_sysctl("net/ipv6/conf/all/forwarding", "1");
        }
        host
    }

    /// The network namespace that a process is in, as it stands; what runs there is let alone.
    pub fn of_process(label: &str, pid: i32) -> Self {
        Self(Arc::new(Inner {
            namespace: Namespace::of_process(label, pid),
            forwarding: Forwarding::Off,
            ports: Mutex::default(),
        }))
    }

    /// The namespace's name, as `ip netns` knows it.
    pub fn namespace_name(&self) -> &str {
        self.0.namespace.name()
    }

    /// The path under which others can open the namespace.
    pub fn namespace_path(&self) -> PathBuf {
        self.0.namespace.path()
    }

    /// The address of the first link in a family, or the loopback address of a host without links.
    pub fn address(&self, family: Family) -> IpAddr {
        match (self.ports().first(), family) {
            (Some(port), Family::V4) => port.interface.v4.into(),
            (Some(port), Family::V6) => port.interface.v6.into(),
            (None, family) => family.loopback(),
        }
    }

    /// A port at [`Self::address`].
    pub fn at(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(family), port)
    }

    /// The interface of the first link.
    pub fn uplink(&self) -> Interface {
        self.ports()
            .first()
            .expect("a host with a link")
            .interface
            .clone()
    }

    /// Gives the host one more address (without prefix length: that address alone), on `lo`.
    ///
    /// Its neighbours reach it by their default route or by one that the test adds.
    pub fn add_address(&self, address: IpAddr) {
        let prefix = Family::of(address).full_prefix();
        self.ip(&[
            "addr",
            "add",
            &format!("{address}/{prefix}"),
            "dev",
            "lo",
            "nodad",
        ]);
        if address.is_ipv6() {
            let text = address.to_string();
            self.wait_local_routes(&[&text], &[format!("local {text}")]);
        }
    }

    /// Makes connects to the destination (an address, or one with `/prefix`) fail at once as unreachable.
    pub fn make_unreachable(&self, destination: &str) {
        self.ip(&[
            family_of(destination).flag(),
            "route",
            "add",
            "unreachable",
            destination,
        ]);
    }

    /// Drops what this host would forward to the destination (as above) without an answer, so that connects hang.
    ///
    /// Where a packet ends at a host that neither has the address nor forwards, they hang anyway.
    pub fn make_blackhole(&self, destination: &str) {
        let flag = family_of(destination).flag();
        self.ip(&[flag, "route", "add", "blackhole", destination]);
    }

    /// Runs `ip` with these words inside the host; panics with its complaint when it fails.
    pub fn ip(&self, words: &[&str]) -> String {
        ip(&[&["-n", self.namespace_name()], words].concat())
    }

    /// Writes a sysctl of the namespace, named as under `/proc/sys`.
    pub fn set_sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{name}");
        let written = self.enter(|| fs::write(&path, value));
        written.unwrap_or_else(|error| panic!("{path} = {value}: {error}"));
    }

    /// Runs the closure inside, on a thread of its own, and gives its value; a panic comes through.
    ///
    /// Sockets made inside stay inside, wherever they are used afterwards.
    pub fn enter<R: Send>(&self, run: impl FnOnce() -> R + Send) -> R {
        let result = thread::scope(|scope| {
            let inside = || {
                self.0.namespace.join();
                run()
            };
            scope.spawn(inside).join()
        });
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs the closure `count` times at once, each on a thread of its own inside, and gives the values in order.
    pub fn many<R: Send>(&self, count: usize, run: impl Fn(usize) -> R + Sync) -> Vec<R> {
        thread::scope(|scope| {
            let start = |index| {
                let inside = {
                    let run = &run;
                    move || {
                        self.0.namespace.join();
                        run(index)
                    }
                };
                let thread = thread::Builder::new()
                    .stack_size(SMALL_STACK)
                    .spawn_scoped(scope, inside);
                thread.expect("the machine has room for a thread")
            };
            let threads: Vec<_> = (0..count).map(start).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, R>| {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        })
    }

    /// A program to run inside, with guards: see [`Program`].
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Program {
        Program::inside(&self.0.namespace, program.as_ref())
    }

    /// A program to run through the real `ip netns exec`.
    ///
    /// That gives it a mount namespace with a fresh `/sys`, where `/sys/fs/cgroup` is hidden.
    pub fn program_by_ip(&self, program: impl AsRef<std::ffi::OsStr>) -> Program {
        Program::new("ip")
            .args(["netns", "exec", self.namespace_name()])
            .arg(program)
    }

    /// A plain command that enters the namespace before it executes the program.
    ///
    /// It dies with the thread that spawns it. `Command::uid` would give up root too early to
    /// enter; use [`Program::user`] for that.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.program(program).into_command()
    }

    /// Connects from inside, within the [`DEADLINE`](crate::DEADLINE).
    ///
    /// # Errors
    /// How the connection failed, in the client's own terms.
    pub fn connect(&self, destination: SocketAddr) -> Result<Client, Failure> {
        self.enter(|| Client::connect(destination))
    }

    /// Serves a port on every address of both families; port 0 takes a free one.
    pub fn serve(&self, port: u16, service: Service) -> Server {
        self.serve_at(SocketAddr::new(Family::V6.any(), port), service)
    }

    /// Serves one address.
    pub fn serve_at(&self, address: SocketAddr, service: Service) -> Server {
        Server::start(self, address, service)
    }

    /// Echoes UDP datagrams to a port on every address of both families, from the address dialled.
    pub fn serve_udp(&self, port: u16) -> UdpServer {
        UdpServer::start(self, port)
    }

    /// A TAP device inside, up and without an address; frames are read from the descriptor and
    /// written to it, and the device ends with it.
    pub fn tap(&self, name: &str) -> OwnedFd {
        let fd = self.enter(|| sys::tap(name));
        let fd = fd.unwrap_or_else(|error| panic!("TAP device {name}: {error}"));
        self.ip(&["link", "set", name, "up"]);
        fd
    }

    /// Waits until the IPv6 local table has an entry that starts with each of these.
    ///
    /// The kernel answers the request for an address before it has made the address's route;
    /// until then it rejects what comes for it.
    pub(crate) fn wait_local_routes(&self, which: &[&str], wanted: &[String]) {
        eventually("the local routes of an IPv6 address", || {
            let words = [&["-6", "route", "show", "table", "local"], which].concat();
            let routes = self.ip(&words);
            let is_there = |start: &String| routes.lines().any(|line| line.starts_with(start));
            wanted.iter().all(is_there).then_some(())
        });
    }

    pub(crate) fn next_interface(&self) -> String {
        format!("eth{}", self.ports().len())
    }

    pub(crate) fn wants_default_route(&self) -> bool {
        self.0.forwarding == Forwarding::Off && self.ports().is_empty()
    }

    pub(crate) fn attach(&self, interface: Interface, peer: Option<(PathBuf, String)>) {
        self.ports().push(Port { interface, peer });
    }

    /// The namespace path and interface name at the other end of a link.
    pub(crate) fn peer_of(&self, interface: &str) -> Option<(PathBuf, String)> {
        let ports = self.ports();
        ports
            .iter()
            .find(|port| port.interface.name == interface)?
            .peer
            .clone()
    }

    fn ports(&self) -> std::sync::MutexGuard<'_, Vec<Port>> {
        self.0.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn family_of(destination: &str) -> Family {
    if destination.contains(':') {
        Family::V6
    } else {
        Family::V4
    }
}

/// Enough for a client or a handler; a thousand default stacks would be gigabytes of addresses.
pub(crate) const SMALL_STACK: usize = 256 * 1024;
