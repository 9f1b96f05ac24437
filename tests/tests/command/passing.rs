//! `run` passes everything of the command's through: streams, status, signals, surroundings.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use lab::{Family, Program, Service, Signal, Status};
use steer_tests::{Record, steer};

use crate::site::{Means, OnFailure, Site};

/// The keys that readers of the log rely on.
const KEYS: [&str; 28] = [
    "time",
    "method",
    "protocol",
    "client",
    "destination",
    "host",
    "host_from",
    "app",
    "pid",
    "uid",
    "exe",
    "gid",
    "command",
    "cgroup",
    "container",
    "rule",
    "upstream",
    "sent",
    "received",
    "duration_ms",
    "outcome",
    "error",
    "kind",
    "connection",
    "requests",
    "tls",
    "sni",
    "alpn",
];

fn closed(site: &Site) -> Program {
    site.run(Means::RedirectNft, OnFailure::Closed)
}

#[test]
fn curl_gets_the_same_bytes_and_the_log_tells_where_it_went() {
    lab::require!(Namespaces, Cgroup2, Program("curl"));
    for family in Family::BOTH {
        let site = Site::new("curl");
        let _server = site.srv.serve(80, Service::Http);
        let at = site.srv.at(family, 80);
        let url = format!("http://{at}/some/path?q=1");
        let curl = |program: Program| {
            let output = program.args(["-sS", "--fail", "-H", "User-Agent: u", &url]);
            output.run().expect_success()
        };
        let direct = curl(site.app.program("curl"));
        assert!(direct.starts_with("GET /some/path?q=1"), "{direct}");
        // As the README has it, with everything else left to the defaults.
        let steered = curl(
            site.steer()
                .args(["run", "-m", "redirect", "--log"])
                .arg(site.log())
                .args(["--", "curl"]),
        );
        assert_eq!(steered, direct);

        let records = site.records().all();
        let [record] = &records[..] else {
            panic!("one record, not {records:#?}");
        };
        let keys: BTreeSet<&str> = record.keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(KEYS));
        let text = |key: &str| {
            record[key]
                .as_str()
                .unwrap_or_else(|| panic!("{key}: {record:?}"))
        };
        assert_eq!(text("method"), "redirect");
        assert_eq!(text("protocol"), "tcp");
        assert_eq!(text("destination"), at.to_string());
        assert_eq!(text("app"), "http1");
        assert_eq!(text("upstream"), "direct");
        assert_eq!(text("outcome"), "ok");
        assert_eq!(record["uid"], 0);
        // Who it was need not be known; what is said has to be right.
        assert!(
            record["exe"].is_null() || text("exe").ends_with("/curl"),
            "{record:?}"
        );
        assert!(number(record, "received") > direct.len() as u64);
        assert!(number(record, "sent") > 0 && record["error"].is_null());
        let client = text("client");
        assert!(
            client.contains(&site.app.address(family).to_string()),
            "{client}"
        );
        site.assert_untouched();
    }
}

fn number(record: &Record, key: &str) -> u64 {
    record[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key}: {record:?}"))
}

#[test]
fn a_real_ip_netns_exec_hides_nothing_that_is_needed() {
    lab::require!(Namespaces, Cgroup2, Program("ip"), Program("curl"));
    for means in [Means::RedirectNft, Means::RedirectIptables] {
        let site = Site::new("ipnetns");
        let _server = site.srv.serve(80, Service::Http);
        let at = site.srv.at(Family::V4, 80);
        let output = site
            .app
            .program_by_ip(steer())
            .args(["run", "--name", &site.name])
            .args(means.words())
            .arg("--log")
            .arg(site.log())
            .args(["--", "curl", "-sS", "--fail", &format!("http://{at}/x")])
            .run();
        assert!(output.expect_success().starts_with("GET /x"));
        site.records().wait_to(at);
        site.assert_untouched();
    }
}

#[test]
fn binary_data_passes_through_all_three_streams() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("binary");
    let data: Vec<u8> = (0..300_000u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let input = site.path("input");
    std::fs::write(&input, &data).expect("our directory can be written");
    for script in ["exec cat", "exec cat >&2"] {
        let output = closed(&site)
            .args(["sh", "-c", script])
            .into_command()
            .stdin(File::open(&input).expect("it was written"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .expect("steer starts");
        assert!(output.status.success());
        let (full, empty) = match script {
            "exec cat" => (output.stdout, output.stderr),
            _ => (output.stderr, output.stdout),
        };
        assert!(full == data, "{} bytes of {}", full.len(), data.len());
        assert!(empty.is_empty(), "{}", String::from_utf8_lossy(&empty));
    }
    site.assert_untouched();
}

#[test]
fn a_closed_input_is_no_input() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("closed");
    let words = format!(
        "exec {} run -m redirect --name {} -- sh -c 'cat 2>/dev/null; echo done' <&-",
        steer().display(),
        site.name
    );
    let output = site.app.program("sh").args(["-c", &words]).run();
    assert_eq!(output.expect_success(), "done\n");
    site.assert_untouched();
}

#[test]
fn the_command_inherits_the_callers_descriptors_and_none_of_ours() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("fds");
    let list = "sh -c 'read line <&5; echo \"$line\"; exec ls /proc/self/fd' 5</etc/hostname";
    let run = format!(
        "exec {} run -m redirect --name {} -- {list}",
        steer().display(),
        site.name
    );
    let ask = |script: &str| {
        let output = site.app.program("sh").args(["-c", script]).run();
        output.expect_success()
    };
    let direct = ask(&format!("exec {list}"));
    assert!(direct.ends_with("5\n"), "{direct}");
    assert_eq!(ask(&run), direct);
    site.assert_untouched();
}

