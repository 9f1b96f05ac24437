//! The methods that tell a command by its cgroup.

use lab::{Family, Program, Service, Status};

use crate::site::{Means, OnFailure, Site};
use crate::{assert_escaped, greeted, python, sends, verified};

const TRANSPARENT: [Means; 5] = [
    Means::RedirectNft,
    Means::RedirectIptables,
    Means::TproxyNft,
    Means::TproxyIptables,
    Means::Ebpf,
];

/// `steer run --verify`, up to the words of the command.
fn run(site: &Site, means: Means, on_failure: OnFailure) -> Program {
    site.steer()
        .args(["run", "--verify", "--name", &site.name])
        .args(means.words())
        .args(["--on-failure", &on_failure.to_string()])
        .arg("--")
}

#[test]
fn what_the_engine_carried_has_not_left_past_it() {
    lab::require!(Root, Cgroup2, Program("python3"));
    for means in TRANSPARENT {
        for on_failure in [OnFailure::Open, OnFailure::Closed] {
            let site = Site::new("verified");
            let _server = site.srv.serve(80, Service::Banner(b"greeting!".to_vec()));
            let at = Family::BOTH.map(|family| site.srv.at(family, 80));
            let said = verified(run(&site, means, on_failure).args(greeted(&at)));
            let lines: Vec<_> = said.lines().collect();
            let [line] = lines[..] else {
                panic!("one line, not {lines:?}");
            };
            // Both connections took a handshake and an end.
            let counted = line.strip_prefix("steer: verified: ").unwrap();
            let (number, rest) = counted.split_once(' ').unwrap();
            assert!(number.parse::<u64>().unwrap() >= 6, "{line}");
            assert_eq!(rest, "packets counted, none left except through the engine");
            site.assert_untouched();
        }
    }
}

#[test]
fn datagrams_that_are_steered_or_refused_have_not_left() {
    lab::require!(Root, Cgroup2, Program("python3"));
    for (means, on_failure) in [
        (Means::TproxyNft, OnFailure::Open),
        (Means::TproxyIptables, OnFailure::Closed),
        (Means::RedirectNft, OnFailure::Closed),
        (Means::Ebpf, OnFailure::Open),
        (Means::Ebpf, OnFailure::Closed),
    ] {
        let site = Site::new("datagrams");
        for family in Family::BOTH {
            let at = site.srv.at(family, 9);
            // Where it is refused, the sending fails, as it may.
            let code = sends(3, at)[2].replace("u.sendto", "attempt").replace(
                "for _",
                "def attempt(*what):\n  try: u.sendto(*what)\n  except PermissionError: pass\nfor _",
            );
            verified(run(&site, means, on_failure).args(python(&code)));
        }
        site.assert_untouched();
    }
}

#[test]
fn what_goes_past_the_engine_is_named_and_fails_the_run() {
    lab::require!(Root, Cgroup2, Program("python3"));
    for means in [Means::RedirectNft, Means::RedirectIptables] {
        for family in Family::BOTH {
            let site = Site::new("escaped");
            let at = site.srv.at(family, 9);
            let output = run(&site, means, OnFailure::Open).args(sends(3, at)).run();
            assert_escaped(&output, &[format!("udp {at}, 3 packets")]);
            site.assert_untouched();
        }
    }
}

#[test]
fn a_program_that_marks_its_packets_as_the_engine_does_is_found_out() {
    lab::require!(Root, Cgroup2, Program("python3"));
    for means in TRANSPARENT {
        let site = Site::new("marked");
        let at = site.srv.at(Family::V4, 9);
        let code = sends(2, at)[2].replace(
            "for _",
            "u.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x10000000)\nfor _",
        );
        let output = run(&site, means, OnFailure::Closed)
            .args(python(&code))
            .run();
        assert_escaped(&output, &[format!("udp {at}, 2 packets")]);
    }
}

#[test]
fn a_command_that_fails_keeps_its_own_status() {
    lab::require!(Root, Cgroup2, Program("python3"));
    let site = Site::new("status");
    let at = site.srv.at(Family::V4, 9);
    let code = sends(1, at)[2].clone() + "\nraise SystemExit(3)";
    let run = run(&site, Means::RedirectNft, OnFailure::Open);
    let output = run.args(python(&code)).run();
    assert_eq!(output.status, Status::Exited(3), "{output:#?}");
    let line = format!("escaped: udp {at}, 1 packet\n");
    assert!(output.stderr.contains(&line), "{output:#?}");
}

#[test]
fn what_the_config_leaves_alone_is_told_apart() {
    lab::require!(Root, Cgroup2, Program("python3"));
    let site = Site::new("alone");
    let (dns, web) = (site.srv.at(Family::V4, 53), site.srv.at(Family::V6, 80));
    let _server = site.srv.serve(80, Service::Banner(b"greeting!".to_vec()));
    let text = format!(
        "name: {}\nmethod: redirect\ntraffic: {{ exclude: {{ cidrs: [\"{}/128\"] }} }}\n",
        site.name,
        web.ip()
    );
    let config = site.write("alone.yaml", &text);
    let code = sends(2, dns)[2].clone() + "\n" + &greeted(&[web])[2];
    let run = site.steer().args(["run", "--verify", "-c"]).arg(config);
    let said = verified(run.arg("--").args(python(&code)));
    let line = format!("left alone: udp {dns}, 2 packets (traffic.dns: leave)");
    assert!(said.contains(&line), "{said}");
    let line = format!("left alone: tcp {web}, ");
    assert!(said.contains(&line), "{said}");
    assert!(said.contains("(traffic.exclude.cidrs)"), "{said}");
    assert!(said.contains(" that the config leaves alone"), "{said}");
}

#[test]
fn what_cannot_be_told_by_counting_is_refused_before_the_start() {
    lab::require!(Root, Cgroup2);
    let site = Site::new("untold");
    for (text, key) in [
        ("scope: { except: { uid: [1337] } }", "scope.except"),
        (
            "traffic: { dns: capture, exclude: { domains: [example.com] } }",
            "traffic.exclude.domains",
        ),
    ] {
        let text = format!("name: {}\nmethod: redirect\n{text}\n", site.name);
        let config = site.write("untold.yaml", &text);
        let run = site.steer().args(["run", "--verify", "-c"]).arg(config);
        let output = run.args(["--", "sh", "-c", "echo started"]).run();
        assert_eq!(output.status, Status::Exited(125), "{output:#?}");
        assert_eq!(output.stdout, "");
        assert!(output.stderr.contains(key), "{output:#?}");
        assert!(output.stderr.contains("help: "), "{output:#?}");
    }
    site.assert_untouched();
}
