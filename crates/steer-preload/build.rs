//! Builds the library that is loaded into programs (`shim/`), for the crate to carry.
//!
//! It is not a crate of the workspace: it must link no standard library, whatever the profile, and
//! its bytes have to be there when this crate is compiled. The compiler is the one that compiles
//! this crate, for the same target; a linker for it is needed anyway.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=shim");
    println!("cargo::rerun-if-changed=build.rs");
    let library = PathBuf::from(variable("OUT_DIR")?).join("steer-preload.so");
    let target = variable("TARGET")?;
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    if !ARCHITECTURES.contains(&arch.as_str()) {
        // The method says so where it is asked for.
        std::fs::write(&library, [])?;
        return Ok(());
    }
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args([
        "--crate-name",
        "steer_preload_shim",
        "--crate-type",
        "cdylib",
    ]);
    rustc.args(["--edition", "2024"]);
    rustc.arg("--target").arg(&target);
    rustc.args(CODEGEN.iter().flat_map(|option| ["-C", option]));
    if env::var("CARGO_CFG_TARGET_ENV")? == "musl" {
        rustc.args(["-C", "target-feature=-crt-static"]);
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = OsString::from("linker=");
        option.push(linker);
        rustc.arg("-C").arg(option);
    }
    rustc.arg("-o").arg(&library).arg("shim/lib.rs");
    // What cargo sets for whatever it wraps is about this crate.
    rustc.env_remove("RUSTC_WORKSPACE_WRAPPER");
    let output = rustc.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("the library of the method preload was not built:\n{said}").into());
    }
    for line in said.lines() {
        println!("cargo::warning={line}");
    }
    Ok(())
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo has not set {name}"))
}

/// Those that `shim/sys.rs` knows the calls of.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

const CODEGEN: [&str; 9] = [
    "opt-level=s",
    "panic=abort",
    "strip=symbols",
    "lto=fat",
    "codegen-units=1",
    "force-unwind-tables=no",
    // No library at all, so that the loader needs none by name.
    "link-arg=-nostdlib",
    "link-arg=-nostartfiles",
    "link-arg=-Wl,--build-id=none",
];
