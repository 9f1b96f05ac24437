//! Steering of another network namespace, when the engine dies or stops.

use lab::{
    Capture, End, Family, Host, Live, Proc, Server, Service, Signal, Snapshot, Status, eventually,
};

use crate::site::{Means, OnFailure, Site, assert_refused, echoes, kill};

/// How many connections live when something dies.
const MANY: usize = 50;

/// A host that is steered from another one, with a witness on its uplink.
struct Scene {
    site: Site,
    inner: Host,
    before: Snapshot,
    witness: Capture,
    up: Proc,
    live: Live,
    server: Server,
}

impl Scene {
    fn new(means: Means, on_failure: OnFailure) -> Self {
        let (site, inner) = Site::afar("afar");
        let before = Snapshot::take(&inner).of_host_only();
        let server = site.srv.serve(7, Service::Echo);
        let witness = Capture::start(&inner, &inner.uplink().name);
        let at = site.srv.at(Family::V4, 7);
        // The witness does see what the namespace sends by itself.
        let mut plain = inner.connect(at).expect("nothing is steered");
        assert!(echoes(&mut plain, b"before"));
        witness.wait_for(|p| p.source == plain.local() && p.carries(b"before"));
        plain.finish();
        plain.receive_all();
        let path = inner.namespace_path();
        let config = format!(
            "{means}scope: {{ netns: \"{}\" }}\non_failure: {on_failure}\n",
            path.display()
        );
        let up = site.up(&config).spawn();
        up.wait_line(|line| line.contains("in force"));
        let live = Live::start(&inner, at, MANY);
        live.wait_round();
        let scene = Self {
            site,
            inner,
            before,
            witness,
            up,
            live,
            server,
        };
        scene.assert_unseen();
        scene
    }

    /// Nothing of the live connections has left by itself.
    fn assert_unseen(&self) {
        let locals: Vec<_> = self.live.seen().iter().map(|one| one.local).collect();
        let left = self.witness.packets(|p| locals.contains(&p.source));
        assert!(left.is_empty(), "they went on in clear: {:#?}", left[0]);
    }

    fn assert_all_reset(&self) {
        let ended = self.live.wait_ended();
        let odd = ended
            .iter()
            .find(|one| one.end != End::Reset || one.corrupt);
        assert!(odd.is_none(), "not reset: {odd:#?}");
    }

    /// What the namespace asks for is refused at once, and what the engine's host asks for is not.
    fn assert_closed(&self) {
        let at = self.site.srv.at(Family::V4, 7);
        eventually("connections are refused", || self.inner.connect(at).err());
        self.witness.clear();
        for _ in 0..10 {
            assert_refused(self.inner.connect(at));
        }
        assert_eq!(self.witness.packets(lab::Packet::is_connect), []);
        let own = self.site.app.serve(8, Service::Echo);
        let client = self.site.app.connect(self.site.app.at(Family::V4, 8));
        drop(client.expect("the engine's host is not meant"));
        own.wait_ended(1);
    }

    fn assert_direct(&self) {
        let at = self.site.srv.at(Family::V4, 7);
        let client = eventually("direct connections work", || {
            let mut client = self.inner.connect(at).ok()?;
            echoes(&mut client, b"directly").then_some(client)
        });
        assert!(
            self.server
                .seen()
                .iter()
                .any(|one| one.peer == client.local())
        );
    }

    /// Both namespaces are as they were.
    fn wait_untouched(&self) {
        self.site.wait_untouched();
        Snapshot::wait_same(&self.inner, &self.before, |snapshot| {
            snapshot.of_host_only().without_empty_legacy_tables()
        });
    }
}

fn engine_killed(means: Means, on_failure: OnFailure) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let scene = Scene::new(means, on_failure);
    assert_eq!(scene.up.kill(), Status::Killed(9));
    scene.assert_all_reset();
    scene.assert_unseen();
    if on_failure == OnFailure::Closed {
        scene.assert_closed();
        eventually("it can be cleaned", || {
            let said = scene.site.steer().arg("clean").run().expect_success();
            said.contains("removed").then_some(())
        });
    }
    scene.assert_direct();
    scene.wait_untouched();
}

fn both_killed(means: Means) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let scene = Scene::new(means, OnFailure::Closed);
    kill(&[scene.site.process("keeper"), scene.up.pid()]);
    assert_eq!(scene.up.wait(), Status::Killed(9));
    scene.assert_all_reset();
    scene.assert_unseen();
    scene.assert_closed();
    let said = scene.site.steer().arg("clean").run().expect_success();
    assert!(said.contains(&scene.site.name), "{said}");
    scene.assert_direct();
    scene.wait_untouched();
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
    another_namespace_goes_direct_under_open_redirect: RedirectNft, OnFailure::Open;
    another_namespace_goes_direct_under_open_tproxy: TproxyNft, OnFailure::Open;
    another_namespace_is_refused_under_closed_redirect: RedirectIptables, OnFailure::Closed;
    another_namespace_is_refused_under_closed_tproxy_nft: TproxyNft, OnFailure::Closed;
    another_namespace_is_refused_under_closed_tproxy_iptables: TproxyIptables, OnFailure::Closed;
    another_namespace_goes_direct_under_open_tun: Tun, OnFailure::Open;
    another_namespace_is_refused_under_closed_tun: Tun, OnFailure::Closed;
}

cases! { both_killed:
    another_namespace_is_refused_until_clean_when_both_are_killed_redirect: RedirectNft;
    another_namespace_is_refused_until_clean_when_both_are_killed_tproxy: TproxyNft;
    another_namespace_is_refused_until_clean_when_both_are_killed_tun: Tun;
}

#[test]
fn another_namespace_is_left_as_it_was_when_steering_stops() {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    for means in [Means::RedirectIptables, Means::TproxyNft, Means::Tun] {
        let scene = Scene::new(means, OnFailure::Closed);
        scene.up.signal(Signal::SIGTERM);
        scene.assert_all_reset();
        assert_eq!(scene.up.wait(), Status::Exited(0), "{}", scene.up.stderr());
        scene.assert_unseen();
        scene.wait_untouched();
        scene.assert_direct();
    }
}
