//! What `plan`, `check` and the help say, and that saying it changes nothing.

use std::fs;

use lab::{Program, Status};

use crate::site::Site;

#[test]
fn plan_changes_nothing_and_is_the_same_text_twice() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("plan");
    let plan = || {
        let program = site
            .steer()
            .args(["plan", "-m", "redirect", "--name", "main"]);
        program.run().expect_success()
    };
    let text = plan();
    assert_eq!(text, plan());
    assert!(
        text.contains("redirect") && text.contains("{outbound}"),
        "{text}"
    );
    let json = site
        .steer()
        .args(["plan", "-m", "redirect", "--name", "main", "--json"])
        .run()
        .expect_success();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["method"], "redirect");
    site.assert_untouched();
}

#[test]
fn a_plan_for_a_saved_host_is_the_plan_of_that_host() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("host");
    let saved = site.path("host.json");
    let save = site.steer().args(["plan", "--save-host"]).arg(&saved).run();
    assert_eq!(save.expect_success(), "");
    for args in [
        &["-m", "redirect", "--name", "main"][..],
        &[
            "-m",
            "redirect",
            "--backend",
            "iptables",
            "--on-failure",
            "open",
            "--name",
            "main",
        ],
        &["-m", "env", "--name", "main"],
        &["--name", "main"],
    ] {
        let here = site.steer().arg("plan").args(args).run().expect_success();
        // Elsewhere: another user, no privilege, another cgroup and namespace.
        let there = site
            .unprivileged()
            .arg("plan")
            .args(args)
            .arg("--host")
            .arg(&saved);
        assert_eq!(there.run().expect_success(), here, "{args:?}");
    }
    site.assert_untouched();
}

/// Where programs ask a daemon, the daemon's own questions are its own.
#[test]
fn a_plan_tells_which_questions_are_not_captured() {
    lab::require!(Namespaces);
    let site = Site::new("daemon");
    let saved = site.path("host.json");
    let save = site.steer().args(["plan", "--save-host"]).arg(&saved).run();
    save.expect_success();
    let text = fs::read_to_string(&saved).expect("it was saved");
    let mut host: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    host["resolvers"] = serde_json::json!(["127.0.0.53"]);
    let host = site.write("edited.json", &host.to_string());
    let config = "scope: { uid: [1000] }\ntraffic: { dns: capture }\n";
    let config = site.write("dns.yaml", config);
    for method in ["redirect", "tproxy"] {
        let plan = site.unprivileged().args(["plan", "-m", method, "--host"]);
        let text = plan
            .arg(&host)
            .arg("-c")
            .arg(&config)
            .run()
            .expect_success();
        for word in ["127.0.0.53", "on behalf of programs", "outside the scope"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
    site.assert_untouched();
}

#[test]
fn plan_needs_no_privilege() {
    lab::require!(Namespaces, Program("setpriv"));
    let site = Site::new("planuser");
    let output = site.unprivileged().arg("plan").run();
    let text = output.expect_success();
    assert!(text.contains("method netns"), "{text}");
    assert!(
        text.contains("not redirect") && text.contains("CAP_NET_ADMIN"),
        "{text}"
    );
    site.assert_untouched();
}

#[test]
fn a_host_file_that_is_none_is_refused() {
    lab::require!(Namespaces);
    let site = Site::new("nohost");
    let broken = site.write("host.json", "{\"kernel\": 7}");
    for (path, words) in [
        (broken, ["host.json", "line 1", "--save-host"]),
        (
            site.path("missing.json"),
            ["missing.json", "No such file", "--save-host"],
        ),
    ] {
        let output = site.steer().args(["plan", "--host"]).arg(path).run();
        assert!(matches!(output.status, Status::Exited(1..)), "{output:#?}");
        assert_eq!(output.stdout, "");
        for word in words {
            assert!(output.stderr.contains(word), "{word}: {output:#?}");
        }
    }
    site.assert_untouched();
}

#[test]
fn check_tells_right_from_wrong() {
    lab::require!(Namespaces);
    let site = Site::new("check");
    let right = site.write(
        "right.yaml",
        "method: redirect\nscope: { uid: [1000] }\n\
         upstreams: { corp: { url: \"socks5://192.0.2.1:1080\" } }\n\
         rules: [ { match: { port: 443 }, upstream: corp } ]\n",
    );
    let said = site.unprivileged().args(["check", "-c"]).arg(&right).run();
    let said = said.expect_success();
    for word in ["right.yaml", "right", "1 rule", "1 upstream"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let wrong = site.write("wrong.yaml", "scope: { host: true }\non_failure: ajar\n");
    let output = site.unprivileged().args(["check", "-c"]).arg(&wrong).run();
    assert!(matches!(output.status, Status::Exited(1..)), "{output:#?}");
    assert_eq!(output.stdout, "");
    for word in ["wrong.yaml:2:13", "ajar", "^^^^", "open", "closed"] {
        assert!(output.stderr.contains(word), "{word}: {output:#?}");
    }
    site.assert_untouched();
}

#[test]
fn results_go_to_stdout_and_a_reader_that_leaves_is_no_error() {
    lab::require!(Namespaces, Cgroup2, Program("bash"));
    let site = Site::new("reader");
    let script = format!(
        "{} plan -m redirect | true; echo ${{PIPESTATUS[0]}}",
        steer_tests::steer().display()
    );
    let output = site.app.program("bash").args(["-c", &script]).run();
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("0\n", "")
    );
    site.assert_untouched();
}

#[test]
fn the_help_names_every_command() {
    let output = Program::new(steer_tests::steer()).arg("--help").run();
    let text = output.expect_success();
    for word in ["run", "up", "plan", "check", "clean"] {
        assert!(
            text.lines().any(|line| line.trim_start().starts_with(word)),
            "{word}: {text}"
        );
    }
    let output = Program::new(steer_tests::steer()).arg("--version").run();
    let version = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    let version = version.expect("the workspace has a manifest");
    let said = output.expect_success();
    let number = said.trim_end().rsplit(' ').next().expect("a word");
    assert!(
        version.contains(&format!("version = \"{number}\"")),
        "{said}"
    );
}
