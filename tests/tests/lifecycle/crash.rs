//! SIGKILL of the engine, of the keeper, of both.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::{
    Capture, Client, End, Failure, Family, Live, LiveConnection, Service, Status, eventually,
};

use crate::site::{Means, OnFailure, Site, assert_refused, echoes, kill, kill_with, left_by};

/// How many connections live when something dies.
const MANY: usize = 200;

/// A steered client with live connections, a neighbour that is not steered, and a witness that is
/// known to see what leaves unsteered.
struct Scene {
    site: Site,
    agent: lab::Agent,
    live: Live,
    neighbour: Client,
    witness: Capture,
    at: SocketAddr,
    server: lab::Server,
}

impl Scene {
    fn new(site: Site, means: Means, on_failure: OnFailure, family: Family) -> Self {
        let server = site.srv.serve(7, Service::Echo);
        let at = site.srv.at(family, 7);
        let witness = site.witness();
        let agent = site.agent(means, on_failure);
        let mut neighbour = site.app.connect(at).expect("a neighbour is not steered");
        assert!(echoes(&mut neighbour, NEIGHBOUR));
        witness.wait_for(|p| p.source == neighbour.local() && p.carries(NEIGHBOUR));
        let clients = (0..MANY).map(|_| agent.connect(at).expect("it is steered"));
        let live = Live::over(clients.collect());
        live.wait_round();
        let scene = Self {
            site,
            agent,
            live,
            neighbour,
            witness,
            at,
            server,
        };
        assert_eq!(scene.left(), 0, "the live ones are steered");
        scene
    }

    /// Packets of the live connections that the witness saw.
    fn left(&self) -> usize {
        let locals: Vec<_> = self.live.seen().iter().map(|one| one.local).collect();
        left_by(&self.witness, &locals)
    }

    /// The live connections have ended, each by a reset, and nothing of them was seen outside.
    fn assert_reset_unseen(&self) {
        let ended = self.assert_reset();
        let locals: Vec<_> = ended.iter().map(|one| one.local).collect();
        let left = self.witness.packets(|p| locals.contains(&p.source));
        let bytes: usize = left.iter().map(|p| p.length).sum();
        assert!(
            left.is_empty(),
            "the live connections went on in clear: {} packets, {bytes} bytes, the first {:#?}",
            left.len(),
            left[0]
        );
    }

    /// The live connections have ended, each by a reset.
    fn assert_reset(&self) -> Vec<LiveConnection> {
        let ended = self.live.wait_ended();
        let odd: Vec<_> = ended
            .iter()
            .filter(|one| one.end != End::Reset || one.corrupt)
            .collect();
        assert!(odd.is_empty(), "{} not reset: {:#?}", odd.len(), odd[0]);
        ended
    }

    /// The client's connects are refused at once, and nothing of them is seen outside.
    fn assert_closed(&mut self) {
        let neighbour = self.neighbour.local();
        self.witness.clear();
        // The port of an engine that has just died may take one yet, and reset it.
        eventually("connections are refused", || {
            self.agent.connect(self.at).err()
        });
        for _ in 0..20 {
            assert_refused(self.agent.connect(self.at));
        }
        let outside = self
            .witness
            .packets(|p| p.is_tcp() && p.destination == self.at && p.source != neighbour);
        assert!(outside.is_empty(), "{outside:#?}");
        assert!(echoes(&mut self.neighbour, NEIGHBOUR));
        self.witness
            .wait_for(|p| p.source == neighbour && p.carries(NEIGHBOUR));
    }

    /// The client's connects get nowhere, and nothing of them is seen outside.
    fn assert_dropped(&mut self) {
        self.witness.clear();
        let within = Duration::from_secs(1);
        // The keeper holds the port for as long as its death takes.
        eventually("connections go nowhere", || {
            self.agent.connect_within(self.at, within).err()
        });
        let outside = self.witness.packets(lab::Packet::is_connect);
        assert!(outside.is_empty(), "{outside:#?}");
        assert!(echoes(&mut self.neighbour, NEIGHBOUR));
    }

    /// Nothing of the client's datagrams is seen outside, whether sending them fails or not.
    fn assert_no_datagrams(&self) {
        let socket = self.agent.udp(Family::of(self.at.ip()));
        let _ = socket.send_to(b"a datagram", self.at);
        let outside = self.witness.packets(|p| p.is_udp());
        assert!(outside.is_empty(), "{outside:#?}");
    }

