//! The variables with the programs that they are for.

use lab::require;
use tempfile::TempDir;

use crate::engine::{self, Engine, output};
use crate::origin::{self, Origin};

/// A place for the files of a program, where no one's own configuration is found.
fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// That the port was asked for the origin, by its name, and for nothing else.
fn assert_asked(engine: &Engine, origin: &Origin) {
    let mut asked = engine.asked();
    asked.dedup();
    assert_eq!(asked, [format!("{} env -", origin.named())]);
}

#[tokio::test]
async fn git_asks_the_port() {
    require!(Namespaces, Program("git"));
    let engine = engine::alone(&[]);
    let (origin, home) = (origin::mirror().await, home());
    let mut git = engine.command("git");
    git.env("HOME", home.path()).env("GIT_TERMINAL_PROMPT", "0");
    git.args(["ls-remote", &format!("http://{}/x.git", origin.named())]);
    output(&mut git).await;
    assert_asked(&engine, &origin);
}

#[tokio::test]
async fn wget_and_perl_ask_the_port() {
    require!(Namespaces, Program("wget"), Program("perl"));
    let engine = engine::alone(&[]);
    let origin = origin::mirror().await;
    let url = format!("http://{}/", origin.named());
    let tiny = "print HTTP::Tiny->new->get($ARGV[0])->{content}";
    for (program, arguments) in [
        ("wget", ["-q", "-O-", &url].as_slice()),
        ("perl", &["-MHTTP::Tiny", "-e", tiny, &url]),
    ] {
        let (status, seen) = output(engine.command(program).args(arguments)).await;
        assert_eq!(status, 0, "{program}");
        assert!(seen.starts_with("GET / HTTP/1.1\r\n"), "{program}: {seen}");
    }
    assert_eq!(engine.asked().len(), 2);
    assert_asked(&engine, &origin);
}

#[tokio::test]
async fn npm_asks_the_port_whatever_its_file_says() {
    require!(Namespaces, Program("npm"));
    let engine = engine::alone(&["lan", "*.lan"]);
    let (origin, home) = (origin::mirror().await, home());
    let elsewhere = "proxy=http://127.0.0.1:1\nhttps-proxy=http://127.0.0.1:1\n";
    std::fs::write(home.path().join(".npmrc"), elsewhere).unwrap();
    let view = |host: String| {
        let mut npm = engine.command("npm");
        npm.env("HOME", home.path())
            .env("npm_config_fetch_retries", "0");
        npm.args(["view", "nothing", "--registry", &format!("http://{host}/")]);
        npm
    };
    output(&mut view(origin.named())).await;
    assert_asked(&engine, &origin);
    output(&mut view("registry.lan".to_owned())).await;
    assert_asked(&engine, &origin);
}

#[tokio::test]
async fn pip_asks_the_port_even_where_the_user_has_another_proxy() {
    require!(Namespaces, Program("pip"));
    let engine = engine::alone(&[]);
    let (origin, home) = (origin::mirror().await, home());
    let index = format!("http://{}/simple", origin.named());
    let mut pip = engine.command("pip");
    // What the user has stands below what the plan sets.
    let set = pip
        .as_std()
        .get_envs()
        .any(|(name, value)| name == "PIP_PROXY" && value.is_some_and(std::ffi::OsStr::is_empty));
    assert!(set, "the user's PIP_PROXY would stand");
    pip.env("PIP_CONFIG_FILE", "/dev/null")
        .current_dir(home.path());
    pip.args(["--disable-pip-version-check", "--retries=0", "--timeout=9"]);
    pip.args([
        "download",
        "--trusted-host",
        "origin.test",
        "-i",
        &index,
        "nothing",
    ]);
    output(&mut pip).await;
    assert_asked(&engine, &origin);
}

#[tokio::test]
async fn cargo_asks_the_port_whatever_its_file_says() {
    require!(Namespaces, Program("cargo"));
    let engine = engine::alone(&[]);
    let (origin, home) = (origin::mirror().await, home());
    let write = |path: &str, text: &str| {
        let path = home.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "cargo/config.toml",
        "http.proxy = '127.0.0.1:1'\nnet.retry = 0\n",
    );
    write("a/src/lib.rs", "");
    let depends = "[dependencies]\nnothing = { version = '1', registry = 'r' }\n";
    write("a/Cargo.toml", &format!("[package]\nname = 'a'\n{depends}"));
    let mut cargo = engine.command("cargo");
    if let Some(home) = std::env::var_os("RUSTUP_HOME") {
        cargo.env("RUSTUP_HOME", home);
    }
    cargo.env("CARGO_HOME", home.path().join("cargo"));
    cargo.env(
        "CARGO_REGISTRIES_R_INDEX",
        format!("sparse+http://{}/", origin.named()),
    );
    cargo
        .arg("generate-lockfile")
        .current_dir(home.path().join("a"));
    output(&mut cargo).await;
    assert_asked(&engine, &origin);
}

#[tokio::test]
async fn python_s_libraries_ask_the_port_and_take_no_offence() {
    require!(Namespaces, Program("python3"));
    let engine = engine::alone(&["lan", "*.lan"]);
    let origin = origin::mirror().await;
    // A library that is not installed here says so and has nothing to prove.
    let script = format!(
        "import importlib\n\
         for name in ('requests', 'httpx'):\n\
         \x20   try: library = importlib.import_module(name)\n\
         \x20   except ImportError: print(name, 'absent'); continue\n\
         \x20   print(name, library.get('http://{}/', timeout=20).status_code)\n\
         import urllib.request; print('urllib', urllib.request.urlopen('http://{0}/').status)",
        origin.named()
    );
    let (status, told) = output(engine.command("python3").args(["-c", &script])).await;
    assert_eq!(status, 0);
    assert_eq!(told.lines().count(), 3);
    let is_right = |line: &str| line.ends_with(" 200") || line.ends_with(" absent");
    assert!(
        told.lines().all(is_right) && told.ends_with("urllib 200\n"),
        "{told}"
    );
    assert_asked(&engine, &origin);
}

#[tokio::test]
async fn rsync_asks_the_port_for_its_daemons() {
    require!(Namespaces, Program("rsync"));
    let engine = engine::alone(&[]);
    let (origin, _) = origin::counter("127.0.0.1:0").await;
    let mut rsync = engine.command("rsync");
    rsync.arg(format!("rsync://{}/module/", origin.named()));
    output(&mut rsync).await;
    assert_asked(&engine, &origin);
}
