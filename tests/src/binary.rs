//! The `steer` command under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

/// The path of the command: `STEER_BIN`, or the one of this build, built when it is missing or
/// older than its sources.
pub fn steer() -> &'static Path {
    &STEER
}

static STEER: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os("STEER_BIN") {
    Some(path) => path.into(),
    None => of_this_build(),
});

fn of_this_build() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own program");
    // target/debug/deps/matrix-0123 lies two folders below target/debug/steer.
    let profile = test.ancestors().nth(2).expect("tests lie below a profile");
    let path = profile.join("steer");
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let built = modified(&path);
    if built.is_none_or(|built| newest(&crates).is_some_and(|changed| changed > built)) {
        build(profile);
    }
    path
}

/// Cargo's own lock keeps several test programs from building at once.
fn build(profile: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "-p", "steer-cli"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the command under test cannot be built; run `cargo build -p steer-cli`, \
         or name a built one in STEER_BIN"
    );
}

/// When the newest source below a folder was changed.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let times = entries.filter_map(|entry| {
        let path = entry.path();
        match path.is_dir() {
            true => newest(&path),
            false if path.extension().is_some_and(|it| it == "rs") => modified(&path),
            false => None,
        }
    });
    times.max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|it| it.modified()).ok()
}