    /// Connects again and again while `act` goes on, and gives the addresses that it had.
    fn connecting<R>(&self, act: impl FnOnce() -> R) -> Vec<SocketAddr> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut locals = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    match self.agent.connect(self.at) {
                        Ok(client) => locals.push(client.local()),
                        Err(Failure::TimedOut) => panic!("a connect was neither taken nor refused"),
                        Err(_) => {}
                    }
                }
                locals
            });
            act();
            done.store(true, Ordering::Relaxed);
            client.join().expect("no connect hangs")
        })
    }

    /// The client's connections go direct.
    fn assert_direct(&mut self) {
        // Until the rules go, one may still be taken by a port that nobody serves, and be reset.
        let client = eventually("direct connections work", || {
            let mut client = self.agent.connect(self.at).ok()?;
            echoes(&mut client, b"directly").then_some(client)
        });
        self.witness
            .wait_for(|p| p.source == client.local() && p.carries(b"directly"));
    }
}

const NEIGHBOUR: &[u8] = b"a neighbour speaks in clear";

fn engine_killed(means: Means, on_failure: OnFailure, family: Family) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let mut scene = Scene::new(Site::new("engine"), means, on_failure, family);
    let kill = || {
        assert_eq!(scene.agent.proc().kill(), Status::Killed(9));
        scene.assert_reset_unseen();
    };
    match on_failure {
        OnFailure::Open => {
            kill();
            scene.assert_direct();
            // The client lives, and nothing of ours is around it.
            scene.site.wait_untouched();
            scene.assert_direct();
            scene.agent.finish();
        }
        OnFailure::Closed => {
            let engine: Vec<_> = scene.server.seen().iter().map(|one| one.peer).collect();
            let mut tried = scene.connecting(kill);
            // The engine's own ports are free once it is dead, and were seen outside before.
            tried.retain(|local| !engine.contains(local));
            assert_eq!(left_by(&scene.witness, &tried), 0, "some got out meanwhile");
            scene.assert_closed();
            scene.assert_no_datagrams();
            scene.agent.finish();
        }
    }
    scene.site.wait_untouched();
}

macro_rules! cases {
    ($run:ident: $($name:ident: $means:ident $(, $argument:expr)*;)*) => {
        $(#[test]
        fn $name() {
            $run(Means::$means $(, $argument)*);
        })*
    };
}

