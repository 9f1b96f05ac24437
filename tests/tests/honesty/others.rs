//! Programs that become somebody else, or go elsewhere.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use lab::{Program, Status};

use crate::scene::{Scene, User, Way};

/// A copy of Python that runs as root, whoever starts it; none where the disk does not allow it.
fn setuid_python(scene: &Scene) -> PathBuf {
    let path = scene.site.path("python-of-root");
    let ask = ["-c", "import sys; print(sys.executable)"];
    let python = Program::new("python3").args(ask).run().expect_success();
    let real = fs::canonicalize(python.trim()).expect("the interpreter");
    let cp = Program::new("cp").arg(real).arg(&path);
    cp.run().expect_success();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o4755)).expect("our file");
    assert_eq!(fs::metadata(&path).expect("our file").uid(), 0);
    path
}

/// As [`Scene::python`], by another interpreter.
fn by(python: &Path, scene: &Scene, code: &str) -> [String; 3] {
    let [_, c, code] = scene.python(code);
    [python.display().to_string(), c, code]
}

#[test]
fn a_set_user_id_program_is_steered_without_its_rights() {
    lab::require!(Root, Program("python3"));
    for way in [Way::Netns, Way::Seccomp] {
        let scene = Scene::new("setuid", way, User::Ordinary);
        let python = setuid_python(&scene);
        let code = "print(os.geteuid(), connect())";
        // It does run as root without us.
        let direct = by(&python, &scene, "print(os.geteuid())");
        let [program, rest @ ..] = &direct;
        let direct = scene.site.app.program(program).args(rest).user(65534).run();
        assert_eq!(direct.expect_success(), "0\n");
        let wire = scene.site.witness();
        let said = scene.run(&[]).args(by(&python, &scene, code)).run();
        let said = said.expect_success();
        assert!(said.starts_with("65534 HTTP/1."), "{said}");
        let record = scene.site.records().wait_to(scene.at);
        assert_eq!(record["method"], way.name());
        assert_eq!(scene.connects(&wire).len(), 1);
    }
}

#[test]
fn a_set_user_id_program_that_preload_would_lose_is_refused_before_it_starts() {
    lab::require!(Root, Program("python3"));
    let scene = Scene::new("setuid", Way::Preload, User::Ordinary);
    let python = setuid_python(&scene);
    let wire = scene.site.witness();
    let output = scene.run(&[]).args(by(&python, &scene, "connect()")).run();
    assert_eq!(output.status, Status::Exited(125), "{output:#?}");
    assert!(output.stderr.contains("it gains privileges"), "{output:#?}");
    // One that a program of the command starts is refused as well.
    let inner = by(&python, &scene, "connect()");
    let started = format!(
        "import subprocess\ntry: subprocess.run({inner:?})\nexcept PermissionError: print('held')"
    );
    let output = scene.run(&[]).args(scene.python(&started)).run();
    assert_eq!(output.stdout, "held\n", "{output:#?}");
    assert!(output.stderr.contains("it gains privileges"), "{output:#?}");
    assert_eq!(scene.connects(&wire), []);
}

#[test]
fn a_network_namespace_inside_leads_nowhere() {
    lab::require!(Namespaces, Program("python3"), Program("unshare"));
    Scene::each("unshare", &Way::ALL, |scene| {
        let wire = scene.site.witness();
        let unshare: &[&str] = match scene.user {
            User::Ordinary => &["unshare", "-rn"],
            User::Root => &["unshare", "-n"],
        };
        let code = "\
            for way in ask, connect:\n  \
              try: print(way())\n  \
              except OSError as e: print('no')\n";
        let run = scene.run(&[]).args(unshare).args(scene.python(code));
        let output = run.run();
        // Whether the namespace is refused, or leads nowhere.
        assert!(!output.stdout.contains("HTTP"), "{output:#?}");
        assert!(!output.stdout.contains("GET /x"), "{output:#?}");
        assert_eq!(scene.connects(&wire), [], "{output:#?}");
    });
}
