//! A config or a flag that is wrong.

use crate::assert_refuses;
use crate::site::Site;

/// Configs with what must be said about them: by `check`, by `plan` and by `up`.
const WRONG: [(&str, &[&str]); 16] = [
    (
        "scoppe: { host: true }",
        &["scoppe", "did you mean `scope`", "^^^^^^"],
    ),
    (
        "scope: { host: true }\ntraffic: { inclde: {} }",
        &["inclde", "include", "2:12"],
    ),
    ("scope: { host: 7 }", &["host", "true"]),
    ("scope: [host]", &["scope"]),
    (
        "scope: { host: true }\nmethod: [redirect, redirect]",
        &["redirect", "twice"],
    ),
    (
        "scope: { host: true }\nmethod: redirct",
        &["redirct", "redirect"],
    ),
    (
        "scope: { host: true }\nlisten: { outbound: 0 }",
        &["outbound", "1 to 65535"],
    ),
    (
        "scope: { host: true }\nlisten: { explicit: \"127.0.0.1:70000\" }",
        &["70000", "65535"],
    ),
    (
        "scope: { host: true }\ntraffic: { include: { ports: [0] } }",
        &["0", "port"],
    ),
    (
        "scope: { host: true }\ntraffic: { include: { ports: [70000] } }",
        &["70000", "port"],
    ),
    (
        "scope: { host: true }\ntraffic: { include: { cidrs: [10.0.0.0/33] } }",
        &["10.0.0.0/33"],
    ),
    (
        "scope: { host: true }\ntraffic: { include: { cidrs: [\"2001:db8::/129\"] } }",
        &["/129"],
    ),
    ("scope: { }", &["scope", "empty"]),
    (
        "scope: { host: true }\nlisten: { explicit: \"127.0.0.1:15080\" }\n\
         upstreams: { me: { url: \"http://127.0.0.1:15080\" } }",
        &["steer itself", "127.0.0.1:15080"],
    ),
    (
        "scope: { host: true }\nrules: [ { match: { port: 443 }, upstream: corp } ]",
        &["no upstream", "corp", "upstreams:"],
    ),
    ("scope: { host: true }\non_failure: [open", &["YAML"]),
];

#[test]
fn a_wrong_config_is_refused_by_every_command_that_reads_it() {
    lab::require!(Namespaces);
    let site = Site::new("wrong");
    for (text, words) in WRONG {
        let path = site.write("wrong.yaml", text);
        for command in ["check", "plan", "up"] {
            let output = site.steer().args([command, "-c"]).arg(&path).run();
            assert_refuses(&output, words);
            assert!(output.stderr.contains("wrong.yaml:"), "{output:#?}");
            assert!(output.stderr.contains("help"), "{output:#?}");
        }
    }
    site.assert_untouched();
}

#[test]
fn a_missing_config_is_named() {
    lab::require!(Namespaces);
    let site = Site::new("missing");
    let path = site.path("nowhere.yaml");
    for command in ["check", "plan", "up"] {
        let output = site.steer().args([command, "-c"]).arg(&path).run();
        assert_refuses(&output, &["nowhere.yaml", "No such file", "exists"]);
    }
    site.assert_untouched();
}

#[test]
fn a_config_without_a_scope_steers_nobody() {
    lab::require!(Namespaces);
    let site = Site::new("noscope");
    let output = site.up("method: redirect\n").run();
    assert_refuses(&output, &["scope", "host: true", "steer run"]);
    site.assert_untouched();
}

/// Flags with what must be said about them.
const FLAGS: [(&[&str], &[&str]); 9] = [
    (
        &["run", "-m", "redirct", "--", "true"],
        &["redirct", "redirect"],
    ),
    (
        &["run", "--backend", "pf", "--", "true"],
        &["pf", "nft", "iptables"],
    ),
    (
        &["run", "--on-failure", "ajar", "--", "true"],
        &["ajar", "open", "closed"],
    ),
    (
        &["run", "--name", "Has-Dashes", "--", "true"],
        &["Has-Dashes", "a-z"],
    ),
    (
        &["run", "--upstream", "gopher://x:1", "--", "true"],
        &["gopher", "socks5"],
    ),
    (
        &["run", "--upstream", "socks5://x:0", "--", "true"],
        &["port of the URL", "1 to 65535", "HOST:PORT"],
    ),
    (
        &["run", "--listen", "127.0.0.1:70000", "--", "true"],
        &["127.0.0.1:70000"],
    ),
    (&["run"], &["COMMAND"]),
    (&["run", "--frobnicate", "--", "true"], &["--frobnicate"]),
];

#[test]
fn a_wrong_flag_is_refused_before_anything_starts() {
    lab::require!(Namespaces);
    let site = Site::new("flags");
    for (args, words) in FLAGS {
        assert_refuses(&site.steer().args(args).run(), words);
    }
    site.assert_untouched();
}

