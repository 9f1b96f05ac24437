//! HTTP/2 of programs that others wrote: each request meets the rules, and goes as without us.

use std::fs;

use lab::{DEADLINE, Family, Output, Proc, Program, eventually, grpc_python, require};
use steer_tests::{Record, Records, Stage, steer};
use tempfile::TempDir;

/// Two hosts, and the rules of `steer run` on one of them.
struct Scene {
    stage: Stage,
    folder: TempDir,
}

impl Scene {
    fn new(label: &str, tls: &str) -> Self {
        let stage = Stage::new(label);
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().display();
        let (top, rule) = match tls {
            "intercept" => (
                format!("tls: {{ authority: {path}/ca, roots: {path}/web.pem }}\n"),
                format!("{{ host: [{NAME}], path: [\"/*\"] }}\n    tls: intercept"),
            ),
            _ => (String::new(), "{ path: [\"/*\"] }".to_owned()),
        };
        let text = format!(
            "{top}rules:\n  - name: marked\n    match: {rule}\n    http:\n      \
             request: {{ set: {{ x-marked: by-steer }} }}\n      \
             response: {{ remove: [server] }}\n"
        );
        fs::write(folder.path().join("steer.yaml"), text).expect("our folder");
        fs::write(folder.path().join("file"), vec![b'f'; LENGTH]).expect("our folder");
        Self { stage, folder }
    }

    /// Serves the folder, as it is told by options, the port and files of TLS.
    fn nghttpd(&self, more: &[&str]) -> Proc {
        let server = self.stage.srv.program("nghttpd").args(["--htdocs"]);
        let server = server.arg(self.folder.path()).args(more).spawn();
        let at = self.stage.at(Family::V4, PORT);
        eventually("nghttpd listens", || self.stage.app.connect(at).ok());
        server
    }

    /// Runs a program below `steer run`.
    fn run(&self, method: &str, program: &[&str]) -> Output {
        let folder = self.folder.path();
        let command = self.stage.app.program(steer());
        let command = command.args(["run", "-m", method, "-c"]);
        let command = command.arg(folder.join("steer.yaml")).arg("--log");
        let command = command.arg(self.log(method)).arg("--").args(program);
        command.deadline(3 * DEADLINE).run()
    }

    fn log(&self, method: &str) -> std::path::PathBuf {
        self.folder.path().join(method)
    }

    /// The records of so many requests, all of them passed by our rule.
    fn passed(&self, method: &str, count: usize) -> Vec<Record> {
        let records = Records::of(self.log(method)).wait_for_requests(count);
        for record in &records {
            assert_eq!(record["rule"], "marked", "{method}: {record:?}");
            assert_eq!(record["outcome"], "ok", "{method}: {record:?}");
        }
        records
    }
}

/// Checks that every request of h2load was answered with 2xx.
fn clean(method: &str, output: &Output) {
    let said = &output.stdout;
    let all = format!("{REQUESTS} done, {REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout");
    assert!(said.contains(&all), "{method}: {output:?}");
    let codes = format!("{REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx");
    assert!(said.contains(&codes), "{method}: {output:?}");
}

#[test]
fn h2load_runs_clean_by_prior_knowledge() {
    require!(Root, Program("h2load"), Program("nghttpd"));
    let scene = Scene::new("l7h2c", "pass");
    let _server = scene.nghttpd(&["--no-tls", &PORT.to_string()]);
    let url = format!("http://{}/file", scene.stage.at(Family::V4, PORT));
    for method in METHODS {
        let requests = REQUESTS.to_string();
        let load = ["h2load", "-n", &requests, "-c", "2", "-m", "20", &url];
        let output = scene.run(method, &load);
        clean(method, &output);
        let records = scene.passed(method, REQUESTS);
        assert_eq!(records.len(), REQUESTS, "{method}: one record a request");
        let whole = |record: &&Record| record["received"] == LENGTH && record["path"] == "/file";
        assert_eq!(records.iter().filter(whole).count(), REQUESTS, "{method}");
    }
}

#[test]
fn h2load_runs_clean_by_alpn_in_opened_tls() {
    require!(
        Root,
        Program("h2load"),
        Program("nghttpd"),
        Program("openssl")
    );
    let scene = Scene::new("l7alpn", "intercept");
    let made = Program::new("openssl").current_dir(scene.folder.path());
    let made = made.args(["req", "-x509", "-nodes", "-days", "30", "-newkey", "ec"]);
    let made = made.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=web"]);
    let made = made.args(["-addext", &format!("subjectAltName=DNS:{NAME}")]);
    let made = made.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    made.args(["-keyout", "web.key", "-out", "web.pem"])
        .run()
        .expect_success();
    let (key, chain) = (
        scene.folder.path().join("web.key"),
        scene.folder.path().join("web.pem"),
    );
    let (key, chain) = (key.display().to_string(), chain.display().to_string());
    let _server = scene.nghttpd(&[&PORT.to_string(), &key, &chain]);
    let to = format!("--connect-to={}", scene.stage.at(Family::V4, PORT));
    let url = format!("https://{NAME}:{PORT}/file");
    for method in ["redirect", "netns"] {
        let requests = REQUESTS.to_string();
        let load = ["h2load", "-n", &requests, "-c", "2", "-m", "20", &to, &url];
        let output = scene.run(method, &load);
        clean(method, &output);
        let protocol = "Application protocol: h2";
        assert!(output.stdout.contains(protocol), "{method}: {output:?}");
        scene.passed(method, REQUESTS);
        let connections = Records::of(scene.log(method)).wait_for(2);
        for record in connections {
            assert_eq!(record["tls"], "intercepted", "{method}: {record:?}");
            assert_eq!(record["app"], "http2", "{method}: {record:?}");
        }
    }
}

#[test]
fn every_kind_of_grpc_call_goes_as_without_us() {
    require!(Root, Grpc);
    let python = grpc_python().expect("it is needed").display().to_string();
    let scene = Scene::new("l7grpc", "pass");
    let address = scene.stage.at(Family::V4, PORT).to_string();
    let server = scene.stage.srv.program(&python);
    let server = server.args(["-u", "-c", SERVER, &address]).spawn();
    server.wait_line(|line| line.starts_with("port "));
    for method in METHODS {
        let output = scene.run(method, &[&python, "-u", "-c", CLIENT, &address]);
        let last = output.stdout.lines().last();
        assert_eq!(last, Some("deadline"), "{method}: {output:?}");
        let records = Records::of(scene.log(method)).wait_for_requests(CALLS);
        assert!(records.iter().all(|record| record["rule"] == "marked"));
        let by = |path: &str| {
            records
                .iter()
                .filter(|record| record["path"] == path)
                .count()
        };
        assert_eq!(
            (by("/steer.Test/Both"), by("/steer.Test/Wait")),
            (52, 2),
            "{method}"
        );
    }
}

/// The methods by which programs that know of no proxy are steered.
const METHODS: [&str; 7] = [
    "redirect", "tproxy", "tun", "ebpf", "netns", "seccomp", "preload",
];
const NAME: &str = "web.test";
const PORT: u16 = 8443;
const REQUESTS: usize = 300;
const LENGTH: usize = 20_000;
/// The calls of the client.
const CALLS: usize = 59;
const SERVER: &str = include_str!("../../../crates/steer-http/tests/http2_tools/server.py");
const CLIENT: &str = include_str!("../../../crates/steer-http/tests/http2_tools/client.py");
