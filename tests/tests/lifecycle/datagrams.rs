//! Flows of datagrams, when what steers them dies or stops.

use std::time::Duration;

use lab::{
    Agent, Capture, End, Failure, Family, Need, Service, Signal, Status, UdpClient, UdpServer,
    eventually,
};

use crate::site::{Means, OnFailure, Site, echoes, kill};

/// A flow that is steered, a server that sees whom it comes from, and a witness that is known to
/// see datagrams that are not.
struct Scene {
    site: Site,
    server: UdpServer,
    witness: Capture,
    agent: Agent,
    flow: UdpClient,
    family: Family,
}

impl Scene {
    fn new(site: Site, means: Means, on_failure: OnFailure, family: Family) -> Self {
        let server = site.srv.serve_udp(7);
        let witness = site.witness();
        let to = site.srv.at(family, 7);
        site.app
            .udp(family)
            .ask(to, WORD)
            .expect("nothing is steered");
        witness.wait_for(|packet| packet.carries(WORD));
        let agent = site.agent(means, on_failure);
        let flow = UdpClient::over(agent.udp(family));
        let scene = Self {
            site,
            server,
            witness,
            agent,
            flow,
            family,
        };
        assert_eq!(scene.ask(), Ok(()));
        assert!(!scene.is_direct(), "it is not steered");
        scene
    }

    fn ask(&self) -> Result<(), Failure> {
        let to = self.site.srv.at(self.family, 7);
        let (answer, from) = self.flow.ask(to, WORD)?;
        assert_eq!((answer.as_slice(), from), (WORD, to));
        Ok(())
    }

    /// Whether the last datagram that the server saw came from the program's own socket.
    fn is_direct(&self) -> bool {
        let port = self.flow.local().port();
        self.server
            .seen()
            .last()
            .is_some_and(|it| it.peer.port() == port)
    }

    /// Nothing of the flow has left by itself.
    fn assert_unseen(&self) {
        let port = self.flow.local().port();
        let seen = self
            .witness
            .packets(|packet| packet.is_udp() && packet.source.port() == port);
        assert!(seen.is_empty(), "{seen:#?}");
    }

    /// The flow, and a fresh one, are refused at once and seen by nobody.
    fn assert_closed(&self) {
        self.flow.patience(Duration::from_secs(5));
        // What was on its way may have found the engine's socket yet.
        eventually("datagrams are refused", || self.ask().err());
        for _ in 0..10 {
            let failure = self.ask().expect_err("nobody takes it");
            assert_ne!(failure, Failure::TimedOut, "refused, not dropped");
        }
        let fresh = UdpClient::over(self.agent.udp(self.family));
        let failure = fresh.ask(self.site.srv.at(self.family, 7), WORD);
        assert_ne!(failure.expect_err("nobody takes it"), Failure::TimedOut);
        self.assert_unseen();
        assert_eq!(
            self.witness
                .packets(|packet| packet.source.port() == fresh.local().port()),
            []
        );
    }

    /// The flow gets nowhere, and is seen by nobody.
    fn assert_dropped(&self) {
        self.flow.patience(Duration::from_millis(300));
        eventually("datagrams go nowhere", || self.ask().err());
        assert!(self.ask().is_err());
        self.assert_unseen();
    }

    /// The very same flow goes direct.
    fn assert_direct(&self) {
        self.flow.patience(Duration::from_millis(500));
        eventually("the flow goes direct", || self.ask().is_ok().then_some(()));
        assert!(self.is_direct());
    }
}

const WORD: &[u8] = b"a datagram of a flow that is steered";

fn engine_killed(means: Means, on_failure: OnFailure, family: Family) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let scene = Scene::new(Site::new("udpkill"), means, on_failure, family);
    assert_eq!(scene.agent.proc().kill(), Status::Killed(9));
    match on_failure {
        OnFailure::Open => scene.assert_direct(),
        OnFailure::Closed => scene.assert_closed(),
    }
    scene.agent.finish();
    scene.site.wait_untouched();
}

fn both_killed(means: Means, on_failure: OnFailure) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let scene = Scene::new(Site::apart("udpboth"), means, on_failure, Family::V4);
    kill(&[scene.site.process("keeper"), scene.agent.proc().pid()]);
    assert_eq!(scene.agent.proc().wait(), Status::Killed(9));
    match (means.rules_have_an_owner(), on_failure) {
        (true, OnFailure::Open) => scene.assert_direct(),
        (true, OnFailure::Closed) => scene.assert_closed(),
        (false, _) => scene.assert_dropped(),
    }
    let cleaned = scene.site.steer().arg("clean").run().expect_success();
    assert!(cleaned.contains(&scene.site.name), "{cleaned}");
    scene.site.assert_untouched();
    scene.assert_direct();
    scene.agent.proc().close_input();
    scene.agent.finish();
    scene.site.assert_untouched();
}

