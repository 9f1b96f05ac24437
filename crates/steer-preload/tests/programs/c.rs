//! A C program that calls what no other program here calls.

use std::process::Command;

use lab::require;

use crate::engine::{Engine, said};

/// A program that is gone with this.
pub(crate) struct Built {
    _dir: tempfile::TempDir,
    path: String,
}

impl Built {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// Compiles a C program.
pub(crate) fn built(name: &str, text: &str) -> Built {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join(format!("{name}.c")), dir.path().join(name));
    std::fs::write(&source, text).unwrap();
    let status = Command::new("gcc")
        .args(["-Wall", "-o"])
        .args([&program, &source])
        .status();
    assert!(status.unwrap().success());
    Built {
        path: program.to_str().unwrap().to_owned(),
        _dir: dir,
    }
}

#[tokio::test]
async fn every_way_to_start_a_program_and_to_connect_is_steered() {
    require!(Program("gcc"), Program("curl"));
    let program = built("calls", include_str!("calls.c"));
    let engine = Engine::start(|_| {}).await;
    let mut command = engine.command(program.path());
    let out = said(command.arg("http://203.0.113.7/")).await;
    let started = "hello\n".repeat(9);
    assert_eq!(
        out,
        format!("{started}syscall 0\nfastopen 5 hello\nuring -1 1\ndone")
    );
    assert_eq!(engine.asked().len(), 11);
}
