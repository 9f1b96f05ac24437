//! The lab: hosts, and the links between them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::host::{Forwarding, Host, Interface};

/// A set of hosts and links that vanishes with its last handle.
///
/// Labs do not see each other: all of them use the same addresses, 10.77.n.0/24 and
/// fd5e:1ab:0:n::/64 for link n, where the left end of the link is .1 and the right end .2.
#[derive(Debug)]
pub struct Lab {
    name: String,
    links: AtomicU8,
}

impl Lab {
    /// Opens a lab; the name shows in the names of its namespaces. Needs root.
    ///
    /// The process's soft limit of open files is raised to the hard one, for tests with thousands
    /// of connections; programs started by the lab get the limit that was found.
    pub fn new(name: &str) -> Self {
        static RAISE: Once = Once::new();
        RAISE.call_once(|| {
            let (_, hard) = *crate::program::FILE_LIMIT;
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
                .expect("a soft limit can be raised to the hard one");
        });
        Self {
            name: name.to_owned(),
            links: AtomicU8::new(0),
        }
    }

    /// A host: a network namespace of its own in which only `lo` exists, and is up.
    pub fn host(&self, name: &str) -> Host {
        Host::new(&self.label(name), Forwarding::Off)
    }

    /// A host that forwards both families and takes no default route from its links.
    pub fn router(&self, name: &str) -> Host {
        Host::new(&self.label(name), Forwarding::On)
    }

    /// Joins two hosts by a veth pair with addresses of both families, usable at once.
    ///
    /// A host that is no router gets its default routes through its first link. Gives the
    /// interfaces of both ends, named `eth0`, `eth1`, … in each host.
    pub fn link(&self, left: &Host, right: &Host) -> (Interface, Interface) {
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        let end = |host: &Host, n: u8| Interface {
            name: host.next_interface(),
            v4: Ipv4Addr::new(10, 77, number, n),
            v6: Ipv6Addr::new(0xfd5e, 0x1ab, 0, number.into(), 0, 0, 0, n.into()),
        };
        let (here, there) = (end(left, 1), end(right, 2));
        let (name, peer, namespace) = (&here.name, &there.name, right.namespace_name());
        batch(
            left,
            &format!("link add {name} type veth peer name {peer} netns {namespace}\n"),
        );
        for (host, own, other) in [(left, &here, &there), (right, &there, &here)] {
            batch(
                host,
                &configuration(own, host.wants_default_route().then_some(other)),
            );
        }
        for (host, own) in [(left, &here), (right, &there)] {
            // Last of all, and some time after the link is up, the kernel adds its own
            // addresses and routes, which a snapshot would see as a change.
            let wanted = [
                format!("local {}", own.v6),
                "local fe80".into(),
                "multicast".into(),
            ];
            host.wait_local_routes(&["dev", &own.name], &wanted);
        }
        left.attach(
            here.clone(),
            Some((right.namespace_path(), there.name.clone())),
        );
        right.attach(
            there.clone(),
            Some((left.namespace_path(), here.name.clone())),
        );
        (here, there)
    }

    fn label(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }
}

/// The `ip` batch that brings up one end of a link.
fn configuration(own: &Interface, gateway: Option<&Interface>) -> String {
    let Interface { name, v4, v6 } = own;
    let mut text = format!(
        "link set {name} up\naddr add {v4}/24 dev {name}\naddr add {v6}/64 dev {name} nodad\n"
    );
    if let Some(Interface { v4, v6, .. }) = gateway {
        for address in [IpAddr::V4(*v4), IpAddr::V6(*v6)] {
            writeln!(text, "route add default via {address} dev {name}")
                .expect("a String can be written");
        }
    }
    text
}

/// Runs several `ip` commands inside the host by one process.
fn batch(host: &Host, commands: &str) {
    let mut ip = Command::new("ip");
    ip.args(["-n", host.namespace_name(), "-batch", "-"]);
    let child = ip
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("the lab needs the program `ip`");
    let mut input = child.stdin.take().expect("standard input is piped");
    input
        .write_all(commands.as_bytes())
        .expect("ip reads its commands");
    drop(input);
    let output = child.wait_with_output().expect("ip ends");
    assert!(
        output.status.success(),
        "ip -batch: {}\n{commands}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The soft and hard limit of open files as the process found them.
pub(crate) fn file_limit() -> (u64, u64) {
    getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be read")
}
