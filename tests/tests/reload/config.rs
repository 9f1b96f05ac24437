//! A configuration that is wrong, or that needs another start.

use lab::{Family, Service};

use crate::scene::{REJECT, Up, Went, way};
use crate::site::{Means, Site};

#[test]
fn a_configuration_that_is_wrong_changes_nothing_and_is_told_with_its_line() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("wrong");
    let _echo = site.srv.serve(7, Service::Echo);
    let echo = site.srv.at(Family::V4, 7);
    let up = Up::start(&site, Means::RedirectNft, REJECT);
    let before = site.state();
    for (lines, words) in [
        (
            "rules: [{ action: maybe }]",
            &["config.yaml:5:", "^", "help:"][..],
        ),
        ("rulez: []", &["config.yaml:5:", "^", "`rules`"]),
        (
            "traffic: { include: { cidrs: [10.0.0.0/33] } }",
            &["config.yaml:5:", "^"],
        ),
        (
            "traffic: { include: { protocols: [udp] } }",
            &["traffic.include.protocols: udp"],
        ),
        (
            "scope: { uid: nobody-of-this-name }",
            &["config.yaml:4:", "nobody-of-this-name"],
        ),
        ("scope: { cgroup: [not/there] }", &["not/there"]),
        (
            "upstreams: { a: { url: \"http://192.0.2.1:1\", username: u, password: { env: NOT_SET } } }",
            &["NOT_SET"],
        ),
        (
            "log: { connections: { file: /not/there/log } }",
            &["/not/there/log"],
        ),
    ] {
        let said = up.reload_in_vain(lines);
        for word in words {
            assert!(said.contains(word), "{word} for {lines}: {said}");
        }
        assert_eq!(way(&site, echo), Went::Steered, "{lines}");
        site.state().assert_same_as(&before);
    }
    let path = site.path("config.yaml");
    std::fs::remove_file(&path).expect("it is there");
    let said = up.again();
    assert!(said.contains("config.yaml could not be read"), "{said}");
    assert_eq!(way(&site, echo), Went::Steered);
    // What it says next is read as ever.
    up.reload("");
    assert_eq!(way(&site, echo), Went::Direct);
    up.stop();
}

#[test]
fn what_needs_another_start_is_named_and_nothing_is_changed() {
    lab::require!(Namespaces);
    let site = Site::new("start");
    let _echo = site.srv.serve(7, Service::Echo);
    let echo = site.srv.at(Family::V4, 7);
    let up = Up::start(&site, Means::TproxyNft, REJECT);
    let before = site.state();
    for (lines, key) in [
        ("listen: { outbound: 15001 }", "listen.outbound"),
        (
            "forward: [{ listen: \"127.0.0.1:9\", to: \"a.example:9\" }]",
            "forward",
        ),
        ("mark: { steer: \"0x40000000\" }", "mark.steer"),
        ("traffic: { dns: capture }", "traffic.dns"),
        ("source: client", "source"),
        (
            "traffic: { include: { domains: [a.example] } }",
            "traffic.include.domains",
        ),
        (
            "traffic: { include: { protocols: [tcp] } }",
            "traffic.include.protocols",
        ),
        (
            "scope: { netns: /proc/1/ns/net, host: true }",
            "scope.netns",
        ),
        ("rules: [{ match: { uid: 7 }, action: reject }]", "asks who"),
    ] {
        let said = up.reload_in_vain(lines);
        assert!(
            said.contains(key) && said.contains("restart"),
            "{key}: {said}"
        );
        assert_eq!(way(&site, echo), Went::Steered, "{lines}");
        site.state().assert_same_as(&before);
    }
    let name = |name: &str| {
        format!(
            "name: {name}\n{}scope: {{ host: true }}\n",
            Means::TproxyNft
        )
    };
    site.write("config.yaml", &name("another"));
    let said = up.again();
    assert!(said.contains("name is not what"), "{said}");
    let text = "method: redirect\nscope: { host: true }\n";
    let said = up.reload_text(text);
    assert!(said.contains("method is not what"), "{said}");
    assert_eq!(way(&site, echo), Went::Steered);
    up.stop();
}

#[test]
fn a_terminal_that_hangs_up_ends_it_and_a_hang_up_without_one_does_not() {
    lab::require!(Namespaces, Program("python3"));
    let site = Site::new("hungup");
    let up = Up::start(&site, Means::RedirectNft, "");
    up.reload("");
    up.stop();
    let path = site.path("config.yaml");
    let steer = steer_tests::steer();
    let python = site.app.program("python3").args(["-c", HANGS_UP]);
    let python = python.arg(steer).args(["up", "-c"]).arg(path);
    assert_eq!(python.run().expect_success(), "signal 0 status 0\n");
    site.assert_untouched();
}

/// Opens a terminal, starts the words as its session's leader, and closes it.
const HANGS_UP: &str = "\
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
said = b''
while b'in force' not in said:
    said += os.read(terminal, 100)
os.close(terminal)
_, status = os.waitpid(child, 0)
print('signal', os.WTERMSIG(status), 'status', os.WEXITSTATUS(status))
";
