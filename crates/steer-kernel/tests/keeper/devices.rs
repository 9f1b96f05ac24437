//! Jobs with a device: it goes with whoever reads it, and what refuses stays as the job says.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use lab::{Proc, Signal, Snapshot, Status, eventually};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use steer_core::address::Family;
use steer_core::intent::OnFailure;
use steer_core::journal::State;
use steer_core::keeper::Job;
use steer_core::object::{
    Device, Layer, Leads, Object, PolicyRule, Route, device_address, device_net,
};
use steer_core::plan::{Life, Netns, Planned};
use steer_core::symbol::{MarkRef, Slot, TableRef};

use crate::stage::{Stage, job};

/// The test's job with a device, routes to it, the rule that leads there and, under closed, the way
/// nowhere behind it.
fn with_device(on_failure: OnFailure) -> Job {
    let slot = Slot::numbered(0);
    let table = TableRef::Fixed(slot.table());
    let mut job = job("main", on_failure);
    job.bindings.slot = Some(slot);
    let name = Device::name_of(job.instance(), Layer::Ip);
    let mut push = |life, object| {
        job.objects.push(Planned {
            netns: Netns::Here,
            life,
            object,
        });
    };
    for family in Family::ALL {
        let rule = PolicyRule {
            family,
            mark: MarkRef::Fixed(slot.mark),
            interface: Some("lo".to_owned()),
            table,
        };
        let route = |to| {
            Object::Route(Route {
                family,
                net: None,
                table,
                to,
            })
        };
        push(Life::Support, Object::Rule(rule));
        if on_failure == OnFailure::Closed {
            push(Life::Guard, route(Leads::Nowhere));
        }
        let name = name.clone();
        push(Life::Steer, route(Leads::Device { name, via: None }));
    }
    let address = |family| (device_address(family), device_net(family).prefix());
    let device = Device {
        name,
        layer: Layer::Ip,
        mtu: 1500,
        addresses: Family::ALL.map(address).to_vec(),
        queues: 2,
        bridge: None,
        forwards: false,
    };
    push(Life::Steer, Object::Device(device));
    job.objects.sort_by_key(|planned| planned.life);
    job
}

/// The stage, what its host was like, and the engine with the job in force.
fn engaged(on_failure: OnFailure) -> (Stage, Snapshot, Proc) {
    let stage = Stage::new();
    let before = Snapshot::take(&stage.app).of_host_only();
    let engine = stage.engaged(&with_device(on_failure));
    assert!(device(&stage).is_some());
    (stage, before, engine)
}

/// The device as `ip` shows it: with its index, so that another one differs.
fn device(stage: &Stage) -> Option<String> {
    let shown = stage.app.ip(&["-o", "link"]);
    let mut lines = shown.lines();
    lines.find(|l| l.contains("tun-main")).map(str::to_owned)
}

fn wait_without_device(stage: &Stage) {
    eventually("the device is gone, and the routes by it", || {
        let routes = |family| stage.app.ip(&[family, "route", "show", "table", "all"]);
        let none = ["-4", "-6"]
            .map(routes)
            .iter()
            .all(|r| !r.contains("tun-main"));
        (device(stage).is_none() && none).then_some(())
    });
}

/// What of rules and routes is left.
fn left(stage: &Stage) -> Vec<String> {
    let mut lines = Vec::new();
    for family in ["-4", "-6"] {
        for what in [&["rule"][..], &["route", "show", "table", "15001"]] {
            // A table that nothing was ever in is an error.
            let shown = stage.app.program("ip").arg(family).args(what).run().stdout;
            let ours = shown.lines().filter(|line| line.contains("proto 94"));
            let word = |line: &str| match line.contains("fwmark") {
                true => "rule",
                false if line.starts_with("unreachable default") => "nowhere",
                false => "route",
            };
            lines.extend(ours.map(word).map(str::to_owned));
        }
    }
    lines
}

/// How the kernel answers a datagram that carries the mark.
fn sent_with_the_mark(stage: &Stage, family: lab::Family) -> Result<usize, Errno> {
    let to = stage.srv.at(family, 9);
    stage.app.enter(|| {
        let any = match to {
            SocketAddr::V4(_) => Family::V4.unspecified(),
            SocketAddr::V6(_) => Family::V6.unspecified(),
        };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        setsockopt(&socket, sockopt::Mark, &Slot::numbered(0).mark.value).unwrap();
        let sent = socket.send_to(b"x", to);
        sent.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap()))
    })
}

/// Nothing of ours is left, and the host is as it was.
fn assert_untouched(stage: &Stage, keeper: Pid, before: &Snapshot) {
    stage.wait_clean(keeper);
    Snapshot::take(&stage.app)
        .of_host_only()
        .assert_same_as(before);
}

/// The engine gives its objects back and ends.
fn release(stage: &Stage, engine: &Proc, keeper: Pid, before: &Snapshot) {
    engine.write(b"release\n");
    engine.wait_line(|line| line == "released Clean");
    engine.close_input();
    assert_eq!(engine.wait(), Status::Exited(0));
    assert_untouched(stage, keeper, before);
}

