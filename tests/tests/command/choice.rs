//! Which method `run` takes by itself, and what `env` gives its command.

use std::collections::BTreeMap;

use lab::{Family, Program, Service, Status};

use crate::site::Site;

/// Variables by name.
fn variables(output: &str) -> BTreeMap<String, String> {
    let pairs = output.split('\0').filter_map(|line| line.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn as_root_the_method_is_tproxy() {
    lab::require!(Namespaces, Cgroup2, Program("curl"));
    let site = Site::new("auto");
    let _server = site.srv.serve(80, Service::Http);
    let at = site.srv.at(Family::V4, 80);
    let output = site
        .steer()
        .args(["run", "--name", &site.name, "--log"])
        .arg(site.log())
        .args(["--", "curl", "-sS", &format!("http://{at}/")])
        .run();
    assert!(output.stderr.contains("method tproxy"), "{output:#?}");
    assert!(output.expect_success().starts_with("GET / "));
    assert_eq!(site.records().wait_to(at)["method"], "tproxy");
    site.assert_untouched();
}

#[test]
fn without_privilege_the_method_is_netns_and_the_reason_is_said() {
    lab::require!(Namespaces, Program("curl"));
    let site = Site::new("autonetns");
    let _server = site.srv.serve(80, Service::Http);
    let at = site.srv.at(Family::V4, 80);
    let output = site
        .unprivileged()
        .args(["run", "--log"])
        .arg(site.log())
        .args(["--", "curl", "-sS", &format!("http://{at}/")])
        .run();
    for word in ["method netns", "tproxy", "redirect", "CAP_NET_ADMIN"] {
        assert!(output.stderr.contains(word), "{word}: {output:#?}");
    }
    assert!(output.expect_success().starts_with("GET / "));
    assert_eq!(site.records().wait_to(at)["method"], "netns");
    site.assert_untouched();
}

#[test]
fn the_order_of_methods_is_the_callers() {
    lab::require!(Namespaces);
    let site = Site::new("order");
    let output = site
        .steer()
        .args(["run", "-m", "env,redirect", "--", "env", "-0"])
        .run();
    assert!(variables(&output.expect_success()).contains_key("http_proxy"));
    let output = site
        .unprivileged()
        .args(["run", "-m", "redirect", "--", "echo", "never"])
        .run();
    assert_eq!(output.status, Status::Exited(125), "{output:#?}");
    assert_eq!(output.stdout, "");
    site.assert_untouched();
}

#[test]
fn env_sets_its_variables_in_both_cases_and_no_others() {
    lab::require!(Namespaces);
    let site = Site::new("env");
    let ask = |program: Program| {
        let program = program.args(["env", "-0"]).env("SOME_VARIABLE", "x=y");
        let program = program.env("http_proxy", "http://192.0.2.1:1");
        variables(&program.run().expect_success())
    };
    let direct = ask(site.app.program("env"));
    let steered = ask(site.steer().args(["run", "-m", "env", "--"]));
    let is_ours = |name: &str| name.to_ascii_lowercase().ends_with("_proxy");
    let others = |all: &BTreeMap<String, String>| {
        let mut all = all.clone();
        all.retain(|name, _| !is_ours(name));
        all
    };
    // Whatever else the method sets is for programs that read no proxy variable.
    for (name, value) in others(&direct) {
        assert_eq!(steered.get(&name), Some(&value), "{name}");
    }
    for lower in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        let value = steered
            .get(lower)
            .unwrap_or_else(|| panic!("{lower}: {steered:#?}"));
        assert_eq!(
            steered.get(&lower.to_ascii_uppercase()),
            Some(value),
            "{lower}"
        );
        assert!(!value.contains("192.0.2.1"), "{lower}={value}");
    }
    assert!(steered["http_proxy"].starts_with("http://"), "{steered:#?}");
    site.assert_untouched();
}

#[test]
fn env_brings_the_same_bytes_and_the_log_tells_the_destination() {
    lab::require!(Namespaces, Program("curl"));
    let site = Site::new("envcurl");
    let _server = site.srv.serve(80, Service::Http);
    for family in Family::BOTH {
        let at = site.srv.at(family, 80);
        let url = format!("http://{at}/bytes/200000");
        let curl = |program: Program| {
            let hash = format!("curl -sS --fail '{url}' | sha256sum");
            program.args(["sh", "-c", &hash]).run().expect_success()
        };
        let direct = curl(site.app.program("env"));
        let steered = curl(
            site.steer()
                .args(["run", "-m", "env", "--log"])
                .arg(site.log())
                .arg("--"),
        );
        assert_eq!(steered, direct);
        let record = site.records().wait_to(at);
        assert_eq!(
            (&record["method"], &record["outcome"]),
            (&"env".into(), &"ok".into())
        );
    }
    site.assert_untouched();
}

#[test]
fn a_method_that_cannot_be_put_in_force_makes_room_for_the_next() {
    lab::require!(Namespaces, Cgroup2, Program("curl"));
    let site = Site::new("fallback");
    let _server = site.srv.serve(80, Service::Http);
    let at = site.srv.at(Family::V4, 80);
    let output = site
        .steer()
        .env("STEER_RUN_DIR", "/proc/no/such/place")
        .args(["run", "--log"])
        .arg(site.log())
        .args(["--", "curl", "-sS", &format!("http://{at}/")])
        .run();
    for word in ["method netns; not tproxy", "/proc/no/such/place"] {
        assert!(output.stderr.contains(word), "{word}: {output:#?}");
    }
    assert!(output.expect_success().starts_with("GET / "));
    assert_eq!(site.records().wait_to(at)["method"], "netns");
    site.assert_untouched();
}

#[test]
fn nobody_gets_a_proxy_port_who_did_not_ask_for_one() {
    lab::require!(Namespaces);
    let site = Site::new("unasked");
    let output = site.steer().arg("up").run();
    assert_eq!(output.status, Status::Exited(1), "{output:#?}");
    assert!(output.stderr.contains("scope is empty"), "{output:#?}");

    let up = site.steer().args(["up", "-m", "explicit"]).spawn();
    up.wait_line(|line| line.contains("listener explicit tcp 127.0.0.1:15080"));
    up.signal(lab::Signal::SIGTERM);
    assert_eq!(up.wait(), Status::Exited(0));
    site.assert_untouched();
}
