//! A C program that calls what no other program here calls.

use std::process::Command;

use lab::require;

use crate::engine::{Engine, said};

#[tokio::test]
async fn every_way_to_start_a_program_and_to_connect_is_steered() {
    require!(Program("gcc"), Program("curl"));
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("calls.c"), dir.path().join("calls"));
    std::fs::write(&source, include_str!("calls.c")).unwrap();
    let built = Command::new("gcc")
        .args(["-Wall", "-o"])
        .args([&program, &source])
        .status();
    assert!(built.unwrap().success());
    let engine = Engine::start(|_| {}).await;
    let mut command = engine.command(program.to_str().unwrap());
    let out = said(command.arg("http://203.0.113.7/")).await;
    let started = "hello\n".repeat(9);
    assert_eq!(
        out,
        format!("{started}syscall 0\nfastopen 5 hello\nuring -1 1\ndone")
    );
    assert_eq!(engine.asked().len(), 11);
}
