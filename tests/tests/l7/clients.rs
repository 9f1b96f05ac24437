//! Programs whose TLS is opened: what they believe, and those that do not.

use std::fs;
use std::path::{Path, PathBuf};

use lab::{DEADLINE, Family, Output, Proc, Program, require};
use steer_tests::{Record, Records, Stage, steer};
use tempfile::TempDir;

/// A web server by HTTPS, and what a command needs to reach it by a name.
struct Scene {
    stage: Stage,
    server: Proc,
    folder: TempDir,
}

impl Scene {
    fn new(label: &str) -> Self {
        let stage = Stage::new(label);
        let folder = tempfile::tempdir().expect("a temporary directory");
        let address = stage.srv.address(Family::V4).to_string();
        certify(folder.path(), &address);
        let server = stage
            .srv
            .program("python3")
            .args(["-u", "-c", include_str!("clients/server.py"), &address])
            .args([folder.path().join("web.pem"), folder.path().join("web.key")])
            .spawn();
        server.wait_line(|line| line == "serving");
        let hosts = format!("127.0.0.1 localhost\n{address} {NAME}\n");
        fs::write(folder.path().join("hosts"), hosts).expect("our folder");
        fs::create_dir(folder.path().join("tmp")).expect("our folder");
        let scene = Self {
            stage,
            server,
            folder,
        };
        scene.configure("refuse");
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has the TLS of the server opened.
    fn configure(&self, failing: &str) {
        let folder = self.folder.path().display();
        let text = format!(
            "tls: {{ authority: {folder}/ca, roots: {folder}/root.pem, failing: {failing} }}\n\
             rules:\n\
             \x20 - name: opened\n\
             \x20   match: {{ host: [{NAME}] }}\n\
             \x20   tls: intercept\n\
             \x20   http: {{ request: {{ set: {{ x-added: by-steer }} }} }}\n"
        );
        fs::write(self.path("steer.yaml"), text).expect("our folder");
    }

    /// `steer run` around a shell's words; `{url}` is the server's URL, `{dir}` our folder.
    fn run(&self, method: &str, words: &str) -> Output {
        self.program(method, words).run()
    }

    fn program(&self, method: &str, words: &str) -> Program {
        let folder = self.folder.path().to_str().expect("a path of ours");
        let words = words
            .replace("{url}", &format!("https://{NAME}/"))
            .replace("{dir}", folder);
        // The mounts are seen by this program alone.
        const ENTER: &str = "mount --bind \"$1/hosts\" /etc/hosts; shift; exec \"$@\"";
        self.stage
            .app
            .program("unshare")
            .args(["--mount", "sh", "-ec", ENTER, "sh", folder])
            .arg(steer())
            .args(["run", "-m", method, "-c"])
            .arg(self.path("steer.yaml"))
            .arg("--log")
            .arg(self.path("log"))
            .args(["--", "sh", "-c", &words])
            .env("TMPDIR", self.path("tmp"))
            .env_remove("SSL_CERT_FILE")
            .deadline(3 * DEADLINE)
    }

    fn records(&self) -> Records {
        Records::of(self.path("log"))
    }

    /// Whether the files of a command are gone.
    fn is_tidy(&self) -> bool {
        let left = fs::read_dir(self.path("tmp")).expect("our folder");
        !left
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("steer-ca-"))
    }
}

/// Writes an authority and a server's certificate into a folder.
fn certify(folder: &Path, address: &str) {
    let script = format!(
        "key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'\n\
         openssl req -x509 $key -days 30 -subj '/CN=root of the lab' -keyout root.key -out root.pem\n\
         openssl req $key -subj /CN=web -keyout web.key -out web.csr\n\
         printf 'subjectAltName=DNS:{NAME},IP:{address}\\n' > web.ext\n\
         openssl x509 -req -in web.csr -CA root.pem -CAkey root.key -CAcreateserial -days 20 \
         -extfile web.ext -out web.pem"
    );
    let made = Program::new("sh")
        .args(["-ec", &script])
        .current_dir(folder);
    made.run().expect_success();
}

/// A program of Go, which has to be built outside.
fn build_go(scene: &Scene) {
    fs::write(scene.path("get.go"), include_str!("clients/get.go")).expect("our folder");
    Program::new("go")
        .args(["build", "-o", "get", "get.go"])
        .current_dir(scene.folder.path())
        .env("GO111MODULE", "off")
        .env("GOCACHE", scene.path("gocache"))
        .deadline(20 * DEADLINE)
        .run()
        .expect_success();
}

fn build_java(scene: &Scene) {
    fs::write(scene.path("Get.java"), include_str!("clients/Get.java")).expect("our folder");
    Program::new("javac")
        .arg("Get.java")
        .current_dir(scene.folder.path())
        .deadline(6 * DEADLINE)
        .run()
        .expect_success();
}

/// Programs that bring five different libraries of TLS, each asking once.
const PROGRAMS: [(&str, &str); 6] = [
    ("curl", "curl -sS {url}"),
    (
        "urllib",
        "python3 -c 'import urllib.request as u; print(u.urlopen(\"{url}\").read())'",
    ),
    (
        "requests",
        "python3 -c 'import requests; print(requests.get(\"{url}\").text)'",
    ),
    (
        "node",
        "node -e 'fetch(\"{url}\").then(a => a.text()).then(console.log)'",
    ),
    ("java", "java -cp {dir} Get {url}"),
    ("go", "{dir}/get {url}"),
];

