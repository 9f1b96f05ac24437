//! Networks, ports and senders, changed while connections are made.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use lab::{Family, Service, eventually};

use crate::scene::{REJECT, Up, Went, way};
use crate::site::{Means, Site, echoes};

/// What is excluded goes direct from then on; what was steered before goes on as it was.
fn excluded_live(means: Means, family: Family) {
    lab::require!(Namespaces, Program("iptables"));
    let site = Site::of_host(means, "excluded");
    let _echo = site.srv.serve(7, Service::Echo);
    let other = site.srv.at(family, 7);
    let address = family.foreign(1);
    site.srv.add_address(address);
    let to = SocketAddr::new(address, 7);
    let up = Up::start(&site, means, "log: { connections: stdout }");
    let live = site.live(to, 5);
    live.wait_round();
    let exclude = format!(
        "log: {{ connections: stdout }}\n\
         traffic: {{ exclude: {{ cidrs: [\"{address}/{}\"] }} }}\n",
        family.full_prefix()
    );
    up.reload(&format!("{exclude}{REJECT}"));
    assert_eq!(way(&site, to), Went::Direct);
    assert_eq!(way(&site, other), Went::Steered);
    live.wait_round();
    up.reload(&format!("log: {{ connections: stdout }}\n{REJECT}"));
    assert_eq!(way(&site, to), Went::Steered);
    live.wait_round();
    up.reload(&exclude);
    live.wait_round();
    let seen = live.stop();
    assert!(seen.iter().all(|one| !one.corrupt));
    // The engine has seen their ends: they were its own all along.
    for one in seen {
        let client = one.local.to_string();
        up.proc
            .wait_line(|line| line.contains(&client) && line.contains("\"ok\""));
    }
    up.stop();
}

#[test]
fn an_excluded_network_goes_direct_and_what_was_steered_goes_on_redirect_nft() {
    excluded_live(Means::RedirectNft, Family::V4);
}

#[test]
fn an_excluded_network_goes_direct_and_what_was_steered_goes_on_redirect_iptables() {
    excluded_live(Means::RedirectIptables, Family::V6);
}

#[test]
fn an_excluded_network_goes_direct_and_what_was_steered_goes_on_tproxy_nft() {
    excluded_live(Means::TproxyNft, Family::V6);
}

#[test]
fn an_excluded_network_goes_direct_and_what_was_steered_goes_on_tproxy_iptables() {
    excluded_live(Means::TproxyIptables, Family::V4);
}

#[test]
fn an_excluded_network_goes_direct_and_what_was_steered_goes_on_ebpf() {
    lab::require!(Root, Cgroup2);
    excluded_live(Means::Ebpf, Family::V4);
}

/// Other ports and other users, each as the last reload says.
fn selected_live(means: Means) {
    lab::require!(Namespaces, Program("iptables"));
    let site = Site::of_host(means, "selected");
    let _seven = site.srv.serve(7, Service::Echo);
    let _eight = site.srv.serve(8, Service::Echo);
    let (seven, eight) = (site.srv.at(Family::V4, 7), site.srv.at(Family::V4, 8));
    let mine = nix_uid();
    let up = Up::start(&site, means, REJECT);
    for (lines, ways) in [
        (
            "traffic: { include: { ports: [7] } }",
            [Went::Steered, Went::Direct],
        ),
        (
            "traffic: { include: { ports: [8] } }",
            [Went::Direct, Went::Steered],
        ),
        ("scope: { uid: 4000000 }", [Went::Direct, Went::Direct]),
        (mine.as_str(), [Went::Steered, Went::Steered]),
        (
            "traffic: { exclude: { ports: [8] } }",
            [Went::Steered, Went::Direct],
        ),
    ] {
        up.reload(&format!("{lines}\n{REJECT}"));
        assert_eq!([way(&site, seven), way(&site, eight)], ways, "{lines}");
    }
    up.stop();
}

/// A scope of the user that this test runs as, as the steered host sees it.
fn nix_uid() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("Uid:"));
    let uid = line.and_then(|line| line.split_whitespace().nth(1));
    format!("scope: {{ uid: {} }}", uid.expect("a user"))
}

#[test]
fn ports_and_users_are_those_of_the_last_reload_redirect_nft() {
    selected_live(Means::RedirectNft);
}

#[test]
fn ports_and_users_are_those_of_the_last_reload_tproxy_iptables() {
    selected_live(Means::TproxyIptables);
}

#[test]
fn ports_and_users_are_those_of_the_last_reload_ebpf() {
    lab::require!(Root, Cgroup2);
    selected_live(Means::Ebpf);
}

