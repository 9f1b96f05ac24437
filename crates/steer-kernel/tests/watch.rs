//! What others do to our devices, routes and rules while they are in force.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use lab::{DEADLINE, Host, Lab, require};
use steer_core::address::Family;
use steer_core::driver::{Change, Driver};
use steer_core::instance::Instance;
use steer_core::object::{
    Device, Domain, Layer, Leads, Object, PolicyRule, Route, device_address, device_net,
};
use steer_core::plan::{Life, Netns, Planned};
use steer_core::symbol::{MarkRef, Slot, TableRef};
use steer_kernel::device::DeviceDriver;
use steer_kernel::route::RouteDriver;
use steer_kernel::route::watch::{Noticed, Watched};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A host with a device of ours, routes to it and rules, and who tells what becomes of them.
struct Scene {
    host: Host,
    peer: Host,
    devices: DeviceDriver,
    objects: Vec<Object>,
    watched: Watched,
    noticed_rx: mpsc::Receiver<Noticed>,
}

impl Scene {
    fn new() -> Self {
        Self::of(objects())
    }

    fn of(objects: Vec<Object>) -> Self {
        let lab = Lab::new("watch");
        let (host, peer) = (lab.host("app"), lab.host("srv"));
        lab.link(&host, &peer);
        let mut devices = DeviceDriver::new();
        set(&mut devices, &host, &[], &objects);
        set(&mut RouteDriver::new(), &host, &[], &objects);
        let watched = Watched::new(&planned(&host, &objects));
        let (noticed_tx, noticed_rx) = mpsc::channel(16);
        tokio::spawn(watched.clone().tell(noticed_tx));
        Self {
            host,
            peer,
            devices,
            objects,
            watched,
            noticed_rx,
        }
    }

    /// Runs `ip` there.
    async fn ip(&self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        tokio::task::block_in_place(|| self.host.ip(&words));
    }

    async fn next(&mut self) -> Noticed {
        let next = timeout(DEADLINE, self.noticed_rx.recv()).await;
        next.expect("something is noticed").expect("it is watched")
    }

    /// Waits until the watch has begun: it tells of default routes that come and go.
    async fn begun(&mut self) {
        let via = self.peer.address(lab::Family::V4);
        for metric in 1_u32.. {
            let route = format!("default via {via} metric {metric}");
            self.ip(&format!("route add {route}")).await;
            self.ip(&format!("route del {route}")).await;
            let last = format!("metric {metric}");
            let went = |noticed: &Noticed| match noticed {
                Noticed::DefaultRoute {
                    route, is_there, ..
                } => !is_there && route.ends_with(&last),
                other => panic!("{other}"),
            };
            // Before it has begun nothing is told, however long one waits.
            while let Ok(Some(noticed)) = timeout(A_TURN, self.noticed_rx.recv()).await {
                if went(&noticed) {
                    return;
                }
            }
            assert!(metric < TURNS, "it does not begin");
        }
    }
}

/// How long one turn waits, and how often.
const A_TURN: Duration = Duration::from_millis(200);
const TURNS: u32 = 300;

fn set(driver: &mut dyn Driver, host: &Host, from: &[Object], to: &[Object]) {
    let domain = driver.domain();
    let of_domain = |list: &[Object]| -> Vec<Object> {
        let list = list.iter().filter(|object| object.domain() == domain);
        list.cloned().collect()
    };
    driver
        .set(&Change {
            instance: &Instance::new("main").unwrap(),
            netns: &netns(host),
            from: &of_domain(from),
            to: &of_domain(to),
        })
        .unwrap();
}

fn netns(host: &Host) -> Netns {
    Netns::Path(host.namespace_path().to_str().unwrap().to_owned())
}

fn planned(host: &Host, objects: &[Object]) -> Vec<Planned> {
    let planned = |object: &Object| Planned {
        netns: netns(host),
        life: Life::Steer,
        object: object.clone(),
    };
    objects.iter().map(planned).collect()
}

