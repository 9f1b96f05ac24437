//! A router that steers for others, when the engine dies or stops.

use std::net::SocketAddr;
use std::time::Duration;

use lab::{
    Capture, End, Failure, Family, Host, Live, Proc, Server, Service, Signal, Status, UdpServer,
    eventually,
};

use crate::site::{Means, OnFailure, Site, assert_refused, echoes, kill};

/// How many connections live when something dies.
const MANY: usize = 50;

/// A steered client behind a router, and a witness on the router's way out.
struct Scene {
    site: Site,
    client: Host,
    witness: Capture,
    means: Means,
    up: Proc,
    live: Live,
    at: SocketAddr,
    _server: Server,
    udp: UdpServer,
}

impl Scene {
    fn new(means: Means, on_failure: OnFailure, family: Family) -> Self {
        let (site, client, outer) = Site::routing("gateway");
        let server = site.srv.serve(7, Service::Echo);
        let udp = site.srv.serve_udp(9);
        let at = site.srv.at(family, 7);
        let witness = Capture::start(&site.app, &outer.name);
        // The witness does see what the client sends by itself.
        let mut before = client.connect(at).expect("it is forwarded");
        assert!(echoes(&mut before, b"before"));
        client
            .udp(family)
            .ask(site.srv.at(family, 9), b"before")
            .expect("it is forwarded");
        for is_udp in [false, true] {
            let own = |packet: &lab::Packet| packet.source.ip() == client.address(family);
            witness.wait_for(|p| own(p) && p.is_udp() == is_udp && p.carries(b"before"));
        }
        before.finish();
        before.receive_all();
        let config = format!("{means}scope: {{ interface: [eth0] }}\non_failure: {on_failure}\n");
        let up = site.up(&config).spawn();
        up.wait_line(|line| line.contains("in force"));
        let live = Live::start(&client, at, MANY);
        live.wait_round();
        witness.clear();
        Self {
            site,
            client,
            witness,
            means,
            up,
            live,
            at,
            _server: server,
            udp,
        }
    }

    fn family(&self) -> Family {
        Family::of(self.at.ip())
    }

    /// Packets of the client that the router forwards as they are.
    fn forwarded(&self) -> Vec<lab::Packet> {
        let own = self.client.address(self.family());
        self.witness.packets(|packet| packet.source.ip() == own)
    }

    fn assert_all_reset(&self) {
        let ended = self.live.wait_ended();
        let odd = ended
            .iter()
            .find(|one| one.end != End::Reset || one.corrupt);
        assert!(odd.is_none(), "not reset: {odd:#?}");
    }

    fn ask_udp(&self, word: &[u8]) -> Result<(), Failure> {
        let to = self.site.srv.at(self.family(), 9);
        let socket = self.client.udp(self.family());
        socket.patience(Duration::from_secs(3));
        socket.ask(to, word).map(drop)
    }

    /// The client is refused at once, and nothing of it is forwarded; the router's own passes.
    fn assert_closed(&self) {
        eventually("connections are refused", || {
            self.client.connect(self.at).err()
        });
        for _ in 0..10 {
            assert_refused(self.client.connect(self.at));
        }
        // Until the keeper has swapped the rules, a dead engine's port swallows datagrams (profile);
        // from then on each is refused.
        eventually("datagrams are refused", || {
            let failure = self.ask_udp(b"closed").expect_err("nothing answers");
            (failure != Failure::TimedOut).then_some(())
        });
        let forwarded = self.forwarded();
        assert!(forwarded.is_empty(), "{forwarded:#?}");
        let mut own = self
            .site
            .app
            .connect(self.at)
            .expect("the router is not meant");
        assert!(echoes(&mut own, b"own"));
        own.finish();
        own.receive_all();
    }

    /// The client gets nowhere, and nothing of it is forwarded.
    fn assert_dropped(&self) {
        let within = Duration::from_secs(1);
        let connect = || lab::Client::connect_within(self.at, within);
        // The keeper holds the port for as long as its death takes.
        eventually("connections go nowhere", || {
            self.client.enter(connect).err()
        });
        assert!(self.ask_udp(b"closed").is_err());
        let forwarded = self.forwarded();
        assert!(forwarded.is_empty(), "{forwarded:#?}");
    }

    /// What the client sends is forwarded as it is.
    fn assert_direct(&self) {
        let mut client = eventually("connections are forwarded", || {
            let mut client = self.client.connect(self.at).ok()?;
            echoes(&mut client, b"directly").then_some(client)
        });
        self.witness
            .wait_for(|p| p.source == client.local() && p.carries(b"directly"));
        client.finish();
        client.receive_all();
        eventually("datagrams are forwarded", || self.ask_udp(b"direct").ok());
        let own = self.client.address(self.family());
        assert!(
            self.udp
                .seen()
                .iter()
                .any(|it| it.peer.ip() == own && it.payload == b"direct")
        );
    }
}

fn engine_killed(means: Means, on_failure: OnFailure, family: Family) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let scene = Scene::new(means, on_failure, family);
    assert_eq!(scene.up.kill(), Status::Killed(9));
    scene.assert_all_reset();
    match on_failure {
        OnFailure::Open => {
            scene.assert_direct();
            scene.site.wait_untouched();
        }
        OnFailure::Closed => {
            scene.assert_closed();
            eventually("it can be cleaned", || {
                let said = scene.site.steer().arg("clean").run().expect_success();
                said.contains("removed").then_some(())
            });
            scene.assert_direct();
            scene.site.wait_untouched();
        }
    }
}