macro_rules! cases {
    ($run:ident: $($name:ident: $means:ident, $($argument:expr),+;)*) => {
        $(#[test]
        fn $name() {
            $run(Means::$means, $($argument),+);
        })*
    };
}

cases! { engine_killed:
    a_flow_of_a_killed_engine_goes_direct_under_open_nft_v4: TproxyNft, OnFailure::Open, Family::V4;
    a_flow_of_a_killed_engine_goes_direct_under_open_nft_v6: TproxyNft, OnFailure::Open, Family::V6;
    a_flow_of_a_killed_engine_goes_direct_under_open_iptables: TproxyIptables, OnFailure::Open, Family::V4;
    a_flow_of_a_killed_engine_is_refused_under_closed_nft_v4: TproxyNft, OnFailure::Closed, Family::V4;
    a_flow_of_a_killed_engine_is_refused_under_closed_nft_v6: TproxyNft, OnFailure::Closed, Family::V6;
    a_flow_of_a_killed_engine_is_refused_under_closed_iptables: TproxyIptables, OnFailure::Closed, Family::V4;
    a_flow_of_a_killed_engine_is_refused_under_closed_legacy: TproxyLegacy, OnFailure::Closed, Family::V6;
    a_flow_of_a_killed_engine_goes_direct_under_open_ebpf_v4: Ebpf, OnFailure::Open, Family::V4;
    a_flow_of_a_killed_engine_goes_direct_under_open_ebpf_v6: Ebpf, OnFailure::Open, Family::V6;
    a_flow_of_a_killed_engine_is_refused_under_closed_ebpf_v4: Ebpf, OnFailure::Closed, Family::V4;
    a_flow_of_a_killed_engine_is_refused_under_closed_ebpf_v6: Ebpf, OnFailure::Closed, Family::V6;
    a_flow_of_a_killed_engine_goes_direct_under_open_tun_v4: Tun, OnFailure::Open, Family::V4;
    a_flow_of_a_killed_engine_goes_direct_under_open_tun_v6: Tun, OnFailure::Open, Family::V6;
    a_flow_of_a_killed_engine_is_refused_under_closed_tun_v4: Tun, OnFailure::Closed, Family::V4;
    a_flow_of_a_killed_engine_is_refused_under_closed_tun_v6: Tun, OnFailure::Closed, Family::V6;
}

cases! { both_killed:
    a_flow_goes_direct_when_both_are_killed_under_open: TproxyNft, OnFailure::Open;
    a_flow_is_refused_until_clean_when_both_are_killed_nft: TproxyNft, OnFailure::Closed;
    a_flow_goes_direct_when_both_are_killed_under_open_ebpf: Ebpf, OnFailure::Open;
    a_flow_is_refused_until_clean_when_both_are_killed_ebpf: Ebpf, OnFailure::Closed;
    a_flow_goes_direct_when_both_are_killed_under_open_tun: Tun, OnFailure::Open;
    a_flow_is_refused_until_clean_when_both_are_killed_tun: Tun, OnFailure::Closed;
    a_flow_is_dropped_until_clean_when_both_are_killed_iptables: TproxyIptables, OnFailure::Closed;
}

/// Another keeper takes over, and no datagram takes another way meanwhile.
#[test]
fn a_flow_outlives_the_keeper() {
    lab::require!(Namespaces, Cgroup2);
    let scene = Scene::new(
        Site::new("udpkeeper"),
        Means::TproxyNft,
        OnFailure::Closed,
        Family::V4,
    );
    let last = scene.site.process("keeper");
    kill(&[last]);
    eventually("another keeper is in the journal", || {
        assert_eq!(scene.ask(), Ok(()));
        (scene.site.process("keeper") != last).then_some(())
    });
    assert_eq!(scene.ask(), Ok(()));
    scene.assert_unseen();
    assert_eq!(scene.agent.finish(), Status::Exited(0));
    scene.site.wait_untouched();
}

