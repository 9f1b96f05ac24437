//! Rules and upstreams, for whoever comes after.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lab::{Digest, Family, Pattern, Service};
use steer_tests::{Login, UpstreamProxy};

use crate::scene::{MEANS, REJECT, Up, Went, way};
use crate::site::{Means, Site};

/// A rule for the next connection, while one that was let pass sends on.
fn rules_are_swapped(means: Means) {
    lab::require!(Namespaces, Program("iptables"));
    let site = Site::of_host(means, "rules");
    let _digest = site.srv.serve(9, Service::Digest);
    let _echo = site.srv.serve(7, Service::Echo);
    let echo = site.srv.at(Family::V4, 7);
    let up = Up::start(&site, means, "");
    let mut client = site.connect(site.srv.at(Family::V4, 9)).expect("let pass");
    let live = site.live(echo, 3);
    live.wait_round();
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut sent = 0;
            let mut part = vec![0; 8192];
            while !enough.load(Ordering::Relaxed) {
                Pattern(3).fill(sent, &mut part);
                client.send(&part).expect("it goes on");
                sent += part.len() as u64;
            }
            client.finish();
            (client.receive_all(), sent)
        });
        assert_eq!(way(&site, echo), Went::Direct);
        up.reload(REJECT);
        assert_eq!(way(&site, echo), Went::Steered);
        live.wait_round();
        up.reload("");
        assert_eq!(way(&site, echo), Went::Direct);
        live.wait_round();
        enough.store(true, Ordering::Relaxed);
        let ((told, _), sent) = sending.join().expect("it sends");
        let whole: Digest = Pattern(3).digest(sent);
        assert_eq!(String::from_utf8_lossy(&told), format!("{whole} {sent}\n"));
    });
    assert!(live.stop().iter().all(|one| !one.corrupt));
    up.stop();
}

#[test]
fn a_rule_holds_for_whoever_comes_after_it_and_a_transfer_goes_on_redirect_nft() {
    rules_are_swapped(Means::RedirectNft);
}

#[test]
fn a_rule_holds_for_whoever_comes_after_it_and_a_transfer_goes_on_redirect_iptables() {
    rules_are_swapped(Means::RedirectIptables);
}

#[test]
fn a_rule_holds_for_whoever_comes_after_it_and_a_transfer_goes_on_tproxy_nft() {
    rules_are_swapped(Means::TproxyNft);
}

#[test]
fn a_rule_holds_for_whoever_comes_after_it_and_a_transfer_goes_on_tproxy_iptables() {
    rules_are_swapped(Means::TproxyIptables);
}

#[test]
fn a_rule_holds_for_whoever_comes_after_it_and_a_transfer_goes_on_ebpf() {
    lab::require!(Root, Cgroup2);
    rules_are_swapped(Means::Ebpf);
}

#[test]
fn an_upstream_is_for_whoever_comes_after_it_and_who_has_one_keeps_it() {
    lab::require!(Namespaces);
    let site = Site::new("upstream");
    let _echo = site.srv.serve(7, Service::Echo);
    let echo = site.srv.at(Family::V4, 7);
    let first = UpstreamProxy::start(&site.srv, 1080, Login::None, &[]);
    let second = UpstreamProxy::start(&site.srv, 1081, Login::None, &[]);
    let through = |port: u16| {
        format!(
            "upstreams: {{ far: {{ url: \"socks5://{}\" }} }}\nrules: [{{ upstream: far }}]",
            site.srv.at(Family::V4, port)
        )
    };
    let up = Up::start(&site, Means::RedirectNft, &through(1080));
    let live = site.live(echo, 2);
    live.wait_round();
    let (asked, unasked) = (first.asked().len(), second.asked().len());
    assert_eq!((asked, unasked), (2, 0));
    up.reload(&through(1081));
    assert_eq!(way(&site, echo), Went::Direct);
    live.wait_round();
    assert_eq!(first.asked().len(), 2);
    assert_eq!(second.asked().len(), 1);
    up.reload("");
    assert_eq!(way(&site, echo), Went::Direct);
    assert_eq!(second.asked().len(), 1);
    live.wait_round();
    drop(live);
    up.stop();
}

#[test]
fn every_means_reads_an_unchanged_file_again_and_is_what_it_was() {
    lab::require!(Namespaces, Program("iptables"));
    for means in MEANS {
        if means == Means::Ebpf && !lab::require(&[lab::Need::Root, lab::Need::Cgroup2]) {
            continue;
        }
        let site = Site::of_host(means, "same");
        let up = Up::start(&site, means, "on_failure: closed");
        let before = site.rules();
        let said = up.again();
        assert!(said.contains("as the config says"), "{said}");
        let programs = |line: &String| !line.contains("id ");
        let shown =
            |rules: Vec<String>| -> Vec<String> { rules.into_iter().filter(programs).collect() };
        assert_eq!(shown(site.rules()), shown(before), "{means:?}");
        up.stop();
    }
}
