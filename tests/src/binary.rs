//! The `steer` command under test.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

/// The path of the command: `STEER_BIN`, or the one of this build, built when it is missing or
/// older than its sources.
pub fn steer() -> &'static Path {
    &STEER
}

/// A path at which every user can read and execute a program: its own, or that of a copy in a
/// folder that is open to all, since the folder of the build may be closed to others.
pub(crate) fn for_everyone(program: &Path, folder: &Path) -> PathBuf {
    if program.ancestors().all(is_open) {
        return program.to_owned();
    }
    let copy = folder.join(program.file_name().expect("a file"));
    // By another process: a descriptor for writing here would be inherited by programs that other
    // tests start meanwhile, and the copy be busy.
    let cp = lab::Program::new("cp").arg(program).arg(&copy);
    cp.run().expect_success();
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).expect("our own");
    copy
}

fn is_open(path: &Path) -> bool {
    let mode = |metadata: fs::Metadata| metadata.permissions().mode();
    fs::metadata(path)
        .map(mode)
        .is_ok_and(|mode| mode & 0o005 == 0o005)
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
