//! What went by a device whose reader is gone: told while the rules stand, and never seen outside.

use std::net::SocketAddr;

use lab::{
    Capture, Client, End, Failure, Family, Host, Live, Packet, Proc, Service, Signal, Status,
    eventually,
};

use crate::site::{Means, OnFailure, Site, echoes};

/// How many connections live when something dies, and how many are silent.
const MANY: usize = 200;
const SILENT: usize = 50;

/// Connections through a device, some of which say nothing, and a witness of the way to the servers.
struct Scene {
    site: Site,
    from: Host,
    up: Proc,
    witness: Capture,
    live: Live,
    silent: Vec<Client>,
    family: Family,
}

impl Scene {
    fn new((site, from, witness): (Site, Host, Capture), config: &str, family: Family) -> Self {
        let up = site.up(config).spawn();
        up.wait_line(|line| line.contains("in force"));
        let at = site.srv.at(family, 7);
        let connect = |_| from.connect(at).expect("it is steered");
        let mut silent: Vec<Client> = (0..SILENT).map(connect).collect();
        assert!(silent.iter_mut().all(|client| echoes(client, b"once")));
        let live = Live::start(&from, at, MANY);
        live.wait_round();
        Self {
            site,
            from,
            up,
            witness,
            live,
            silent,
            family,
        }
    }

    /// A program's own host.
    fn here() -> (Site, Host, Capture) {
        let site = Site::new("device");
        let (from, witness) = (site.app.clone(), site.witness());
        (site, from, witness)
    }

    /// A router and a client behind it.
    fn routing() -> (Site, Host, Capture) {
        let (site, from, outer) = Site::routing("device");
        let witness = Capture::start(&site.app, &outer.name);
        (site, from, witness)
    }

    /// Each connection has ended by a reset, also where its program said nothing, or by this host where
    /// one was lost on a busy machine; and no byte of them was seen outside.
    fn assert_reset_unseen(&mut self) {
        let mut locals: Vec<_> = self.silent.iter().map(Client::local).collect();
        let told: Vec<_> = self.silent.iter_mut().map(Client::receive_all).collect();
        for (bytes, end) in told {
            assert!(bytes.is_empty() && self.is_reset(&end), "{end:?}");
        }
        let ended = self.live.wait_ended();
        let odd = ended
            .iter()
            .find(|one| !self.is_reset(&one.end) || one.corrupt);
        assert!(odd.is_none(), "not reset: {odd:#?}");
        locals.extend(ended.iter().map(|one| one.local));
        let own = self.from.address(self.family);
        // Everything is gone by then, so that whatever may leave could.
        let direct = self.assert_direct();
        let of_ours = |p: &Packet| {
            // The kernel may give the port of one that is over to the next.
            let old = locals.contains(&p.source) && p.source != direct;
            p.source.ip() == own && old && !p.payload.is_empty()
        };
        let left = self.witness.packets(of_ours);
        assert!(
            left.is_empty(),
            "{} went on in clear: {left:#?}",
            left.len()
        );
    }

    /// Whether a reset ended it, or, of a socket of the engine's own host, this host itself.
    fn is_reset(&self, end: &End) -> bool {
        match end {
            End::Reset => true,
            End::Failed(errno) => {
                self.from.namespace_name() == self.site.app.namespace_name()
                    && *errno as i32 == ECONNABORTED
            }
            End::Open | End::Fin | End::Closed => false,
        }
    }

    /// What is connected from here on is seen outside.
    fn assert_direct(&self) -> SocketAddr {
        let at = self.site.srv.at(self.family, 7);
        let direct = || -> Result<_, Failure> {
            let mut client = self.from.connect(at)?;
            assert!(echoes(&mut client, b"directly"));
            Ok(client)
        };
        self.site.wait_untouched();
        let client = eventually("direct connections work", || direct().ok());
        let seen = |p: &Packet| p.source == client.local() && p.carries(b"directly");
        self.witness.wait_for(seen);
        client.local()
    }
}

/// How a socket ends that this host's administrator ends (errno(3)).
const ECONNABORTED: i32 = 103;

fn config(means: Means, scope: &str) -> String {
    let on_failure = OnFailure::Open;
    format!("{means}scope: {{ {scope} }}\non_failure: {on_failure}\n")
}

fn killed(means: Means, family: Family) {
    lab::require!(Namespaces);
    let place = Scene::here();
    let _server = place.0.srv.serve(7, Service::Echo);
    let mut scene = Scene::new(place, &config(means, "host: true"), family);
    assert_eq!(scene.up.kill(), Status::Killed(9));
    scene.assert_reset_unseen();
}

fn router_killed(means: Means, family: Family) {
    lab::require!(Namespaces, Cgroup2);
    let place = Scene::routing();
    let _server = place.0.srv.serve(7, Service::Echo);
    let mut scene = Scene::new(place, &config(means, "interface: [eth0]"), family);
    assert_eq!(scene.up.kill(), Status::Killed(9));
    scene.assert_reset_unseen();
}

fn stopped(means: Means, family: Family) {
    lab::require!(Namespaces);
    let place = Scene::here();
    let _server = place.0.srv.serve(7, Service::Echo);
    let mut scene = Scene::new(place, &config(means, "host: true"), family);
    scene.up.signal(Signal::SIGTERM);
    assert_eq!(scene.up.wait(), Status::Exited(0));
    scene.assert_reset_unseen();
}

macro_rules! cases {
    ($run:ident: $($name:ident: $means:ident, $family:expr;)*) => {
        $(#[test]
        fn $name() {
            $run(Means::$means, $family);
        })*
    };
}

cases! { killed:
    a_killed_engine_s_connections_are_reset_before_anything_is_direct_tun_v4: Tun, Family::V4;
    a_killed_engine_s_connections_are_reset_before_anything_is_direct_tun_v6: Tun, Family::V6;
    a_killed_engine_s_connections_are_reset_before_anything_is_direct_tap: Tap, Family::V4;
}

cases! { router_killed:
    a_killed_router_s_clients_are_reset_before_anything_is_direct_tun_v4: Tun, Family::V4;
    a_killed_router_s_clients_are_reset_before_anything_is_direct_tun_v6: Tun, Family::V6;
    a_killed_router_s_clients_are_reset_before_anything_is_direct_tap: Tap, Family::V6;
}

cases! { stopped:
    what_outlasts_the_drain_is_reset_before_anything_is_direct_tun_v4: Tun, Family::V4;
    what_outlasts_the_drain_is_reset_before_anything_is_direct_tun_v6: Tun, Family::V6;
    what_outlasts_the_drain_is_reset_before_anything_is_direct_tap: Tap, Family::V4;
}