fn wait_gone(keeper: Pid) {
    eventually("the keeper is gone", || {
        (!Path::new(&format!("/proc/{keeper}/stat")).exists()).then_some(())
    });
}

pub(crate) fn a_device_goes_with_an_orderly_release() {
    let (stage, before, engine) = engaged(OnFailure::Closed);
    let keeper = stage.keeper_of("main");
    engine.write(b"retire\n");
    engine.wait_line(|line| line == "done");
    assert!(device(&stage).is_some());
    engine.write(b"release\n");
    engine.wait_line(|line| line == "released Clean");
    assert!(device(&stage).is_none());
    engine.close_input();
    assert_eq!(engine.wait(), Status::Exited(0));
    assert_untouched(&stage, keeper, &before);
}

pub(crate) fn what_lost_its_device_is_retired_and_cannot_be_changed() {
    let (stage, before, engine) = engaged(OnFailure::Open);
    let keeper = stage.keeper_of("main");
    let taking = stage.rules();
    stage.app.ip(&["link", "del", "tun-main"]);
    engine.write(b"commit\n");
    engine.wait_line(|line| line.starts_with("refused: "));
    let told = engine.stdout();
    assert!(told.contains("another program removed it"), "{told}");
    assert!(told.contains("help: restart steer"), "{told}");
    assert_eq!(stage.rules(), taking);
    engine.write(b"retire\n");
    engine.wait_line(|line| line == "done");
    assert_ne!(stage.rules(), taking);
    release(&stage, &engine, keeper, &before);
}

pub(crate) fn open_leaves_no_device_and_no_route_when_the_engine_is_killed() {
    let (stage, before, engine) = engaged(OnFailure::Open);
    let keeper = stage.keeper_of("main");
    engine.kill();
    assert_untouched(&stage, keeper, &before);
}

pub(crate) fn closed_leaves_the_way_nowhere_when_the_engine_is_killed_and_the_next_start_has_it() {
    let (stage, before, engine) = engaged(OnFailure::Closed);
    let keeper = stage.keeper_of("main");
    engine.kill();
    stage.wait_state("main", State::Crashed);
    wait_without_device(&stage);
    assert_eq!(left(&stage), ["rule", "nowhere", "rule", "nowhere"]);
    // At once, and as the route says.
    for family in lab::Family::BOTH {
        let refused = sent_with_the_mark(&stage, family).unwrap_err();
        assert!(
            matches!(refused, Errno::EHOSTUNREACH | Errno::ENETUNREACH),
            "{refused}"
        );
    }
    wait_gone(keeper);
    let engine = stage.engaged(&with_device(OnFailure::Closed));
    assert!(device(&stage).is_some());
    let keeper = stage.keeper_of("main");
    release(&stage, &engine, keeper, &before);
}

pub(crate) fn a_device_outlives_its_keeper_and_the_next_one_has_it() {
    let (stage, before, engine) = engaged(OnFailure::Open);
    let stood = device(&stage);
    let routes = left(&stage);
    kill(stage.keeper_of("main"), Signal::SIGKILL).unwrap();
    engine.wait_line(|line| line == "lost");
    assert_eq!(device(&stage), stood);
    engine.write(b"restore\n");
    engine.wait_line(|line| line == "done");
    assert_eq!((device(&stage), left(&stage)), (stood, routes));
    let second = stage.keeper_of("main");
    engine.kill();
    stage.wait_clean(second);
    Snapshot::take(&stage.app)
        .of_host_only()
        .assert_same_as(&before);
}

pub(crate) fn both_killed_leaves_no_device_and_clean_removes_what_leads_nowhere() {
    for (on_failure, stays) in [
        (OnFailure::Open, &["rule", "rule"][..]),
        (OnFailure::Closed, &["rule", "nowhere", "rule", "nowhere"]),
    ] {
        let (stage, before, engine) = engaged(on_failure);
        let keeper = stage.keeper_of("main");
        // Stopped first, so that it cannot do its work in between.
        kill(keeper, Signal::SIGSTOP).unwrap();
        kill(Pid::from_raw(engine.pid()), Signal::SIGKILL).unwrap();
        kill(keeper, Signal::SIGKILL).unwrap();
        engine.wait();
        wait_without_device(&stage);
        assert_eq!(left(&stage), stays);
        for family in lab::Family::BOTH {
            // Nothing is left under open that hurts, and nothing under closed that lets out.
            let sent = sent_with_the_mark(&stage, family);
            assert_eq!(sent.is_ok(), on_failure == OnFailure::Open, "{sent:?}");
        }
        let output = stage.role("clean").run();
        assert_eq!(output.status, Status::Exited(0), "{output:?}");
        assert_untouched(&stage, keeper, &before);
    }
}

pub(crate) fn clean_all_ends_a_device_that_is_read() {
    let (stage, before, engine) = engaged(OnFailure::Closed);
    let keeper = stage.keeper_of("main");
    let output = stage.role("clean").arg("all").run();
    assert_eq!(output.status, Status::Exited(0), "{output:?}");
    engine.wait();
    assert_untouched(&stage, keeper, &before);
}