cases! { engine_killed:
    clients_of_a_killed_engine_go_direct_under_open_nft_v4: RedirectNft, OnFailure::Open, Family::V4;
    clients_of_a_killed_engine_go_direct_under_open_nft_v6: RedirectNft, OnFailure::Open, Family::V6;
    clients_of_a_killed_engine_go_direct_under_open_iptables_v4: RedirectIptables, OnFailure::Open, Family::V4;
    clients_of_a_killed_engine_go_direct_under_open_iptables_v6: RedirectIptables, OnFailure::Open, Family::V6;
    clients_of_a_killed_engine_are_refused_under_closed_nft_v4: RedirectNft, OnFailure::Closed, Family::V4;
    clients_of_a_killed_engine_are_refused_under_closed_nft_v6: RedirectNft, OnFailure::Closed, Family::V6;
    clients_of_a_killed_engine_are_refused_under_closed_iptables_v4: RedirectIptables, OnFailure::Closed, Family::V4;
    clients_of_a_killed_engine_are_refused_under_closed_iptables_v6: RedirectIptables, OnFailure::Closed, Family::V6;
    clients_of_a_killed_engine_go_direct_under_open_legacy: RedirectLegacy, OnFailure::Open, Family::V6;
    clients_of_a_killed_engine_are_refused_under_closed_legacy: RedirectLegacy, OnFailure::Closed, Family::V4;
    clients_of_a_killed_engine_go_direct_under_open_tproxy_nft_v4: TproxyNft, OnFailure::Open, Family::V4;
    clients_of_a_killed_engine_go_direct_under_open_tproxy_nft_v6: TproxyNft, OnFailure::Open, Family::V6;
    clients_of_a_killed_engine_go_direct_under_open_tproxy_iptables: TproxyIptables, OnFailure::Open, Family::V4;
    clients_of_a_killed_engine_go_direct_under_open_tproxy_legacy: TproxyLegacy, OnFailure::Open, Family::V6;
    clients_of_a_killed_engine_are_refused_under_closed_tproxy_nft_v4: TproxyNft, OnFailure::Closed, Family::V4;
    clients_of_a_killed_engine_are_refused_under_closed_tproxy_nft_v6: TproxyNft, OnFailure::Closed, Family::V6;
    clients_of_a_killed_engine_are_refused_under_closed_tproxy_iptables_v4: TproxyIptables, OnFailure::Closed, Family::V4;
    clients_of_a_killed_engine_are_refused_under_closed_tproxy_iptables_v6: TproxyIptables, OnFailure::Closed, Family::V6;
    clients_of_a_killed_engine_are_refused_under_closed_tproxy_legacy: TproxyLegacy, OnFailure::Closed, Family::V4;
    clients_of_a_killed_engine_go_direct_under_open_ebpf_v4: Ebpf, OnFailure::Open, Family::V4;
    clients_of_a_killed_engine_go_direct_under_open_ebpf_v6: Ebpf, OnFailure::Open, Family::V6;
    clients_of_a_killed_engine_are_refused_under_closed_ebpf_v4: Ebpf, OnFailure::Closed, Family::V4;
    clients_of_a_killed_engine_are_refused_under_closed_ebpf_v6: Ebpf, OnFailure::Closed, Family::V6;
    clients_of_a_killed_engine_go_direct_under_open_tun_v4: Tun, OnFailure::Open, Family::V4;
    clients_of_a_killed_engine_go_direct_under_open_tun_v6: Tun, OnFailure::Open, Family::V6;
    clients_of_a_killed_engine_go_direct_under_open_tap: Tap, OnFailure::Open, Family::V4;
    clients_of_a_killed_engine_are_refused_under_closed_tun_v4: Tun, OnFailure::Closed, Family::V4;
    clients_of_a_killed_engine_are_refused_under_closed_tun_v6: Tun, OnFailure::Closed, Family::V6;
    clients_of_a_killed_engine_are_refused_under_closed_tap: Tap, OnFailure::Closed, Family::V6;
}

/// A keeper's death is no event for the traffic: another one takes over, more than once.
fn keeper_killed(means: Means) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let scene = Scene::new(Site::new("keeper"), means, OnFailure::Closed, Family::V4);
    let mut last = scene.site.process("keeper");
    for _ in 0..2 {
        kill(&[last]);
        let next = eventually("another keeper is in the journal", || {
            let next = scene.site.process("keeper");
            (next != last).then_some(next)
        });
        assert_ne!(next, scene.site.process("engine"));
        last = next;
        scene.live.wait_round();
        let mut fresh = scene.agent.connect(scene.at).expect("it is steered");
        assert!(echoes(&mut fresh, b"steered"));
        assert_eq!(left_by(&scene.witness, &[fresh.local()]), 0);
    }
    assert_eq!(scene.left(), 0);
    let locals: Vec<_> = scene.live.seen().iter().map(|one| one.local).collect();
    let stopped = scene.live.stop();
    assert!(
        stopped
            .iter()
            .all(|one| one.end == End::Closed && !one.corrupt)
    );
    assert_eq!(scene.agent.finish(), Status::Exited(0));
    assert_eq!(left_by(&scene.witness, &locals), 0);
    scene.site.wait_untouched();
}

cases! { keeper_killed:
    a_killed_keeper_is_replaced_nft: RedirectNft;
    a_killed_keeper_is_replaced_iptables: RedirectIptables;
    a_killed_keeper_is_replaced_tproxy_nft: TproxyNft;
    a_killed_keeper_is_replaced_tproxy_iptables: TproxyIptables;
    a_killed_keeper_is_replaced_ebpf: Ebpf;
    a_killed_keeper_is_replaced_tun: Tun;
    a_killed_keeper_is_replaced_tap: Tap;
}

