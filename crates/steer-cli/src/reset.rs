//! `up --reset`: connections that were there before the steering are ended, so that they come back
//! steered.

mod processes;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use steer::core::address::{Family, Protocol};
use steer::core::host::Host;
use steer::core::intent::{Dns, Intent, Loopback, Scope, Traffic};
use steer::core::netns;
use steer::core::object::{Hooks, Object, Reach, is_token};
use steer::core::plan::{Netns, Plan};
use steer::kernel::sock_diag::{Connection, SockDiag};

use crate::failure::Failure;
use crate::say;
use crate::steering::Decided;

/// Sees, before anything is changed, that connections which are steered already can be told from
/// those that are not, and those that are meant from others.
pub(crate) fn tellable(decided: &Decided) -> Result<(), Failure> {
    let plan = &decided.choice.plan;
    if hooks(plan).is_none() {
        return Err(Failure::plain(
            format!(
                "`--reset` cannot tell what the method {} steers already from what was there before",
                plan.method
            ),
            "use `-m ebpf`, or leave `--reset` out and restart the programs",
        ));
    }
    let traffic = &decided.intent.traffic;
    if traffic.include.domains.is_empty() && traffic.exclude.domains.is_empty() {
        return Ok(());
    }
    Err(Failure::plain(
        "`--reset` cannot tell by what name a program has connected, and `traffic` has domains",
        "leave `--reset` out, or choose traffic by `cidrs` and `ports`",
    ))
}

/// Ends what the steering would have taken, once it is in force.
pub(crate) fn existing(decided: &Decided) -> Result<(), Failure> {
    let Decided {
        intent,
        host,
        choice,
        ..
    } = decided;
    let Some((netns, hooks)) = hooks(&choice.plan) else {
        return Ok(());
    };
    let scope = whose(&intent.scope, &choice.plan);
    let reach = hooks.reach;
    let mut ended = 0;
    for (place, owned) in processes::sockets(&scope, reach == Reach::Here, netns) {
        let done = end(&place, &owned, intent, host);
        ended += done.map_err(|error| match error.kind() {
            io::ErrorKind::Unsupported => Failure::plain(
                "`--reset`: this kernel ends no connections of others (CONFIG_INET_DIAG_DESTROY)",
                "leave `--reset` out, and restart the programs instead",
            ),
            _ => Failure::new(
                &error,
                "ending connections needs CAP_NET_ADMIN: run as root",
            ),
        })?;
    }
    say(&format_args!(
        "steer: {ended} connection{} from before {} reset",
        if ended == 1 { "" } else { "s" },
        if ended == 1 { "was" } else { "were" },
    ));
    Ok(())
}

fn hooks(plan: &Plan) -> Option<(&Netns, &Hooks)> {
    plan.objects.iter().find_map(|p| match &p.object {
        Object::Hooks(hooks) => Some((&p.netns, hooks)),
        _ => None,
    })
}

/// The scope with the cgroups of processes in the place of their ids.
fn whose(scope: &Scope, plan: &Plan) -> Scope {
    let mut scope = scope.clone();
    if !scope.of.pid.is_empty() {
        let made = plan.objects.iter().filter_map(|p| match &p.object {
            Object::Members { cgroup, .. } => Some(cgroup.to_string()),
            _ => None,
        });
        scope.of.cgroup = made.collect();
    }
    scope
}

/// Ends connections in one network namespace, whose sockets have these numbers.
fn end(place: &Netns, owned: &[u32], intent: &Intent, host: &Host) -> io::Result<usize> {
    let diag = netns::open(place).and_then(|file| match file {
        Some(file) => netns::within(Some(&file), SockDiag::open)?,
        None => SockDiag::open(),
    })?;
    let all = diag.tcp()?;
    let mut ended = 0;
    let mine = |one: &&Connection| !one.listens && owned.contains(&one.inode);
    for one in all.iter().filter(mine) {
        let steered = host.families.contains(&Family::of(one.peer.ip()))
            && is_meant(one.peer, &intent.traffic)
            && !was_accepted(one, &all);
        if steered && diag.reset(one)? {
            ended += 1;
        }
    }
    Ok(ended)
}

