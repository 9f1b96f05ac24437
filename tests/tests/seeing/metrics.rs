//! Metrics, as Prometheus gets them.

use std::path::PathBuf;

use lab::{Family, Service, Status, eventually};

use crate::scene::{REJECT, Up};
use crate::site::{Means, OnFailure, Site, echoes};

const METRICS: &str = "metrics: { listen: \"127.0.0.1:15020\" }";

/// A page as it is served.
fn page(site: &Site, path: &str) -> String {
    let url = format!("http://127.0.0.1:15020{path}");
    let curl = site.app.program("curl").args(["-sS", "--fail", &url]);
    curl.run().expect_success()
}

/// Waits until a line is there.
fn wait_line(site: &Site, line: &str) -> String {
    eventually(line, || {
        let page = page(site, "/metrics");
        page.lines().any(|it| it == line).then_some(page)
    })
}

#[test]
fn prometheus_reads_what_was_counted() {
    lab::require!(Namespaces, Program("curl"), Program("promtool"), Quic);
    let site = Site::new("metrics");
    let _echo = site.srv.serve(7, Service::Echo);
    let echo = site.srv.at(Family::V4, 7);
    let lines = format!(
        "{METRICS}\nupstreams: {{ far: {{ url: \"socks5://192.0.2.1:1080\" }} }}\n\
         rules: [{{ name: no, match: {{ port: 9 }}, action: reject }}]"
    );
    let up = Up::start(&site, Means::RedirectNft, &lines);
    assert_eq!(page(&site, "/ready"), "ready\n");
    let mut client = site.connect(echo).expect("let pass");
    assert!(echoes(&mut client, b"counted"));
    wait_line(&site, "steer_connections_live{protocol=\"tcp\"} 1");
    drop(client);
    let refused = site.connect(site.srv.at(Family::V4, 9));
    drop(refused);
    let page = wait_line(&site, "steer_refused_total{reason=\"rule\"} 1");
    let ok = "steer_connections_total{method=\"redirect\",protocol=\"tcp\",upstream=\"direct\",\
              outcome=\"ok\"} 1";
    for line in [
        ok,
        "steer_bytes_total{direction=\"sent\"} 7",
        "steer_upstream_up{upstream=\"far\",endpoint=\"192.0.2.1:1080\"} 1",
    ] {
        assert!(page.lines().any(|it| it == line), "{line}\n{page}");
    }
    let promtool = site.app.program("promtool").args(["check", "metrics"]);
    let said = promtool.input(page.clone()).run();
    assert_eq!(said.status, Status::Exited(0), "{said:?}");
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
    let read = site.app.program(python()).args(["-c", READ]).input(page);
    let families = read.run().expect_success();
    assert!(families.contains("steer_connections counter"), "{families}");
    assert!(
        families.contains("steer_connect_seconds histogram"),
        "{families}"
    );
    // A reload is counted, too; one that would move the page is refused by name.
    up.reload(&lines);
    wait_line(&site, "steer_reloads_total{outcome=\"applied\"} 1");
    let moved = lines.replace("15020", "15021");
    let said = up.reload_in_vain(&moved);
    assert!(
        said.contains("metrics is not what") && said.contains("restart"),
        "{said}"
    );
    wait_line(&site, "steer_reloads_total{outcome=\"refused\"} 1");
    up.reload(&lines);
    up.stop();
}

/// The Python with the client of Prometheus, as `tests/run` makes it.
fn python() -> PathBuf {
    let made = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/lab-python/bin/python"
    );
    std::env::var_os("LAB_PYTHON").map_or_else(|| made.into(), PathBuf::from)
}

/// Reads every sample, and prints the families.
const READ: &str = "\
import sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    print(family.name, family.type, len(family.samples))
";

#[test]
fn a_port_that_is_taken_is_said_before_anything_is_changed() {
    lab::require!(Namespaces);
    let site = Site::new("taken");
    let _other = site.app.serve(15020, Service::Echo);
    let before = site.state();
    let config = format!("{}scope: {{ host: true }}\n{METRICS}\n", Means::RedirectNft);
    let up = site.up(&config).run();
    assert_ne!(up.status, Status::Exited(0));
    for words in [
        "metrics cannot be served at 127.0.0.1:15020",
        "in use",
        "help: ",
    ] {
        assert!(up.stderr.contains(words), "{words}: {}", up.stderr);
    }
    site.state().assert_same_as(&before);
    site.assert_untouched();
}

#[test]
fn a_socket_that_somebody_serves_is_said_before_anything_is_changed() {
    lab::require!(Namespaces);
    let site = Site::new("takensocket");
    let path = site.path("events");
    let _other = std::os::unix::net::UnixListener::bind(&path).expect("our directory");
    let config = format!(
        "{}scope: {{ host: true }}\nevents: {{ listen: \"unix:{}\" }}\n",
        Means::RedirectNft,
        path.display()
    );
    let up = site.up(&config).run();
    assert_ne!(up.status, Status::Exited(0));
    assert!(up.stderr.contains("somebody else does"), "{}", up.stderr);
    assert!(path.exists());
    site.assert_untouched();
}

#[test]
fn a_steered_program_does_not_reach_the_metrics_through_the_engine() {
    lab::require!(Namespaces, Program("curl"));
    let site = Site::new("inward");
    let config = site.write("metrics.yaml", &format!("{METRICS}\n"));
    let run = site.run(Means::RedirectNft, OnFailure::Closed);
    let command = run.into_command();
    let words: Vec<_> = command.get_args().map(|word| word.to_owned()).collect();
    // As `run` is called, with the config and loopback before the command.
    let at = words
        .iter()
        .position(|word| word == "--")
        .expect("it is there");
    drop(command);
    let mut args = words[..at].to_vec();
    args.splice(
        at..,
        [
            "-c".into(),
            config.into_os_string(),
            "--loopback".into(),
            "steer".into(),
        ],
    );
    args.extend(["--", "curl", "-sS", "http://127.0.0.1:15020/metrics"].map(Into::into));
    let start = args
        .iter()
        .position(|word| word == "run")
        .expect("it is there");
    let said = site.steer().args(&args[start..]).run();
    assert_ne!(said.status, Status::Exited(0), "{said:?}");
    assert!(!said.stdout.contains("steer_"), "{}", said.stdout);
    let record = site.records().wait_to("127.0.0.1:15020");
    assert_eq!(record["outcome"], "loop", "{record:?}");
    site.assert_untouched();
}

#[test]
fn who_may_look_from_elsewhere_is_answered_beside_a_steering_of_the_whole_host() {
    lab::require!(Namespaces, Program("curl"), Program("iptables"));
    for means in [Means::RedirectNft, Means::TproxyNft, Means::TproxyIptables] {
        let site = Site::of_host(means, "exposed");
        let at = site.app.address(Family::V4);
        let lines = format!("metrics: {{ listen: \"{at}:15020\", expose: yes }}\n{REJECT}");
        let up = Up::start(&site, means, &lines);
        let url = format!("http://{at}:15020/metrics");
        let page = site
            .srv
            .program("curl")
            .args(["-sS", "--fail", "--max-time", "10", &url]);
        let page = page.run().expect_success();
        assert!(page.contains("steer_build_info"), "{page}");
        up.stop();
    }
}