#[test]
fn every_kind_of_end_is_passed_on() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("status");
    let end = |words: &[&str]| closed(&site).args(words).run().status;
    for status in [0, 1, 2, 77, 125, 126, 127, 128, 130, 255] {
        let script = format!("exit {status}");
        assert_eq!(end(&["sh", "-c", &script]), Status::Exited(status));
    }
    for signal in [1, 2, 3, 6, 9, 11, 13, 14, 15, 10, 31] {
        let script = format!("kill -{signal} $$; sleep 1000");
        assert_eq!(end(&["sh", "-c", &script]), Status::Killed(signal));
    }
    let directory = site.path("");
    let plain = site.write("plain", "no program\n");
    for (words, status) in [
        ("no-such-program-anywhere", 127),
        ("/no/such/path", 127),
        (plain.to_str().expect("a path of text"), 126),
        (directory.to_str().expect("a path of text"), 126),
    ] {
        let output = closed(&site).arg(words).run();
        assert_eq!(output.status, Status::Exited(status), "{output:#?}");
        assert!(output.stderr.contains(words), "{output:#?}");
        assert!(output.stderr.contains("help:"), "{output:#?}");
    }
    site.assert_untouched();
}

#[test]
fn a_terminal_stays_a_terminal() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("tty");
    let script = "test -t 0 && test -t 1 && test -t 2 && echo ye''s; stty size; \
                  exec 3</dev/tty && echo contro''lled";
    let direct = site
        .app
        .program("sh")
        .args(["-c", script])
        .spawn_on_terminal();
    assert_eq!(direct.wait(), Status::Exited(0));
    let steered = closed(&site).args(["sh", "-c", script]).spawn_on_terminal();
    assert_eq!(steered.wait(), Status::Exited(0));
    assert_eq!(steered.stdout(), direct.stdout());
    assert!(direct.stdout().starts_with("yes\r\n24 80\r\ncontrolled"));
    site.assert_untouched();
}

#[test]
fn surroundings_are_the_callers() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("around");
    let script = "env | sort; pwd; umask; id; ulimit -a; cat /proc/self/oom_score_adj; \
                  grep -E '^(Sig(Blk|Ign)|Cap|NoNewPrivs|Seccomp):' /proc/self/status; \
                  ps -o ni= -p $$; readlink /proc/self/ns/net /proc/self/ns/mnt";
    let ask = |program: Program| {
        let program = program
            .args(["sh", "-c", script])
            .current_dir(site.path(""));
        let program = program
            .env("SOME_VARIABLE", "some value")
            .env("HTTP_PROXY", "");
        program.run().expect_success()
    };
    let direct = ask(site.app.program("env"));
    let steered = ask(closed(&site).arg("env"));
    assert_eq!(steered, direct);
    site.assert_untouched();
}

#[test]
fn signals_reach_the_command() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("signals");
    let script = "for s in HUP INT QUIT USR1 USR2 ALRM TERM; do trap \"echo got $s\" $s; done; \
                  echo ready; while read -r line; do echo \"line $line\"; done; exit 3";
    let run = closed(&site).args(["bash", "-c", script]).spawn();
    run.wait_line(|line| line == "ready");
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
        Signal::SIGTERM,
    ] {
        run.signal(signal);
        let name = signal.as_str().trim_start_matches("SIG");
        // The shell runs its trap between two commands.
        lab::eventually("the signal arrives", || {
            run.write(b"\n");
            let said = run.stdout();
            said.lines()
                .any(|line| line == format!("got {name}"))
                .then_some(())
        });
    }
    run.close_input();
    assert_eq!(run.wait(), Status::Exited(3));
    site.assert_untouched();
}

#[test]
fn ignored_signals_stay_ignored() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("nohup");
    let words = format!(
        "trap '' HUP INT; exec {} run -m redirect --name {} -- \
         sh -c 'kill -HUP $$; kill -INT $$; echo alive'",
        steer().display(),
        site.name
    );
    let output = site.app.program("sh").args(["-c", &words]).run();
    assert_eq!(output.expect_success(), "alive\n");
    site.assert_untouched();
}

/// A pipeline in a shell: whoever reads stops, and the command learns it by SIGPIPE.
#[test]
fn a_closed_pipe_ends_the_command_as_without() {
    lab::require!(Namespaces, Cgroup2, Program("bash"));
    let site = Site::new("pipe");
    let words = format!(
        "{} run -m redirect --name {} -- yes | head -n 2; echo ${{PIPESTATUS[0]}}",
        steer().display(),
        site.name
    );
    let output = site.app.program("bash").args(["-c", &words]).run();
    assert_eq!(output.expect_success(), "y\ny\n141\n");
    site.assert_untouched();
}

/// The wait status is that of the command, and not a number that stands for it.
#[test]
fn a_parent_sees_the_signal_itself() {
    lab::require!(Namespaces, Cgroup2);
    let site = Site::new("parent");
    let mut command = closed(&site)
        .args(["sh", "-c", "kill -SEGV $$"])
        .into_command();
    let status = command.stdin(Stdio::null()).status().expect("steer starts");
    assert_eq!(status.signal(), Some(11));
    site.assert_untouched();
}