#[test]
fn an_upstream_that_is_our_own_port_is_refused() {
    lab::require!(Namespaces);
    let site = Site::new("ourselves");
    let run = ["run", "-m", "env", "--listen", "127.0.0.1:15080"];
    let upstream = ["--upstream", "http://127.0.0.1:15080", "--", "true"];
    let output = site.steer().args(run).args(upstream).run();
    assert_refuses(&output, &["steer itself", "another proxy"]);
    site.assert_untouched();
}

/// Keys that a method cannot honour, with the word by which the error names them.
const UNABLE: [(&str, &str, &str); 9] = [
    (
        "redirect",
        "scope: { host: true }\ntraffic: { include: { protocols: [udp] } }",
        "udp",
    ),
    (
        "redirect",
        "scope: { host: true }\ntraffic: { quic: steer }",
        "quic",
    ),
    (
        "redirect",
        "scope: { interface: [eth0] }\nsource: client",
        "source: client",
    ),
    (
        "redirect",
        "scope: { host: true }\nmark: { steer: \"0x7/0x7\" }",
        "mark.steer",
    ),
    ("explicit", "scope: { uid: [1000] }", "uid"),
    ("explicit", "scope: { interface: [eth0] }", "interface"),
    (
        "explicit",
        "scope: { host: true }\ntraffic: { dns: capture }",
        "dns",
    ),
    (
        "explicit",
        "on_failure: closed\nscope: { host: true }",
        "closed",
    ),
    ("dns", "scope: { uid: [1000] }", "uid"),
];

/// Keys that exclude each other: both are named.
const TOGETHER: [(&str, &[&str]); 4] = [
    (
        "scope: { interface: [eth0], uid: [1000] }",
        &["scope.interface", "scope.uid", "remove one of them"],
    ),
    (
        "scope: { interface: [eth0], inbound: true }",
        &["scope.interface", "scope.inbound"],
    ),
    (
        "scope: { inbound: true, host: true }",
        &["scope.inbound", "scope.host"],
    ),
    (
        "scope: { inbound: true }\ntraffic: { dns: capture }",
        &["scope.inbound", "traffic.dns: capture"],
    ),
];

#[test]
fn keys_that_exclude_each_other_are_both_named() {
    lab::require!(Namespaces);
    let site = Site::new("together");
    for method in ["redirect", "tproxy"] {
        for (text, words) in TOGETHER {
            let path = site.write("together.yaml", &format!("method: {method}\n{text}\n"));
            for command in ["plan", "up"] {
                let output = site.steer().args([command, "-c"]).arg(&path).run();
                assert_refuses(&output, words);
            }
        }
    }
    site.assert_untouched();
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    lab::require!(Namespaces);
    let site = Site::new("nonetns");
    for name in ["/run/netns/nowhere", "4999999", "no-such-container"] {
        for method in ["redirect", "tproxy"] {
            let text = format!("method: {method}\nscope: {{ netns: \"{name}\" }}\n");
            let path = site.write("netns.yaml", &text);
            for command in ["plan", "up"] {
                let output = site.steer().args([command, "-c"]).arg(&path).run();
                assert_refuses(&output, &[name, "namespace"]);
            }
        }
    }
    site.assert_untouched();
}

#[test]
fn a_key_that_the_method_cannot_honour_is_an_error_that_names_it() {
    lab::require!(Namespaces);
    let site = Site::new("unable");
    for (method, text, word) in UNABLE {
        let path = site.write("unable.yaml", &format!("method: {method}\n{text}\n"));
        for command in ["plan", "up"] {
            let output = site.steer().args([command, "-c"]).arg(&path).run();
            assert_refuses(&output, &[word, method, "auto"]);
        }
    }
    let flags = [
        "run",
        "-m",
        "env",
        "--on-failure",
        "closed",
        "--",
        "echo",
        "never",
    ];
    assert_refuses(&site.steer().args(flags).run(), &["closed", "env"]);
    site.assert_untouched();
}

#[test]
fn when_no_method_can_each_one_says_why() {
    lab::require!(Namespaces);
    let site = Site::new("nomethod");
    let text = "method: [redirect, explicit]\nscope: { uid: [1000] }\ntraffic: { quic: steer }\n";
    let path = site.write("none.yaml", text);
    for command in ["plan", "up"] {
        let output = site.steer().args([command, "-c"]).arg(&path).run();
        let words = [
            "no method",
            "redirect",
            "explicit",
            "scope.uid",
            "traffic.quic: steer",
        ];
        assert_refuses(&output, &words);
    }
    site.assert_untouched();
}

#[test]
fn a_scope_beside_the_command_of_run_is_refused() {
    lab::require!(Namespaces);
    let site = Site::new("beside");
    let config = site.write("c.yaml", "scope: { uid: [1000] }\n");
    let run = site.steer().args(["run", "-c"]).arg(config);
    let output = run.args(["--", "true"]).run();
    assert_refuses(
        &output,
        &["names another scope", "remove `scope`", "steer up"],
    );
    site.assert_untouched();
}
