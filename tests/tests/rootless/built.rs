//! Programs that are built from source, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use lab::Program;

/// What is built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Built {
    /// A static program; its path.
    Go,
    /// Classes; the path of their folder.
    Java,
}

/// Where it is, built where it was not.
pub(crate) fn path(built: Built) -> PathBuf {
    match built {
        Built::Go => GO.clone(),
        Built::Java => JAVA.clone(),
    }
}

static GO: LazyLock<PathBuf> = LazyLock::new(|| {
    let to = folder("go").join("program");
    let build = Program::new("go")
        .args(["build", "-trimpath", "-o"])
        .arg(&to);
    let build = build
        .arg(sources().join("program.go"))
        // No C library: a program that makes its system calls itself.
        .env("CGO_ENABLED", "0")
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("GOCACHE", folder("go-cache"));
    build.deadline(15 * lab::DEADLINE).run().expect_success();
    to
});

static JAVA: LazyLock<PathBuf> = LazyLock::new(|| {
    let to = folder("java");
    let build = Program::new("javac").arg("-d").arg(&to);
    let build = build.arg(sources().join("Fetch.java"));
    build.deadline(3 * lab::DEADLINE).run().expect_success();
    to
});

/// A folder that stays from run to run, so that what has not changed is not built again.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("rootless")
        .join(name);
    fs::create_dir_all(&path).expect("the build's folder can be written");
    path
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rootless/programs")
}
