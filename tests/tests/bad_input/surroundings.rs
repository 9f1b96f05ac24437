//! A host that lacks something, or does not let us.

use std::fs;
use std::net::TcpListener;

use lab::{Family, Program, Service, Status};
use serde_json::json;
use steer_tests::steer;

use crate::assert_refuses;
use crate::site::{Means, OnFailure, Site, echoes, left_by};

#[test]
fn without_privilege_a_method_that_needs_it_says_which() {
    lab::require!(Namespaces);
    let site = Site::new("noroot");
    let words = ["redirect", "CAP_NET_ADMIN", "sudo", "-m env"];
    let run = ["run", "-m", "redirect", "--", "echo", "never"];
    assert_refuses(&site.unprivileged().args(run).run(), &words);
    let path = site.write("c.yaml", "method: redirect\nscope: { host: true }\n");
    let up = site.unprivileged().args(["up", "-c"]).arg(&path).run();
    assert_refuses(&up, &words);
    assert_refuses(
        &site.unprivileged().args(["plan", "-m", "redirect"]).run(),
        &words,
    );
    site.assert_untouched();
}

#[test]
fn capabilities_in_another_user_namespace_do_not_count() {
    lab::require!(Namespaces, Program("unshare"));
    let site = Site::new("userns");
    let output = site
        .app
        .program("unshare")
        .args(["--user", "--map-root-user"])
        .arg(steer())
        .args(["run", "-m", "redirect", "--", "echo", "never"])
        .env("STEER_RUN_DIR", site.path("run"))
        .run();
    assert_refuses(&output, &["CAP_NET_ADMIN", "another user namespace"]);
    site.assert_untouched();
}

/// A folder with links to the programs of these names, as the whole of `PATH`.
fn path_with(site: &Site, names: &[&str]) -> std::path::PathBuf {
    let folder = site.path("bin");
    fs::create_dir_all(&folder).expect("our directory can be written");
    for name in names {
        let which = Program::new("sh").args(["-c", &format!("command -v {name}")]);
        let target = which.run().expect_success();
        std::os::unix::fs::symlink(target.trim_end(), folder.join(name)).expect("a new name");
    }
    folder
}

/// Gives the program a root in which no packet filter's program exists.
fn without_programs(site: &Site, words: &str) -> Program {
    // `steer` looks into the system's folders whatever PATH says, so they are covered as well.
    let bin = path_with(site, &["sh", "cat", "curl"]);
    let hide = site.path("hide");
    fs::create_dir_all(&hide).expect("our directory can be written");
    let script = format!(
        "set -e; for f in /usr/sbin /sbin /usr/local/sbin; do \
         mount --bind {hide} $(readlink -f $f); done; PATH={bin}; export PATH; exec {words}",
        hide = hide.display(),
        bin = bin.display(),
    );
    site.app
        .program("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
}

#[test]
fn without_iptables_the_backend_iptables_is_refused_and_nft_works() {
    lab::require!(Namespaces, Cgroup2, Program("unshare"), Program("curl"));
    let site = Site::new("noprogram");
    let _server = site.srv.serve(80, Service::Http);
    let at = site.srv.at(Family::V4, 80);
    let steer = steer().display();
    let name = &site.name;
    let words = format!("{steer} run -m redirect --name {name} --backend iptables -- cat /never");
    let output = without_programs(&site, &words).run();
    assert_refuses(
        &output,
        &["iptables", "apt-get install iptables", "--backend nft"],
    );
    fs::remove_dir_all(site.path("bin")).expect("it was made");

    // Neither program is there, and none is needed.
    let log = site.log();
    let words = format!(
        "{steer} run -m redirect --name {name} --log {} -- curl -sS http://{at}/x",
        log.display()
    );
    let output = without_programs(&site, &words).run();
    assert!(output.expect_success().starts_with("GET /x"));
    assert_eq!(site.records().wait_to(at)["method"], "redirect");
    site.assert_untouched();
}

#[test]
fn a_kernel_without_nf_tables_is_planned_for_iptables_or_refused() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("nonft");
    let saved = site.path("host.json");
    let save = site.steer().args(["plan", "--save-host"]).arg(&saved).run();
    save.expect_success();
    let text = fs::read_to_string(&saved).expect("it was saved");
    let plan = |change: &dyn Fn(&mut serde_json::Value), backend: &[&str]| {
        let mut host: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        change(&mut host);
        let path = site.write("edited.json", &host.to_string());
        let program = site
            .unprivileged()
            .args(["plan", "-m", "redirect", "--host"]);
        program.arg(path).args(backend).run()
    };
    let absent = json!({ "absent": "the kernel has no nf_tables" });
    let no_nft = |host: &mut serde_json::Value| host["nft"] = absent.clone();
    assert_refuses(
        &plan(&no_nft, &["--backend", "nft"]),
        &["nf_tables", "modprobe", "--backend iptables"],
    );
    let text = plan(&no_nft, &[]).expect_success();
    assert!(text.contains("iptables"), "{text}");
    let nothing = |host: &mut serde_json::Value| {
        no_nft(host);
        host["iptables"] = json!({});
    };
    assert_refuses(&plan(&nothing, &[]), &["nf_tables", "modprobe"]);
    let no_cgroup = |host: &mut serde_json::Value| {
        host["cgroup2"] = json!({ "absent": "the kernel has no cgroup2" });
    };
    assert_refuses(&plan(&no_cgroup, &[]), &["cgroup2", "mount -t cgroup2"]);
    site.assert_untouched();
}

