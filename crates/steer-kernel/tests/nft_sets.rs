//! What rules look up in sets holds at every moment, also while the sets are swapped.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails the test"
)]

#[path = "support/steering.rs"]
mod steering;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::{Host, Lab, Snapshot, require};
use socket2::{Domain, Socket, Type};
use steer_core::address::{Cidr, Family, Protocol};
use steer_core::driver::Driver;
use steer_core::ruleset::{ChainKind, Role, Rule, Ruleset, Test, Verdict};
use steer_core::symbol::PortRef;
use steer_kernel::nft::NftDriver;
use steering::{Steering, list, redirect, ruleset};

/// Two linked hosts without servers.
fn hosts() -> (Host, Host) {
    let lab = Lab::new("nftset");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    (app, srv)
}

/// An address, and hosts of 10.0.0.0/8 of which none are adjacent, other ones for another `turn`.
fn networks(with: SocketAddr, count: u32, turn: u32) -> Vec<Cidr> {
    let far = (0..count).map(|n| {
        let host = Ipv4Addr::from_bits(0x0a00_0000 + 4 * n + turn % 2);
        Cidr::host(host.into())
    });
    far.chain([Cidr::host(with.ip())]).collect()
}

/// What is listed is steered.
fn included(nets: Vec<Cidr>) -> Ruleset {
    redirect(15001, [Test::To(nets)])
}

/// What is not listed is steered.
fn excluded(nets: Vec<Cidr>) -> Ruleset {
    let mut rules = redirect(15001, []);
    let spare = Rule::new([Test::To(nets)], Verdict::Return, "a test spares");
    rules.chains[0].rules.insert(0, spare);
    rules
}

/// Takes connections until it is told to stop and none is left; gives their number.
fn accepted(listener: &TcpListener, stop: &AtomicBool) -> usize {
    listener.set_nonblocking(true).unwrap();
    let mut count = 0;
    loop {
        let last = stop.load(Ordering::Relaxed);
        match listener.accept() {
            Ok(_) => count += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if last {
                    return count;
                }
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Connects again and again until it is told to stop; gives the number of connects.
fn connects(to: SocketAddr, stop: &AtomicBool) -> usize {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Without it no port would be left soon.
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        socket.connect(&to.into()).unwrap();
        count += 1;
    }
    count
}

/// Swaps lists of so many networks under somebody who connects; tells how many connects went to
/// the server, and how many to the engine's port.
fn swapped(rules: fn(Vec<Cidr>) -> Ruleset, count: u32, turns: u32) -> (usize, usize) {
    let (app, srv) = hosts();
    let there = srv.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap());
    let here = app.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 15001)).unwrap());
    let at = srv.at(lab::Family::V4, 80);
    let lists = [0, 1].map(|turn| [rules(networks(at, count, turn))]);
    let mut steering = Steering::on(&app);
    steering.set(&lists[0]).unwrap();
    let (enough, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let (direct, steered, made) = thread::scope(|scope| {
        let direct = scope.spawn(|| accepted(&there, &stop));
        let steered = scope.spawn(|| accepted(&here, &stop));
        let client = scope.spawn(|| app.enter(|| connects(at, &enough)));
        let swapping = scope.spawn(|| {
            for turn in 1..=turns {
                steering.set(&lists[(turn % 2) as usize]).unwrap();
            }
        });
        let swapped = swapping.join();
        enough.store(true, Ordering::Relaxed);
        let made = client.join();
        stop.store(true, Ordering::Relaxed);
        swapped.unwrap();
        (
            direct.join().unwrap(),
            steered.join().unwrap(),
            made.unwrap(),
        )
    });
    println!("{count} networks, {turns} swaps: {direct} direct, {steered} steered of {made}");
    assert_eq!(direct + steered, made);
    (direct, steered)
}

#[test]
fn no_connection_goes_direct_while_tens_of_thousands_of_networks_are_swapped() {
    require!(Root);
    let (direct, steered) = swapped(included, 50_000, 6);
    assert_eq!(direct, 0);
    assert!(steered > 0);
}

