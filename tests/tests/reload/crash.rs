//! Death of a steering that was changed while it ran.

use std::path::Path;

use lab::{Family, Service, Status, eventually};

use crate::scene::{REJECT, Up, Went, way};
use crate::site::{Means, Site, assert_refused, echoes, kill};

/// Waits until a keeper has done all that is left to do.
fn wait_gone(keeper: i32) {
    let process = format!("/proc/{keeper}");
    eventually("the keeper is done", || {
        (!Path::new(&process).exists()).then_some(())
    });
}

/// `open` by the last reload: nothing is left, though it was closed at the start.
fn open_at_last(means: Means) {
    lab::require!(Namespaces, Program("iptables"));
    let site = Site::of_host(means, "openlast");
    let _echo = site.srv.serve(7, Service::Echo);
    let echo = site.srv.at(Family::V4, 7);
    // How hooks are attached lasts.
    let first = match means {
        Means::Ebpf => "open",
        _ => "closed",
    };
    let up = Up::start(&site, means, &format!("on_failure: {first}\n{REJECT}"));
    up.reload(&format!("on_failure: open\n{REJECT}"));
    assert_eq!(way(&site, echo), Went::Steered);
    assert_eq!(up.proc.kill(), Status::Killed(9));
    eventually("direct connections work", || {
        let mut client = site.connect(echo).ok()?;
        echoes(&mut client, b"directly").then_some(())
    });
    site.wait_untouched();
}

/// `closed` by the last reload: refuses whom that one means, and nobody else.
fn closed_at_last(means: Means) {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    let site = Site::of_host_apart(means, "closedlast");
    let _echo = site.srv.serve(7, Service::Echo);
    let spared = Family::V4.foreign(1);
    site.srv.add_address(spared);
    let (meant, spared) = (site.srv.at(Family::V4, 7), (spared, 7).into());
    let first = match means {
        Means::Ebpf => "closed",
        _ => "open",
    };
    let up = Up::start(&site, means, &format!("on_failure: {first}\n{REJECT}"));
    assert_eq!(way(&site, spared), Went::Steered);
    up.reload(&format!(
        "on_failure: closed\ntraffic: {{ exclude: {{ cidrs: [{}/32] }} }}\n{REJECT}",
        spared.ip()
    ));
    assert_eq!(way(&site, spared), Went::Direct);
    let keeper = site.process("keeper");
    assert_eq!(up.proc.kill(), Status::Killed(9));
    eventually("connections are refused", || site.connect(meant).err());
    assert_refused(site.connect(meant));
    assert_eq!(way(&site, spared), Went::Direct);
    wait_gone(keeper);
    assert_refused(site.connect(meant));
    site.steer().arg("clean").run().expect_success();
    site.assert_untouched();
    assert_eq!(way(&site, meant), Went::Direct);
}

#[test]
fn a_crash_is_open_where_the_last_reload_says_so_redirect_nft() {
    open_at_last(Means::RedirectNft);
}

#[test]
fn a_crash_is_open_where_the_last_reload_says_so_tproxy_iptables() {
    open_at_last(Means::TproxyIptables);
}

#[test]
fn a_crash_is_open_where_the_last_reload_says_so_ebpf() {
    lab::require!(Root, Cgroup2);
    open_at_last(Means::Ebpf);
}

#[test]
fn a_crash_refuses_whom_the_last_reload_means_redirect_nft() {
    closed_at_last(Means::RedirectNft);
}

#[test]
fn a_crash_refuses_whom_the_last_reload_means_redirect_iptables() {
    closed_at_last(Means::RedirectIptables);
}

#[test]
fn a_crash_refuses_whom_the_last_reload_means_tproxy_nft() {
    closed_at_last(Means::TproxyNft);
}

#[test]
fn a_crash_refuses_whom_the_last_reload_means_ebpf() {
    lab::require!(Root, Cgroup2);
    closed_at_last(Means::Ebpf);
}

#[test]
fn clean_finds_all_of_a_reloaded_steering_when_both_are_killed() {
    lab::require!(Namespaces, Cgroup2, Program("iptables"));
    for means in [Means::TproxyNft, Means::RedirectIptables] {
        let site = Site::of_host_apart(means, "bothlast");
        let up = Up::start(&site, means, "on_failure: open");
        up.reload("on_failure: closed\ntraffic: { include: { cidrs: [192.0.2.0/24] } }");
        let keeper = site.process("keeper");
        kill(&[keeper, up.proc.pid()]);
        assert_eq!(up.proc.wait(), Status::Killed(9));
        wait_gone(keeper);
        site.steer().arg("clean").run().expect_success();
        site.assert_untouched();
    }
}

#[test]
fn a_keeper_that_is_replaced_knows_the_last_reload() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::of_host_apart(Means::RedirectNft, "successor");
    let _echo = site.srv.serve(7, Service::Echo);
    let echo = site.srv.at(Family::V4, 7);
    let up = Up::start(&site, Means::RedirectNft, REJECT);
    up.reload(&format!("on_failure: closed\n{REJECT}"));
    let first = site.process("keeper");
    kill(&[first]);
    eventually("another keeper is there", || {
        (site.process("keeper") != first).then_some(())
    });
    up.reload(&format!(
        "on_failure: closed\ntraffic: {{ exclude: {{ ports: [9] }} }}\n{REJECT}"
    ));
    let went = way(&site, echo);
    assert_eq!(went, Went::Steered, "{}", up.proc.stderr());
    let keeper = site.process("keeper");
    assert_eq!(up.proc.kill(), Status::Killed(9));
    wait_gone(keeper);
    assert_refused(site.connect(echo));
    site.steer().arg("clean").run().expect_success();
    site.assert_untouched();
}