/// Whether the steering would take a connection to there.
fn is_meant(to: SocketAddr, traffic: &Traffic) -> bool {
    let Traffic {
        include,
        exclude,
        loopback,
        dns,
        quic: _,
    } = traffic;
    let (ip, port) = (to.ip(), to.port());
    // What is steered has the address of a token.
    if is_token(ip) || exclude.protocols.contains(&Protocol::Tcp) {
        return false;
    }
    let left = exclude.ports.iter().any(|range| range.contains(port))
        || exclude.cidrs.iter().any(|cidr| cidr.contains(ip));
    if port == 53 {
        return *dns == Some(Dns::Capture) && !left;
    }
    let here = is_loopback(ip) && *loopback != Some(Loopback::Steer);
    let tcp = include.protocols.is_empty() || include.protocols.contains(&Protocol::Tcp);
    let ports = include.ports.is_empty() || include.ports.iter().any(|r| r.contains(port));
    let cidrs = include.cidrs.is_empty() || include.cidrs.iter().any(|c| c.contains(ip));
    !left && !here && tcp && ports && cidrs
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Whether somebody else has opened it: then its own port is that of a listener.
fn was_accepted(one: &Connection, all: &[Connection]) -> bool {
    let at = |listener: &&Connection| {
        let ip = listener.local.ip();
        listener.local.port() == one.local.port() && (ip.is_unspecified() || ip == one.local.ip())
    };
    all.iter().filter(|c| c.listens).any(|c| at(&c))
}

/// Numbers of sockets, by the namespace that they are in.
type ByPlace = BTreeMap<Netns, Vec<u32>>;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A connection of this process over loopback, from the client's side and from the server's.
    fn pair() -> (
        TcpListener,
        TcpStream,
        TcpStream,
        [Connection; 2],
        Vec<Connection>,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let all = SockDiag::open().unwrap().tcp().unwrap();
        let of = |local| {
            all.iter()
                .find(|c| !c.listens && c.local == local)
                .unwrap()
                .clone()
        };
        let sides = [&client, &accepted].map(|side| {
            let (local, peer) = (side.local_addr().unwrap(), side.peer_addr().unwrap());
            let found = of(local);
            assert_eq!(found.peer, peer);
            found
        });
        (listener, client, accepted, sides, all)
    }

    #[test]
    fn what_a_program_has_accepted_is_not_what_it_has_opened() {
        let (_listener, _client, _accepted, [opened, taken], all) = pair();
        assert!(!was_accepted(&opened, &all));
        assert!(was_accepted(&taken, &all));
    }

    #[test]
    fn loopback_and_what_is_excluded_are_left_alone() {
        let mut traffic = Traffic::default();
        let is_meant = |to: &str, traffic: &Traffic| is_meant(to.parse().unwrap(), traffic);
        assert!(is_meant("192.0.2.1:443", &traffic));
        for local in ["127.0.0.1:443", "[::1]:443"] {
            traffic.loopback = None;
            assert!(!is_meant(local, &traffic));
            traffic.loopback = Some(Loopback::Steer);
            assert!(is_meant(local, &traffic));
        }
        // Steered already.
        assert!(!is_meant("127.128.0.7:15001", &traffic));
        assert!(!is_meant("192.0.2.1:53", &traffic));
        traffic.dns = Some(Dns::Capture);
        assert!(is_meant("192.0.2.1:53", &traffic));
        traffic.exclude.ports = vec!["22".parse().unwrap()];
        traffic.include.cidrs = vec!["192.0.2.0/24".parse().unwrap()];
        assert!(is_meant("192.0.2.1:443", &traffic));
        assert!(!is_meant("192.0.2.1:22", &traffic));
        assert!(!is_meant("198.51.100.1:443", &traffic));
    }

    #[test]
    fn a_connection_that_is_meant_is_ended_and_others_go_on() {
        if !lab::require(&[lab::Need::Root]) {
            return;
        }
        let (_listener, mut client, _accepted, [opened, taken], _) = pair();
        let mut intent = Intent::new(
            steer::core::instance::Instance::new("reset").unwrap(),
            Scope::default(),
        );
        let host = Host::example();
        let owned = [opened.inode, taken.inode];
        assert_eq!(end(&Netns::Here, &owned, &intent, &host).unwrap(), 0);
        intent.traffic.loopback = Some(Loopback::Steer);
        assert_eq!(end(&Netns::Here, &owned, &intent, &host).unwrap(), 1);
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(end(&Netns::Here, &owned, &intent, &host).unwrap(), 0);
    }
}
