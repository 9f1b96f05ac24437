//! What a witness counts of real packets.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use lab::{Cgroup, Host, Lab, Program, Service, Snapshot, Status, require};
use steer_core::address::Family;
use steer_core::instance::Instance;
use steer_core::mark::Mark;
use steer_core::netns::{SocketKind, SocketWish};
use steer_core::object::Binding;
use steer_kernel::witness::{Boundary, Tally, Witness};

/// Two hosts, and a cgroup whose packets are counted on the first.
struct Scene {
    _lab: Lab,
    app: Host,
    srv: Host,
    cgroup: Cgroup,
    instance: Instance,
}

impl Scene {
    fn new(label: &str) -> Self {
        let lab = Lab::new(label);
        let (app, srv) = (lab.host("app"), lab.host("srv"));
        lab.link(&app, &srv);
        Self {
            _lab: lab,
            app,
            srv,
            cgroup: Cgroup::new(label),
            instance: Instance::new(&format!("w{}", std::process::id())).unwrap(),
        }
    }

    fn witness(&self, steered: Option<Mark>) -> Witness {
        let (instance, cgroup) = (&self.instance, self.cgroup.name());
        let witness = || Witness::of_cgroup(instance, cgroup, steered);
        self.app.enter(witness).unwrap()
    }

    /// A program in the cgroup.
    fn python(&self, code: &str) -> Program {
        let python = self.app.program("python3").args(["-c", code]);
        python.cgroup(&self.cgroup)
    }
}

/// A witness of a whole host, by a socket that was made there and used from outside.
fn of_all(host: &Host, boundary: &Boundary<'_>) -> Witness {
    let wish = SocketWish {
        family: Family::V4,
        kind: SocketKind::Filter,
        binding: Binding::Own,
        mark: None,
        bind: None,
    };
    let socket = host.enter(|| wish.open()).unwrap();
    let instance = Instance::new(&format!("w{}", std::process::id())).unwrap();
    Witness::of_namespace(&instance, socket, boundary).unwrap()
}

fn told(tally: &Tally) -> Vec<String> {
    tally.left.iter().map(ToString::to_string).collect()
}

/// The datagrams alone: the kernel itself tells a link of its groups (MLD).
fn udp(tally: &Tally) -> Vec<String> {
    let mut told = told(tally);
    told.retain(|line| line.starts_with("udp "));
    told
}

#[test]
fn what_a_cgroup_sends_is_told_by_protocol_destination_and_port() {
    require!(Root, Cgroup2, Program("python3"));
    let scene = Scene::new("witness");
    let mut witness = scene.witness(None);
    for family in lab::Family::BOTH {
        let _server = scene.srv.serve(80, Service::Banner(b"there".to_vec()));
        let at = scene.srv.at(family, 80);
        let ip = at.ip();
        let both = format!(
            "import socket\n\
             s = socket.create_connection(('{ip}', 80)); s.recv(5); s.close()\n\
             u = socket.socket(socket.getaddrinfo('{ip}', 9)[0][0], socket.SOCK_DGRAM)\n\
             for _ in range(3): u.sendto(b'x', ('{ip}', 9))"
        );
        scene.python(&both).run().expect_success();
        let told = told(&witness.read().unwrap());
        let udp = std::net::SocketAddr::new(ip, 9);
        assert!(told.contains(&format!("udp {udp}, 3 packets")), "{told:?}");
        let tcp = format!("tcp {at}, ");
        assert!(told.iter().any(|line| line.starts_with(&tcp)), "{told:?}");
    }
    let tally = witness.read().unwrap();
    let listed: u64 = tally.left.iter().map(|left| left.packets).sum();
    assert_eq!((tally.counted, tally.unlisted), (listed, 0));
}