/// A server may speak when conntrack has forgotten the flow. Its answer is lost then, as behind any
/// translation of addresses; if it came through, the flow would be the server's, and what the
/// program says to it no longer in scope.
#[test]
fn what_conntrack_has_forgotten_is_steered_again_whoever_speaks_first() {
    lab::require!(
        Namespaces,
        Cgroup2,
        Program("iptables"),
        Program("conntrack")
    );
    for means in [Means::TproxyNft, Means::TproxyIptables] {
        for family in Family::BOTH {
            let scene = Scene::new(Site::new("udpforgot"), means, OnFailure::Closed, family);
            let server = scene.site.srv.udp_at(scene.site.srv.at(family, 9));
            let to = server.local();
            scene.flow.send_to(to, WORD).expect("it is steered");
            let (_, engine) = server.receive().expect("the engine passes it on");
            server.send_to(engine, WORD).expect("the engine listens");
            assert_eq!(scene.flow.receive(), Ok((WORD.to_vec(), to)));

            let flush = scene.site.app.program("conntrack").arg("-F");
            flush.run().expect_success();
            server.send_to(engine, WORD).expect("the engine listens");
            scene.flow.patience(Duration::from_millis(500));
            assert!(scene.flow.receive().is_err(), "it would begin a flow");

            scene.flow.send_to(to, WORD).expect("it is steered");
            let (_, peer) = server.receive().expect("the engine passes it on");
            assert_ne!(peer.port(), scene.flow.local().port());
            scene.assert_unseen();
            assert_eq!(scene.agent.finish(), Status::Exited(0));
            scene.site.wait_untouched();
        }
    }
}

/// Those that steer datagrams of a whole host, as far as this machine lets them.
fn with_ebpf() -> Vec<Means> {
    let mut all = vec![Means::TproxyNft, Means::TproxyIptables, Means::Tun];
    all.extend(lab::require(&[Need::Root, Need::Cgroup2]).then_some(Means::Ebpf));
    all
}

/// A whole host stops being steered: an idle flow keeps nobody waiting, and the socket goes on.
#[test]
fn a_flow_goes_direct_when_steering_stops() {
    lab::require!(Namespaces, Program("iptables"));
    for means in with_ebpf() {
        let site = Site::of_host(means, "udpstop");
        let server = site.srv.serve_udp(7);
        let to = site.srv.at(Family::V4, 7);
        let log = site.log();
        let config = format!(
            "{means}scope: {{ host: true }}\nlog: {{ connections: {{ file: \"{}\" }} }}\n",
            log.display()
        );
        let up = site.up(&config).spawn();
        up.wait_line(|line| line.contains("in force"));
        let flow = site.app.udp(Family::V4);
        flow.ask(to, b"steered").expect("it is echoed");
        let port = flow.local().port();
        assert!(
            server.seen().iter().all(|it| it.peer.port() != port),
            "it is not steered"
        );
        up.signal(Signal::SIGTERM);
        assert_eq!(up.wait(), Status::Exited(0), "{}", up.stderr());
        assert_eq!(site.records().all().len(), 1);
        site.assert_untouched();
        flow.ask(to, b"direct").expect("it is echoed");
        assert_eq!(server.seen().last().map(|it| it.peer.port()), Some(port));
    }
}

/// While a connection holds up the end, a flow of datagrams takes no other way; then it is free.
#[test]
fn a_flow_takes_no_other_way_while_steering_stops() {
    lab::require!(Namespaces, Program("iptables"));
    for means in with_ebpf() {
        let site = Site::of_host(means, "udpstopping");
        let _datagrams = site.srv.serve_udp(7);
        let _connections = site.srv.serve(7, Service::Echo);
        let to = site.srv.at(Family::V4, 7);
        let up = site
            .up(&format!("{means}scope: {{ host: true }}\n"))
            .spawn();
        up.wait_line(|line| line.contains("in force"));
        let witness = site.witness();
        let mut held = site.app.connect(to).expect("it is steered");
        assert!(echoes(&mut held, b"before"));
        let flow = site.app.udp(Family::V4);
        let port = flow.local().port();
        let by_itself = |packet: &lab::Packet| packet.is_udp() && packet.source.port() == port;
        flow.ask(to, WORD).expect("it is steered");

        up.signal(Signal::SIGTERM);
        up.wait_line(|line| line.ends_with("stops"));
        flow.patience(Duration::from_millis(50));
        for _ in 0..20 {
            // Whether it is still served is the engine's affair; whether it leaves is not.
            let _ = flow.ask(to, WORD);
            assert!(echoes(&mut held, b"meanwhile"), "it holds up the end");
        }
        witness.barrier();
        assert_eq!(witness.packets(by_itself), [], "{means:?}");
        held.finish();
        assert_eq!(held.receive_all(), (Vec::new(), End::Fin));
        assert_eq!(up.wait(), Status::Exited(0), "{}", up.stderr());
        site.assert_untouched();

        flow.patience(lab::DEADLINE);
        flow.ask(to, WORD).expect("it is echoed");
        witness.wait_for(by_itself);
    }
}