/// Tens of thousands of networks that are swapped while somebody connects.
fn many_are_swapped(means: Means) {
    lab::require!(Namespaces);
    let site = Site::of_host(means, "many");
    let _echo = site.srv.serve(7, Service::Echo);
    let address = |n: u8| -> IpAddr { Family::V4.foreign(n) };
    let [always, never, first, second] = [1, 2, 3, 4].map(address);
    for address in [always, never, first, second] {
        site.srv.add_address(address);
    }
    let at = |address: IpAddr| SocketAddr::new(address, 7);
    let lists = [list(&[always, first], 0), list(&[always, second], 1)];
    let up = Up::start(&site, means, &lists[0]);
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(way(&site, at(always)), Went::Steered);
                    assert_eq!(way(&site, at(never)), Went::Direct);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let swaps = scope.spawn(|| {
            for turn in 1..=6 {
                let before = rounds.load(Ordering::Relaxed);
                up.reload(&lists[turn % 2]);
                let ways = match turn % 2 {
                    0 => [Went::Steered, Went::Direct],
                    _ => [Went::Direct, Went::Steered],
                };
                assert_eq!([way(&site, at(first)), way(&site, at(second))], ways);
                eventually("others connect beside it", || {
                    (rounds.load(Ordering::Relaxed) > before).then_some(())
                });
            }
        });
        let swapped = swaps.join();
        stop.store(true, Ordering::Relaxed);
        swapped.expect("each swap holds from its end on");
    });
    up.stop();
}

/// A list of fifty thousand networks and these addresses, in the order of the numbers.
fn list(addresses: &[IpAddr], odd: u32) -> String {
    let mut text = "traffic: { include: { cidrs: [".to_owned();
    for address in addresses {
        let _ = write!(text, "{address},");
    }
    for n in 0..50_000 {
        // Two beside each other would be one network.
        let host = Ipv4Addr::from((10 << 24) + 4 * n + odd);
        let _ = write!(text, "{host},");
    }
    text.push_str("] } }\n");
    text.push_str(REJECT);
    text
}

#[test]
fn fifty_thousand_networks_are_swapped_without_a_wrong_decision_redirect_nft() {
    many_are_swapped(Means::RedirectNft);
}

#[test]
fn fifty_thousand_networks_are_swapped_without_a_wrong_decision_tproxy_nft() {
    many_are_swapped(Means::TproxyNft);
}

#[test]
fn fifty_thousand_networks_are_swapped_without_a_wrong_decision_ebpf() {
    lab::require!(Root, Cgroup2);
    many_are_swapped(Means::Ebpf);
}

/// A cgroup that is named only by a reload, and one that no longer is.
#[test]
fn a_cgroup_is_meant_as_the_last_reload_says() {
    lab::require!(Root, Cgroup2);
    for means in [Means::RedirectNft, Means::Ebpf] {
        let site = Site::of_host(means, "named");
        let _echo = site.srv.serve(7, Service::Echo);
        let echo = site.srv.at(Family::V4, 7);
        let made = |label: &str| match means {
            Means::Ebpf => lab::Cgroup::in_hierarchy(&format!("meant-{label}")),
            _ => lab::Cgroup::new(label),
        };
        let (one, two) = (made("one"), made("two"));
        let agent = |cgroup: &lab::Cgroup| {
            let words = site
                .app
                .program("env")
                .args(lab::Agent::command_line("agent"));
            lab::Agent::start(words.cgroup(cgroup))
        };
        let agents = [agent(&one), agent(&two)];
        let steered = || {
            agents.each_ref().map(|agent| {
                let mut client = agent.connect(echo);
                !client
                    .as_mut()
                    .is_ok_and(|client| echoes(client, b"which way"))
            })
        };
        let scope =
            |cgroup: &lab::Cgroup| format!("scope: {{ cgroup: [{}] }}\n{REJECT}", cgroup.name());
        let up = Up::start(&site, means, &scope(&one));
        assert_eq!(steered(), [true, false], "{means:?}");
        up.reload(&scope(&two));
        assert_eq!(steered(), [false, true], "{means:?}");
        if means == Means::Ebpf {
            // Hooks above those that stand would answer the same calls again.
            for lines in [
                REJECT.to_owned(),
                format!("on_failure: closed\n{}", scope(&two)),
            ] {
                let said = up.reload_in_vain(&lines);
                assert!(said.contains("restart"), "{lines}: {said}");
            }
            assert_eq!(steered(), [false, true], "{means:?}");
        } else {
            up.reload(REJECT);
            assert_eq!(steered(), [true, true], "{means:?}");
        }
        up.stop();
    }
}