#[test]
fn a_protocol_without_ports_is_told_by_its_destination() {
    require!(Root, Cgroup2, Program("python3"));
    let scene = Scene::new("noports");
    let mut witness = scene.witness(None);
    let ip = scene.srv.at(lab::Family::V4, 1).ip();
    // A raw socket of an experimental protocol, and an echo request.
    let code = format!(
        "import socket\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253); s.sendto(b'four', ('{ip}', 0))\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\n\
         s.sendto(bytes([8, 0, 0xf7, 0xff, 0, 0, 0, 0]), ('{ip}', 0))"
    );
    scene.python(&code).run().expect_success();
    let mut told = told(&witness.read().unwrap());
    told.sort();
    let expected = [
        format!("icmp {ip}, 1 packet"),
        format!("protocol 253 {ip}, 1 packet"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_stays_on_the_host_or_is_another_cgroups_has_not_left() {
    require!(Root, Cgroup2, Program("python3"));
    let scene = Scene::new("stays");
    let mut witness = scene.witness(None);
    for family in lab::Family::BOTH {
        let _here = scene.app.serve(81, Service::Banner(b"here!".to_vec()));
        let own = scene.app.at(family, 81).ip();
        let code = format!(
            "import socket\ns = socket.create_connection(('{own}', 81)); print(s.recv(5).decode())"
        );
        assert_eq!(scene.python(&code).run().expect_success().trim(), "here!");
        // Beside the cgroup.
        let at = scene.srv.at(family, 9);
        let _ = scene.app.ask_udp(at, b"x", Duration::from_millis(100));
    }
    let tally = witness.read().unwrap();
    assert!(tally.counted > 6, "{tally:?}");
    assert_eq!(tally.left, []);
}

#[test]
fn what_is_marked_for_the_engine_has_left_where_it_goes_elsewhere() {
    require!(Root, Cgroup2, Program("python3"));
    let scene = Scene::new("strays");
    let mut witness = scene.witness(Some(Mark::STEER));
    let ip = scene.srv.at(lab::Family::V4, 9).ip();
    let code = format!(
        "import socket\n\
         u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         u.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, ({}).to_bytes(4, 'little'))\n\
         u.sendto(b'x', ('{ip}', 9))",
        Mark::STEER.value
    );
    scene.python(&code).run().expect_success();
    let told = told(&witness.read().unwrap());
    assert_eq!(told, [format!("udp {ip}:9, 1 packet")]);
}

#[test]
fn what_leaves_a_namespace_by_an_interface_is_told() {
    require!(Root);
    let scene = Scene::new("interface");
    let mut witness = of_all(&scene.app, &Boundary::Interface { own: &[] });
    for family in lab::Family::BOTH {
        let own = scene.app.at(family, 9);
        let _ = scene.app.ask_udp(own, b"x", Duration::from_millis(100));
    }
    assert_eq!(udp(&witness.read().unwrap()), [""; 0]);
    let at = scene.srv.at(lab::Family::V4, 9);
    let _ = scene.app.ask_udp(at, b"x", Duration::from_millis(100));
    assert_eq!(
        udp(&witness.read().unwrap()),
        [format!("udp {at}, 1 packet")]
    );
    // The datagrams, and the answers that nobody is there.
    assert!(witness.read().unwrap().counted >= 5);
}

#[test]
fn what_is_sent_past_a_namespaces_own_addresses_is_told_although_it_is_refused() {
    require!(Root, Program("nft"), Program("python3"));
    let scene = Scene::new("destination");
    let own: Vec<_> = lab::Family::BOTH
        .map(|family| scene.app.address(family))
        .to_vec();
    let boundary = Boundary::Destination {
        own: &own,
        bypass: Mark::BYPASS,
    };
    let refuse = "add table inet t; add chain inet t c { type filter hook output priority -400; }; \
                  add rule inet t c udp dport 9 reject";
    let nft = scene.app.program("nft").arg(refuse);
    nft.run().expect_success();
    let mut witness = of_all(&scene.app, &boundary);
    let mut expected = Vec::new();
    for family in lab::Family::BOTH {
        let loopback = family.loopback();
        for ip in [loopback, scene.app.address(family)] {
            let at = std::net::SocketAddr::new(ip, 8);
            let _ = scene.app.ask_udp(at, b"x", Duration::from_millis(100));
        }
        let at = scene.srv.at(family, 9);
        let _ = scene.app.ask_udp(at, b"x", Duration::from_millis(100));
        expected.push(format!("udp {at}, 1 packet"));
    }
    // What the engine sends is not the command's.
    let marked = format!(
        "import socket\n\
         u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         u.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, {})\n\
         u.sendto(b'x', ('{}', 8))",
        Mark::BYPASS.value,
        scene.srv.at(lab::Family::V4, 8).ip()
    );
    let engine = scene.app.program("python3").args(["-c", &marked]);
    engine.run().expect_success();
    // What comes from outside to a port that nobody has is told of by the kernel.
    for family in lab::Family::BOTH {
        let closed = std::net::SocketAddr::new(scene.app.address(family), 9999);
        let heard = scene.srv.ask_udp(closed, b"x", Duration::from_secs(10));
        assert_eq!(heard, Err(lab::Failure::Refused), "{family:?}");
    }
    let tally = witness.read().unwrap();
    assert_eq!(udp(&tally), expected);
    let icmp = told(&tally)
        .into_iter()
        .find(|line| line.starts_with("icmp "));
    assert_eq!(icmp, None);
}

#[test]
fn a_witness_leaves_nothing_and_nobody_else_can_change_it() {
    require!(Root, Cgroup2, Program("nft"));
    let scene = Scene::new("gone");
    let before = Snapshot::take(&scene.app).of_host_only();
    let mut witness = scene.witness(None);
    let nft = |command: &str| scene.app.program("nft").arg(command).run();
    let listed = nft("list ruleset").expect_success();
    let table = format!("steer_{}_witness", scene.instance);
    assert!(listed.contains(&format!("table inet {table}")), "{listed}");
    let delete = nft(&format!("delete table inet {table}"));
    assert_ne!(delete.status, Status::Exited(0));
    nft("flush ruleset").expect_success();
    witness.read().unwrap();
    let error = scene
        .app
        .enter(|| Witness::of_cgroup(&scene.instance, scene.cgroup.name(), None))
        .unwrap_err();
    assert!(error.help().contains("--name"), "{error:?}");
    drop(witness);
    Snapshot::wait_same(&scene.app, &before, Snapshot::of_host_only);
}