#[test]
fn every_program_accepts_what_opens_its_tls() {
    require!(
        Root,
        Program("openssl"),
        Program("curl"),
        Program("python3"),
        Program("node"),
        Program("javac"),
        Program("go")
    );
    let scene = Scene::new("l7accept");
    build_go(&scene);
    build_java(&scene);
    for method in ["netns", "redirect", "tproxy"] {
        for (program, words) in PROGRAMS {
            let before = scene.records().all().len();
            let output = scene.run(method, words);
            let said = output.stdout.clone();
            assert!(
                said.contains("x-added=by-steer"),
                "{method}: {program}: {output:?}"
            );
            scene.records().wait("one that was opened", |records| {
                let opened = |record: &Record| record["tls"] == "intercepted";
                records[before..].iter().any(opened)
            });
            assert!(scene.is_tidy(), "{method}: {program}");
        }
    }
}

#[test]
fn programs_with_mounts_of_their_own_need_no_variables() {
    require!(
        Root,
        Program("openssl"),
        Program("curl"),
        Program("wget"),
        Program("javac"),
        Program("go")
    );
    let scene = Scene::new("l7bare");
    build_go(&scene);
    build_java(&scene);
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let outside = fs::read(bundle).expect("a Debian or one like it");
    for words in [
        "curl -sS {url}",
        "wget -qO- {url}",
        "java -cp {dir} Get {url}",
        "{dir}/get {url}",
    ] {
        let output = scene.run("netns", &format!("env -i PATH=\"$PATH\" {words}"));
        let said = output.stdout.clone();
        assert!(said.contains("x-added=by-steer"), "{words}: {output:?}");
    }
    assert_eq!(fs::read(bundle).expect("as before"), outside);
}

#[test]
fn a_program_that_does_not_believe_us_is_recorded_and_never_passes() {
    require!(
        Root,
        Program("openssl"),
        Program("curl"),
        Program("python3")
    );
    let scene = Scene::new("l7pinned");
    let output = scene.run("netns", "curl -sS --cacert {dir}/root.pem {url}");
    assert!(!output.stdout.contains("x-added"), "{output:?}");
    assert!(output.stderr.contains("curl: (60)"), "{output:?}");
    let records = scene.records().wait_for(1);
    let error = records[0]["error"].to_string();
    assert!(
        error.contains("does not believe our certificate"),
        "{records:?}"
    );
    assert!(!scene.server.stdout().contains("GET"));
}

#[test]
fn a_program_that_does_not_believe_us_passes_afterwards_where_that_is_asked_for() {
    require!(
        Root,
        Program("openssl"),
        Program("curl"),
        Program("python3")
    );
    let scene = Scene::new("l7passes");
    scene.configure("pass");
    let pinned = "curl -sS --cacert {dir}/root.pem {url}";
    let output = scene.run("netns", &format!("{pinned}; {pinned}; curl -sS {{url}}"));
    // The first is refused, the second passes as it is. Who they are is told by the program or
    // user, so that the third, which would have believed us, passes too and does not believe it.
    assert_eq!(
        output.stdout.matches("x-added=None").count(),
        1,
        "{output:?}"
    );
    assert_eq!(output.stderr.matches("curl: (60)").count(), 2, "{output:?}");
    assert!(!output.stdout.contains("by-steer"), "{output:?}");
}

#[test]
fn a_program_that_waits_does_not_get_past_a_rule_that_closes_the_way() {
    require!(
        Root,
        Program("openssl"),
        Program("curl"),
        Program("python3")
    );
    let scene = Scene::new("l7silent");
    let last = "  - { match: { port: [443], app: [opaque] }, action: reject }\n";
    let config = scene.path("steer.yaml");
    let rules = fs::read_to_string(&config).expect("our folder");
    fs::write(&config, rules + last).expect("our folder");
    // Silent until it is refused: the end of the connection is what it waits for.
    let silent = format!(
        "python3 -c 'import socket; s = socket.create_connection((\"{NAME}\", 443))\n\
         try: print(len(s.recv(1)), \"bytes\")\n\
         except OSError: print(\"refused\")'; curl -sS {{url}}"
    );
    let output = scene.run("netns", &silent);
    let said = output.stdout.clone();
    assert!(
        said.starts_with("refused") || said.starts_with("0 bytes"),
        "{output:?}"
    );
    assert!(said.contains("x-added=by-steer"), "{output:?}");
}

#[test]
fn certificates_that_the_user_names_stay_believed() {
    require!(
        Root,
        Program("openssl"),
        Program("curl"),
        Program("python3")
    );
    let scene = Scene::new("l7own");
    // Another server, which no rule opens, by an authority that the user alone believes.
    let address = scene.stage.srv.address(Family::V4);
    let both = format!("curl -sS {{url}}; curl -sS https://{address}/");
    let program = scene.program("netns", &both);
    let output = program.env("CURL_CA_BUNDLE", scene.path("root.pem")).run();
    let said = output.stdout.clone();
    assert!(said.contains("x-added=by-steer"), "{output:?}");
    assert!(said.contains("x-added=None"), "{output:?}");
}

const NAME: &str = "web.test";