#[test]
fn no_connection_is_steered_while_tens_of_thousands_of_spared_networks_are_swapped() {
    require!(Root);
    let (direct, steered) = swapped(excluded, 50_000, 6);
    assert_eq!(steered, 0);
    assert!(direct > 0);
}

/// Sends datagrams until it is told to stop; gives how many left, and how many were refused.
fn sends(to: SocketAddr, stop: &AtomicBool) -> (usize, usize) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let (mut left, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        match socket.send_to(b"x", to) {
            Ok(_) => left += 1,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    (left, refused)
}

/// Swaps short lists hundreds of times under somebody who sends. A short list is empty to packets
/// for some microseconds where it is made with its rules: one in ten to six swaps showed it.
fn swapped_often(rules: fn(Vec<Cidr>) -> Ruleset) -> (usize, usize) {
    let (app, srv) = hosts();
    let at = srv.at(lab::Family::V4, 80);
    let lists = [0, 1].map(|turn| [rules(networks(at, 10, turn))]);
    let mut steering = Steering::on(&app);
    steering.set(&lists[0]).unwrap();
    let enough = AtomicBool::new(false);
    let (left, refused) = thread::scope(|scope| {
        let sending = scope.spawn(|| app.enter(|| sends(at, &enough)));
        let swapping = scope.spawn(|| {
            for turn in 1..=500 {
                steering.set(&lists[turn % 2]).unwrap();
            }
        });
        let swapped = swapping.join();
        enough.store(true, Ordering::Relaxed);
        let sent = sending.join();
        swapped.unwrap();
        sent.unwrap()
    });
    println!("500 swaps: {left} left, {refused} refused");
    (left, refused)
}

#[test]
fn whom_a_guard_refuses_never_passes_while_short_lists_are_swapped() {
    require!(Root);
    let (left, refused) = swapped_often(guard);
    assert_eq!(left, 0);
    assert!(refused > 0);
}

#[test]
fn whom_a_guard_spares_is_never_refused_while_short_lists_are_swapped() {
    require!(Root);
    let (left, refused) = swapped_often(|nets| {
        let mut rules = guard(nets);
        let list = &mut rules.chains[0].rules;
        list[0].verdict = Verdict::Return;
        list.push(Rule::new([], Verdict::Prohibit, "a test refuses"));
        rules
    });
    assert_eq!(refused, 0);
    assert!(left > 0);
}

/// Looks up a list, and jumps to where nothing is: its sets can be made, its rules cannot.
fn impossible(nets: Vec<Cidr>) -> Ruleset {
    let mut rules = included(nets);
    let jump = Rule::new([], Verdict::Jump("nowhere".to_owned()), "a test fails");
    rules.chains[0].rules.push(jump);
    rules
}

#[test]
fn rules_that_are_refused_after_their_sets_were_made_leave_what_stood() {
    require!(Root, Program("nft"));
    let (app, srv) = hosts();
    let at = srv.at(lab::Family::V4, 80);
    let mut steering = Steering::on(&app);
    let before = Snapshot::take(&app).of_host_only();
    let error = steering.set(&[impossible(networks(at, 10, 0))]);
    assert!(error.unwrap_err().to_string().contains("nf_tables"));
    Snapshot::take(&app).of_host_only().assert_same_as(&before);

    let guard = guard(networks(at, 5, 0));
    let stood = [included(networks(at, 10, 0)), guard.clone()];
    steering.set(&stood).unwrap();
    let (text, before) = (list(&app), Snapshot::take(&app).of_host_only());
    for nets in [networks(at, 10, 0), networks(at, 10, 1)] {
        steering
            .set(&[impossible(nets), guard.clone()])
            .unwrap_err();
        assert_eq!(list(&app), text);
        Snapshot::take(&app).of_host_only().assert_same_as(&before);
    }
    steering.set(&stood).unwrap();
    assert_eq!(list(&app), text);
}

#[test]
fn equal_sets_are_kept_shared_and_removed_when_nothing_looks_them_up() {
    require!(Root, Program("nft"));
    let (app, srv) = hosts();
    let at = srv.at(lab::Family::V4, 80);
    let sets = || -> Vec<String> {
        let listed = app.program("nft").args(["-a", "list", "ruleset"]).run();
        let text = listed.expect_success();
        let lines = text.lines().map(str::trim);
        let sets = lines.filter(|line| line.starts_with("set "));
        sets.map(str::to_owned).collect()
    };
    let twice = |port: u16| {
        let mut rules = included(networks(at, 10, 0));
        let list = &mut rules.chains[0].rules;
        list[0].verdict = Verdict::Redirect(PortRef::Fixed(port));
        list.push(list[0].clone());
        rules
    };
    let mut steering = Steering::on(&app);
    steering.set(&[twice(1)]).unwrap();
    let first = sets();
    assert_eq!(first.len(), 1, "two rules look up one set: {first:?}");
    assert!(first[0].contains("# handle"), "{first:?}");
    steering.set(&[twice(2)]).unwrap();
    assert_eq!(sets(), first);
    steering.set(&[included(networks(at, 10, 1))]).unwrap();
    assert_eq!(sets().len(), 1);
    assert_ne!(sets(), first);
    steering.set(&[redirect(15001, [])]).unwrap();
    assert_eq!(sets(), Vec::<String>::new());
}

/// Refuses what is listed.
fn guard(nets: Vec<Cidr>) -> Ruleset {
    let rule = Rule::new([Test::To(nets)], Verdict::Prohibit, "a test refuses");
    ruleset(Role::Guard, ChainKind::Filter, &[Family::V4], vec![rule])
}

/// What stands when somebody dies between the sets and the rules.
#[test]
fn sets_that_a_crash_left_without_rules_are_found_replaced_and_removed() {
    require!(Root, Program("nft"));
    let (app, srv) = hosts();
    let at = srv.at(lab::Family::V4, 80);
    let before = Snapshot::take(&app).of_host_only();
    let left = format!(
        "table inet steer_main_guard {{ comment \"steer {} main guard\"; \
         set networks4_left {{ type ipv4_addr; flags constant, interval; elements = {{ 10.0.0.0/8 }}; }}; }}",
        env!("CARGO_PKG_VERSION")
    );
    let leave = || app.program("nft").arg(&left).run().expect_success();
    leave();
    let mut steering = Steering::on(&app);
    steering.set(&[guard(networks(at, 5, 0))]).unwrap();
    let text = list(&app);
    assert!(!text.contains("networks4_left"), "{text}");
    assert!(text.contains("ip daddr @networks4_"), "{text}");
    steering.set(&[]).unwrap();
    Snapshot::take(&app).of_host_only().assert_same_as(&before);

    leave();
    let mut cleaner = NftDriver::new();
    let found = cleaner.observe(&steering.netns).unwrap();
    assert_eq!(found.len(), 1);
    cleaner.remove(&found[0]).unwrap();
    Snapshot::take(&app).of_host_only().assert_same_as(&before);
}

#[test]
fn the_nft_program_reads_back_what_it_lists() {
    require!(Root, Program("nft"));
    let (app, srv) = hosts();
    let at = srv.at(lab::Family::V4, 80);
    let mut steering = Steering::on(&app);
    let mut nets = networks(at, 20, 0);
    nets.push("172.16.0.0/12".parse().unwrap());
    let ports = ["80", "1000-65535"].map(|range| range.parse().unwrap());
    let mut rules = guard(nets);
    let tests = &mut rules.chains[0].rules[0].tests;
    tests.extend([Test::Protocol(Protocol::Tcp), Test::ToPort(ports.into())]);
    steering.set(&[rules]).unwrap();
    let text = list(&app);
    steering.set(&[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules");
    std::fs::write(&file, &text).unwrap();
    app.program("nft")
        .arg("-f")
        .arg(&file)
        .run()
        .expect_success();
    assert_eq!(list(&app), text);
}