/// Nobody acts in between: no rule has to go, and nobody has to hear of the death.
#[test]
fn the_very_next_connect_after_a_kill_is_direct_or_refused() {
    lab::require!(Root, Cgroup2);
    for on_failure in [OnFailure::Open, OnFailure::Closed] {
        for family in Family::BOTH {
            let site = Site::new("next");
            let _server = site.srv.serve(7, Service::Echo);
            let udp = site.srv.serve_udp(7);
            let at = site.srv.at(family, 7);
            let agent = site.agent(Means::Ebpf, on_failure);
            assert!(echoes(&mut agent.connect(at).expect("it is steered"), b"1"));
            let flow = agent.udp_client(family);
            assert_eq!(flow.ask(at, b"1"), Ok((b"1".to_vec(), at)));
            // The keeper may not help.
            let keeper = site.process("keeper");
            kill_with(keeper, lab::Signal::SIGSTOP);
            assert_eq!(agent.proc().kill(), Status::Killed(9));
            let fresh = agent.udp_client(family);
            match on_failure {
                OnFailure::Open => {
                    let mut client = agent.connect(at).expect("it is direct");
                    assert!(echoes(&mut client, b"2"));
                    assert_eq!(client.local().ip(), site.app.address(family));
                    for socket in [&fresh, &flow] {
                        assert_eq!(socket.ask(at, b"2"), Ok((b"2".to_vec(), at)));
                    }
                    assert_eq!(
                        udp.seen().last().map(|it| it.peer.port()),
                        Some(flow.local().port())
                    );
                }
                OnFailure::Closed => {
                    assert_refused(agent.connect(at));
                    for socket in [&fresh, &flow] {
                        let refused = socket.ask(at, b"2").expect_err("it is refused");
                        assert_eq!(refused, Failure::Refused);
                    }
                    assert_eq!(udp.seen().len(), 1);
                }
            }
            kill_with(keeper, lab::Signal::SIGCONT);
            agent.finish();
            site.wait_untouched();
        }
    }
}

/// Nobody is left to clear up: the kernel does what it can, and `steer clean` the rest.
fn both_killed(means: Means, on_failure: OnFailure) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let site = Site::apart("both");
    let mut scene = Scene::new(site, means, on_failure, Family::V4);
    let keeper = scene.site.process("keeper");
    kill(&[keeper, scene.agent.proc().pid()]);
    assert_eq!(scene.agent.proc().wait(), Status::Killed(9));
    match on_failure {
        // The resets race the rules that carry them: nobody holds these until they have arrived.
        OnFailure::Open => drop(scene.assert_reset()),
        OnFailure::Closed => scene.assert_reset_unseen(),
    }
    match (means.rules_have_an_owner(), on_failure) {
        // The kernel has removed what steered.
        (true, OnFailure::Open) => scene.assert_direct(),
        // iptables rules have no owner: what leads to nobody stays, and its TPROXY drops.
        (false, _) if means.method() == "tproxy" => scene.assert_dropped(),
        (true, OnFailure::Closed) | (false, _) => scene.assert_closed(),
    }
    let cleaned = scene.site.steer().arg("clean").run().expect_success();
    assert!(cleaned.contains(&scene.site.name), "{cleaned}");
    scene.site.assert_untouched();
    scene.assert_direct();
    scene.agent.proc().close_input();
    scene.agent.finish();
    scene.site.assert_untouched();
}

cases! { both_killed:
    the_kernel_opens_when_both_are_killed_nft: RedirectNft, OnFailure::Open;
    rules_refuse_until_clean_when_both_are_killed_iptables: RedirectIptables, OnFailure::Open;
    guards_refuse_until_clean_when_both_are_killed_nft: RedirectNft, OnFailure::Closed;
    guards_refuse_until_clean_when_both_are_killed_iptables: RedirectIptables, OnFailure::Closed;
    the_kernel_opens_when_both_are_killed_tproxy_nft: TproxyNft, OnFailure::Open;
    rules_drop_until_clean_when_both_are_killed_tproxy_iptables: TproxyIptables, OnFailure::Open;
    guards_refuse_until_clean_when_both_are_killed_tproxy_nft: TproxyNft, OnFailure::Closed;
    rules_and_guards_drop_until_clean_when_both_are_killed_tproxy_iptables: TproxyIptables, OnFailure::Closed;
    guards_refuse_until_clean_when_both_are_killed_legacy: RedirectLegacy, OnFailure::Closed;
    the_kernel_opens_when_both_are_killed_ebpf: Ebpf, OnFailure::Open;
    guards_refuse_until_clean_when_both_are_killed_ebpf: Ebpf, OnFailure::Closed;
    the_kernel_opens_when_both_are_killed_tun: Tun, OnFailure::Open;
    guards_refuse_until_clean_when_both_are_killed_tun: Tun, OnFailure::Closed;
    guards_refuse_until_clean_when_both_are_killed_tap: Tap, OnFailure::Closed;
}
