//! Programs that a method would not steer: seen before anything starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lab::{Family, Program, Service, Status, eventually};

use crate::site::Site;

/// A program without a dynamic loader; what it does is of no matter.
fn static_program(site: &Site) -> PathBuf {
    let path = site.path("alone");
    let source = site.path("alone.c");
    fs::write(&source, "int main(void) { return 7; }").expect("a file can be written");
    let built = Program::new("gcc")
        .args(["-static", "-o"])
        .arg(&path)
        .arg(&source);
    built.run().expect_success();
    path
}

fn readable(path: &Path) {
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, everybody).expect("it is ours");
}

#[test]
fn a_program_that_would_get_past_is_not_started_unless_told_so() {
    lab::require!(Namespaces, Program("gcc"));
    let site = Site::new("examined");
    let program = static_program(&site);
    readable(&program);
    let run = |more: &[&str]| {
        let steer = site.unprivileged().args(["run"]).args(more).arg("--");
        steer.arg(&program).run()
    };
    let refused = run(&["-m", "preload"]);
    assert_eq!(refused.status, Status::Exited(125), "{refused:#?}");
    for word in ["would not be steered", "it is static", "--allow-unsteered"] {
        assert!(refused.stderr.contains(word), "{word}: {refused:#?}");
    }
    let allowed = run(&["-m", "preload", "--allow-unsteered"]);
    assert_eq!(allowed.status, Status::Exited(7), "{allowed:#?}");
    // Another method is taken where there is a choice, and the reason said.
    let other = run(&["-m", "preload,netns"]);
    assert_eq!(other.status, Status::Exited(7), "{other:#?}");
    assert!(other.stderr.contains("it is static"), "{other:#?}");
    site.assert_untouched();
}

#[test]
fn what_a_program_starts_is_looked_at_as_well() {
    lab::require!(Namespaces, Program("gcc"));
    let site = Site::new("examines");
    let program = static_program(&site);
    let run = |more: &[&str]| {
        let steer = site.steer().args(["run", "-m", "preload"]).args(more);
        steer.args(["--", "env", "-i"]).arg(&program).run()
    };
    let refused = run(&[]);
    assert_eq!(refused.status, Status::Exited(126), "{refused:#?}");
    assert!(refused.stderr.contains("it is static"), "{refused:#?}");
    assert_eq!(run(&["--allow-unsteered"]).status, Status::Exited(7));
}

#[test]
fn a_killed_engine_is_closed_and_its_library_is_cleaned_when_nobody_loads_it() {
    lab::require!(Namespaces, Program("curl"));
    let site = Site::new("preloadkill");
    let server = site.srv.serve(80, Service::Http);
    let at = site.srv.at(Family::V4, 80);
    let (go, said, dir) = (site.path("go"), site.path("said"), site.path("run"));
    let text = format!(
        "curl -sS http://{at}/ >/dev/null && echo first
         while [ ! -e {} ]; do sleep 0.05; done
         curl -sS http://{at}/; echo second $? > {}",
        go.display(),
        said.display()
    );
    let steer = || site.steer().env("STEER_RUN_DIR", &dir);
    fs::create_dir(&dir).expect("a folder can be made");
    let run = steer().args(["run", "-m", "preload", "--", "sh", "-c", &text]);
    let run = run.spawn();
    run.wait_line(|line| line == "first");
    run.kill();
    let left = || fs::read_dir(dir.join("lib")).map_or(0, |files| files.count());
    assert_eq!(left(), 1);
    let clean = || steer().arg("clean").run().expect_success();
    assert!(clean().contains("which processes still load"));
    assert_eq!(left(), 1);
    fs::write(&go, "").expect("a file can be written");
    let second = || fs::read_to_string(&said).unwrap_or_default();
    eventually("the second answer", || {
        second().contains("second").then_some(())
    });
    assert_eq!(second(), "second 7\n", "curl could not connect");
    assert_eq!(server.seen().len(), 1);
    eventually("the library goes", || {
        clean();
        (left() == 0).then_some(())
    });
}