fn objects() -> Vec<Object> {
    let slot = Slot::numbered(0);
    let table = TableRef::Fixed(slot.table());
    let address = |family| (device_address(family), device_net(family).prefix());
    let mut objects = vec![Object::Device(Device {
        name: "tun-main".to_owned(),
        layer: Layer::Ip,
        mtu: 1500,
        addresses: Family::ALL.map(address).to_vec(),
        queues: 1,
        bridge: None,
        forwards: false,
    })];
    for family in Family::ALL {
        let route = |to| {
            Object::Route(Route {
                family,
                net: None,
                table,
                to,
            })
        };
        let name = "tun-main".to_owned();
        objects.extend([
            route(Leads::Device { name, via: None }),
            route(Leads::Nowhere),
            Object::Rule(PolicyRule {
                family,
                mark: MarkRef::Fixed(slot.mark),
                interface: Some("lo".to_owned()),
                table,
            }),
        ]);
    }
    assert!(
        objects
            .iter()
            .all(|o| matches!(o.domain(), Domain::Device | Domain::Route))
    );
    objects
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_others_that_can_take_what_is_steered_is_noticed_and_others_are_not() {
    require!(Root);
    let mut scene = Scene::new();
    scene.begun().await;
    for harmless in [
        // Behind ours, for other marks, for what comes in elsewhere, the kernel's own table.
        "rule add priority 5210 lookup 52",
        "rule add priority 900 fwmark 0x80000/0xff0000 iif eth7 lookup 52",
        "rule add priority 901 fwmark 0x10000000/0x90000000 lookup 52",
        "rule add priority 902 lookup local",
    ] {
        scene.ip(harmless).await;
    }
    scene.ip("rule add priority 1000 lookup 52").await;
    let noticed = scene.next().await;
    assert_eq!(
        noticed,
        Noticed::RuleBefore {
            family: Family::V4,
            rule: "1000: from all lookup 52".to_owned(),
        }
    );
    assert!(noticed.help().unwrap().contains("ip rule"));
    scene
        .ip("-6 rule add priority 1001 fwmark 0x80000000/0x80000000 lookup 52")
        .await;
    let noticed = scene.next().await;
    assert!(
        matches!(
            &noticed,
            Noticed::RuleBefore {
                family: Family::V6,
                ..
            }
        ),
        "{noticed:?}"
    );
    // One that goes and comes again is told of again.
    scene.ip("rule del priority 1000").await;
    scene
        .ip("rule add priority 1000 fwmark 0/0x20000000 lookup 53")
        .await;
    let noticed = scene.next().await;
    assert!(noticed.to_string().contains("lookup 53"), "{noticed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_a_device_is_noticed_once_and_not_for_each_of_its_routes() {
    require!(Root);
    let mut scene = Scene::new();
    scene.begun().await;
    let name = || "tun-main".to_owned();
    scene
        .ip("addr del fd5e:7ee2:0:f8e4::1/64 dev tun-main")
        .await;
    let lost = Noticed::AddressGone {
        name: name(),
        address: device_address(Family::V6),
    };
    assert_eq!(scene.next().await, lost);
    scene.ip("link set tun-main down").await;
    assert_eq!(scene.next().await, Noticed::DeviceDown { name: name() });
    scene.ip("link set tun-main name other").await;
    let now = "other".to_owned();
    assert_eq!(
        scene.next().await,
        Noticed::DeviceRenamed { name: name(), now }
    );
    scene.ip("link del other").await;
    assert_eq!(scene.next().await, Noticed::DeviceGone { name: name() });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_lost_while_it_was_down_is_asked_for_again_and_nobody_is_blamed() {
    require!(Root);
    let mut scene = Scene::new();
    scene.begun().await;
    let name = || "tun-main".to_owned();
    let all = scene.objects.clone();
    let lapsed = Noticed::DeviceLapsed { name: name() };
    for (before, harm, after) in [
        (
            "link set tun-main down",
            Noticed::DeviceDown { name: name() },
            "link set tun-main up",
        ),
        (
            "link set tun-main mtu 1279",
            Noticed::DeviceNarrow {
                name: name(),
                mtu: 1279,
                wanted: 1500,
            },
            "link set tun-main mtu 1500",
        ),
    ] {
        scene.ip(before).await;
        assert_eq!(scene.next().await, harm);
        assert!(timeout(A_TURN, scene.watched.lapsed()).await.is_err());
        scene.ip(after).await;
        assert_eq!(scene.next().await, lapsed);
        let asked = timeout(DEADLINE, scene.watched.lapsed()).await;
        asked.expect("it is asked for");
        // As whoever put it in force does.
        set(&mut scene.devices, &scene.host, &all, &all);
        set(&mut RouteDriver::new(), &scene.host, &all, &all);
    }
    // Down and up before anybody looks.
    let both = ["-c", "ip link set tun-main down; ip link set tun-main up"];
    tokio::task::block_in_place(|| scene.host.program("sh").args(both).run().expect_success());
    while scene.next().await != lapsed {}
    set(&mut scene.devices, &scene.host, &all, &all);
    set(&mut RouteDriver::new(), &scene.host, &all, &all);
    // What is there again can be missed again, by whoever takes it.
    scene.ip("route del default dev tun-main table 15001").await;
    let what = "route ipv4 default dev tun-main table 15001".to_owned();
    assert_eq!(scene.next().await, Noticed::Gone { what });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_device_that_is_gone_is_not_taken_for_the_tun_device_behind_it() {
    require!(Root);
    let (mut outer, inner) = (objects().remove(0), objects().remove(0));
    if let Object::Device(device) = &mut outer {
        device.name = "tap-main".to_owned();
        device.layer = Layer::Ethernet;
        device.addresses.clear();
    }
    let mut scene = Scene::of(vec![outer, inner]);
    scene.begun().await;
    scene.ip("link del tap-main").await;
    let name = "tap-main".to_owned();
    assert_eq!(scene.next().await, Noticed::DeviceGone { name });
    // One of that name that is of another kind is none of ours either.
    scene.ip("link set tun-main name tap-main").await;
    let (name, now) = ("tun-main".to_owned(), "tap-main".to_owned());
    assert_eq!(scene.next().await, Noticed::DeviceRenamed { name, now });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_or_rule_of_ours_that_others_removed_is_noticed() {
    require!(Root);
    let mut scene = Scene::new();
    scene.begun().await;
    let gone = |what: &str| Noticed::Gone {
        what: what.to_owned(),
    };
    scene.ip("route del default dev tun-main table 15001").await;
    let route = gone("route ipv4 default dev tun-main table 15001");
    assert_eq!(scene.next().await, route);
    scene
        .ip("-6 route del unreachable default table 15001 metric 4000000")
        .await;
    let route = gone("route ipv6 unreachable default table 15001");
    assert_eq!(scene.next().await, route);
    scene.ip("rule del priority 1500").await;
    let rule = gone("rule ipv4 priority 1500 iif lo fwmark 0x80000000/0xf0000000 lookup 15001");
    assert_eq!(scene.next().await, rule);
}

#[tokio::test(flavor = "multi_thread")]
async fn default_routes_of_others_that_come_and_go_are_told_and_nothing_is_wrong() {
    require!(Root);
    let mut scene = Scene::new();
    scene.begun().await;
    let via = scene.peer.address(lab::Family::V6);
    let out = scene.host.uplink().name;
    scene
        .ip(&format!("-6 route add default via {via} metric 7"))
        .await;
    let noticed = scene.next().await;
    assert_eq!(
        noticed,
        Noticed::DefaultRoute {
            family: Family::V6,
            route: format!("default via {via} dev {out} metric 7"),
            is_there: true,
        }
    );
    assert_eq!(noticed.help(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_by_ourselves_is_not_told() {
    require!(Root);
    let mut scene = Scene::new();
    scene.begun().await;
    scene.ip("rule add priority 1000 lookup 52").await;
    assert!(matches!(scene.next().await, Noticed::RuleBefore { .. }));
    scene.watched.expect(&[]);
    let all = scene.objects.clone();
    let fewer: Vec<Object> = all
        .iter()
        .filter(|o| !matches!(o, Object::Rule(_)))
        .cloned()
        .collect();
    set(&mut RouteDriver::new(), &scene.host, &all, &fewer);
    let planned = planned(&scene.host, &fewer);
    scene.watched.expect(&planned);
    // The next thing that is told is what another does.
    scene.ip("link set tun-main down").await;
    let name = "tun-main".to_owned();
    assert_eq!(scene.next().await, Noticed::DeviceDown { name });
    set(&mut scene.devices, &scene.host, &all, &[]);
}