fn both_killed(means: Means, on_failure: OnFailure) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let scene = Scene::new(means, on_failure, Family::V4);
    kill(&[scene.site.process("keeper"), scene.up.pid()]);
    assert_eq!(scene.up.wait(), Status::Killed(9));
    scene.assert_all_reset();
    match (means, on_failure) {
        (_, OnFailure::Open) => scene.assert_direct(),
        // Its target drops what no socket takes.
        (Means::TproxyIptables | Means::TproxyLegacy, _) => scene.assert_dropped(),
        (_, OnFailure::Closed) => scene.assert_closed(),
    }
    scene.site.steer().arg("clean").run().expect_success();
    scene.site.assert_untouched();
    scene.assert_direct();
}

/// What ends in time ends well, the rest is reset, and nothing is forwarded meanwhile.
fn stopped(means: Means) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let scene = Scene::new(means, OnFailure::Closed, Family::V4);
    let mut orderly = scene.client.connect(scene.at).expect("it is steered");
    assert!(echoes(&mut orderly, b"before"));
    scene.up.signal(Signal::SIGTERM);
    scene.up.wait_line(|line| line.ends_with("stops"));
    assert!(
        echoes(&mut orderly, b"meanwhile"),
        "it may go on for a while"
    );
    orderly.finish();
    assert_eq!(orderly.receive_all(), (Vec::new(), End::Fin));
    scene.assert_all_reset();
    assert_eq!(scene.up.wait(), Status::Exited(0));
    let locals: Vec<_> = scene.live.seen().iter().map(|one| one.local).collect();
    let forwarded = scene.witness.packets(|p| locals.contains(&p.source));
    assert!(
        forwarded.is_empty(),
        "some went on in clear: {forwarded:#?}"
    );
    scene.site.wait_untouched();
    scene.assert_direct();
}

fn keeper_killed(means: Means) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let scene = Scene::new(means, OnFailure::Closed, Family::V6);
    let last = scene.site.process("keeper");
    kill(&[last]);
    eventually("another keeper is in the journal", || {
        (scene.site.process("keeper") != last).then_some(())
    });
    scene.live.wait_round();
    let mut fresh = scene.client.connect(scene.at).expect("it is steered");
    assert!(echoes(&mut fresh, b"steered"));
    if scene.means.steers_udp() {
        scene.ask_udp(b"steered").expect("it is echoed");
    }
    assert_eq!(scene.forwarded(), []);
    drop(fresh);
    scene.up.signal(Signal::SIGTERM);
    scene.assert_all_reset();
    assert_eq!(scene.up.wait(), Status::Exited(0));
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
    forwarded_goes_direct_under_open_redirect_nft: RedirectNft, OnFailure::Open, Family::V4;
    forwarded_goes_direct_under_open_tproxy_nft: TproxyNft, OnFailure::Open, Family::V6;
    forwarded_goes_direct_under_open_tproxy_iptables: TproxyIptables, OnFailure::Open, Family::V4;
    forwarded_is_refused_under_closed_redirect_nft: RedirectNft, OnFailure::Closed, Family::V4;
    forwarded_is_refused_under_closed_redirect_iptables: RedirectIptables, OnFailure::Closed, Family::V6;
    forwarded_is_refused_under_closed_tproxy_nft_v4: TproxyNft, OnFailure::Closed, Family::V4;
    forwarded_is_refused_under_closed_tproxy_nft_v6: TproxyNft, OnFailure::Closed, Family::V6;
    forwarded_is_refused_under_closed_tproxy_iptables: TproxyIptables, OnFailure::Closed, Family::V4;
    forwarded_is_refused_under_closed_tproxy_legacy: TproxyLegacy, OnFailure::Closed, Family::V6;
    forwarded_goes_direct_under_open_tun: Tun, OnFailure::Open, Family::V4;
    forwarded_is_refused_under_closed_tun_v4: Tun, OnFailure::Closed, Family::V4;
    forwarded_is_refused_under_closed_tun_v6: Tun, OnFailure::Closed, Family::V6;
}

cases! { both_killed:
    forwarded_goes_direct_when_both_are_killed_under_open: TproxyNft, OnFailure::Open;
    forwarded_is_refused_until_clean_when_both_are_killed_nft: TproxyNft, OnFailure::Closed;
    forwarded_is_dropped_until_clean_when_both_are_killed_iptables: TproxyIptables, OnFailure::Closed;
    forwarded_is_refused_until_clean_when_both_are_killed_redirect: RedirectNft, OnFailure::Closed;
    forwarded_is_refused_until_clean_when_both_are_killed_tun: Tun, OnFailure::Closed;
}

cases! { stopped:
    forwarded_is_drained_or_reset_redirect: RedirectNft;
    forwarded_is_drained_or_reset_tproxy_nft: TproxyNft;
    forwarded_is_drained_or_reset_tproxy_iptables: TproxyIptables;
    forwarded_is_drained_or_reset_tun: Tun;
}

cases! { keeper_killed:
    forwarded_is_steered_on_when_the_keeper_dies_tproxy: TproxyNft;
    forwarded_is_steered_on_when_the_keeper_dies_redirect: RedirectIptables;
    forwarded_is_steered_on_when_the_keeper_dies_tun: Tun;
}