#[test]
fn a_log_that_cannot_be_written_is_named_before_anything_changes() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("nolog");
    for log in ["/nonexistent/records.json", "/proc/records.json", "/"] {
        let output = site
            .steer()
            .args(["run", "-m", "redirect", "--name", &site.name])
            .args(["--log", log, "--", "echo", "never"])
            .run();
        assert_refuses(&output, &[log, "help:"]);
        site.assert_untouched();
    }
}

#[test]
fn a_secret_that_cannot_be_read_is_named_before_anything_changes() {
    lab::require!(Namespaces);
    let site = Site::new("nosecret");
    let secrets = [
        ("{ file: /nonexistent/secret }", "/nonexistent/secret"),
        (
            "{ env: NO_SUCH_VARIABLE_ANYWHERE }",
            "NO_SUCH_VARIABLE_ANYWHERE",
        ),
    ];
    for (secret, word) in secrets {
        let up = site.up(&format!(
            "method: redirect\nscope: {{ host: true }}\nupstreams: {{ corp: {{ \
             url: \"socks5://192.0.2.1:1080\", username: u, password: {secret} }} }}\n\
             rules: [ {{ match: {{ port: 443 }}, upstream: corp }} ]\n"
        ));
        assert_refuses(&up.run(), &[word, "help:"]);
        site.assert_untouched();
    }
}

#[test]
fn a_listener_port_in_use_is_named_with_who_to_ask() {
    lab::require!(Namespaces);
    let site = Site::new("inuse");
    let address = "127.0.0.1:15001";
    let taken = site.app.enter(|| TcpListener::bind(address));
    let taken = taken.expect("the port is free");
    let config = "method: redirect\nscope: { host: true }\nlisten: { outbound: 15001 }\n";
    let output = site.up(config).run();
    assert_refuses(&output, &[address, "in use", "ss -ltnp", "15001"]);
    site.assert_untouched();
    drop(taken);
}

#[test]
fn a_run_directory_that_cannot_be_written_is_named() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("norun");
    let file = site.write("file", "no directory\n");
    for dir in [
        file.join("run").display().to_string(),
        "/proc/steer".to_owned(),
    ] {
        let output = site
            .run(Means::RedirectNft, OnFailure::Closed)
            .args(["echo", "never"])
            .env("STEER_RUN_DIR", &dir)
            .run();
        assert_refuses(&output, &[&dir, "STEER_RUN_DIR"]);
        site.assert_untouched();
    }
}

#[test]
fn a_cgroup_tree_that_cannot_be_written_is_named() {
    lab::require!(Namespaces, Cgroup2, Program("unshare"));
    let site = Site::new("rocgroup");
    let mount = lab::cgroup2_mount().expect("cgroup2 is mounted");
    let script = format!(
        "mount -o remount,bind,ro {} && exec {} run -m redirect --name {} -- echo never",
        mount.display(),
        steer().display(),
        site.name
    );
    let output = site
        .app
        .program("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .run();
    assert_refuses(&output, &["cgroup", "ead-only", "help:"]);
    site.assert_untouched();
}

/// The neighbour of a refused start is not even for a moment in the way of traffic.
#[test]
fn a_refused_start_does_not_touch_connections() {
    lab::require!(Namespaces);
    let site = Site::new("calm");
    let _server = site.srv.serve(7, Service::Echo);
    let at = site.srv.at(Family::V4, 7);
    let witness = site.witness();
    let mut client = site.app.connect(at).expect("nothing is steered");
    assert!(echoes(&mut client, b"before"));
    let output = site
        .up("method: redirect\nscope: { host: true }\nlog: { connections: { file: /proc/x } }\n")
        .run();
    assert_ne!(output.status, Status::Exited(0));
    assert!(echoes(&mut client, b"after"));
    assert!(left_by(&witness, &[client.local()]) > 0);
    site.assert_untouched();
}
