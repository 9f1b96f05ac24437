//! What the command is given that goes past the engine: descriptors, and another holder.

use lab::{Family, Output, Service, Status};

use crate::site::{Site, kill};
use crate::{greeted, python};

/// `steer run -m netns` of both kinds of users, behind a shell that opens these for it.
fn runs(site: &Site, opened: &str, more: &[&str]) -> Vec<Output> {
    let copy = site.path("steer");
    // Makes the copy.
    drop(site.unprivileged());
    let script = format!("exec {opened}; exec \"$@\"");
    let shell = || site.app.program("bash").args(["-c", &script, "bash"]);
    [shell().without_privileges(), shell()]
        .map(|shell| {
            let words = ["run", "-m", "netns", "--name", &site.name];
            let run = shell.arg(&copy).args(words).args(more);
            run.args(["--", "true"]).run()
        })
        .into()
}

#[test]
fn a_socket_that_the_command_is_given_is_named_and_never_verified() {
    lab::require!(Namespaces, Program("bash"));
    let site = Site::new("given");
    for family in Family::BOTH {
        let at = site.srv.at(family, 9);
        let opened = format!("5<>/dev/udp/{}/{}", at.ip(), at.port());
        let told = format!("past the engine: 5 (udp to {at})\n");
        for output in runs(&site, &opened, &[]) {
            assert_eq!(output.status, Status::Exited(0), "{output:#?}");
            assert!(output.stderr.contains(&told), "{output:#?}");
        }
        let told = format!("descriptors that the command is given: 5 (udp to {at})\n");
        for output in runs(&site, &opened, &["--verify"]) {
            assert_eq!(output.status, Status::Exited(125), "{output:#?}");
            assert!(output.stderr.contains(&told), "{output:#?}");
            assert!(!output.stderr.contains("verified"), "{output:#?}");
        }
    }
}

#[test]
fn a_directory_that_leads_round_what_is_covered_is_named_and_never_verified() {
    lab::require!(Namespaces, Program("bash"));
    let site = Site::new("directory");
    for output in runs(&site, "9</usr", &[]) {
        assert_eq!(output.status, Status::Exited(0), "{output:#?}");
        assert!(output.stderr.contains(": 9 (/usr)\n"), "{output:#?}");
    }
    for output in runs(&site, "9</usr", &["--verify"]) {
        assert_eq!(output.status, Status::Exited(125), "{output:#?}");
        assert!(output.stderr.contains(": 9 (/usr)\n"), "{output:#?}");
    }
}

#[test]
fn files_and_pipes_that_the_command_is_given_are_nothing_to_say() {
    lab::require!(Namespaces, Program("bash"));
    let site = Site::new("files");
    for more in [&[][..], &["--verify"]] {
        for output in runs(&site, "4</etc/passwd 5>/dev/null 6> >(:)", more) {
            assert_eq!(output.status, Status::Exited(0), "{output:#?}");
            assert!(!output.stderr.contains("descriptors"), "{output:#?}");
        }
    }
}

#[test]
fn what_is_counted_is_verified_though_the_holder_was_replaced() {
    lab::require!(Root, Namespaces, Program("python3"));
    let site = Site::new("successor");
    let _server = site.srv.serve(80, Service::Banner(b"greeting!".to_vec()));
    let at = site.srv.at(Family::V4, 80);
    let code = format!(
        "import sys\nprint('there', flush=True); sys.stdin.readline()\n{}",
        greeted(&[at])[2]
    );
    let run = site.unprivileged().args(["run", "--verify", "-m", "netns"]);
    let run = run.args(["--name", &site.name, "--"]).args(python(&code));
    let proc = run.spawn();
    proc.wait_line(|line| line == "there");
    let first = holders(&site);
    assert_eq!(first.len(), 1);
    kill(&first);
    lab::eventually("another holder", || {
        holders(&site)
            .iter()
            .any(|pid| !first.contains(pid))
            .then_some(())
    });
    proc.write(b"\n");
    let status = proc.wait();
    assert_eq!(status, Status::Exited(0), "{}", proc.stderr());
    assert!(
        proc.stderr().contains("steer: verified: "),
        "{}",
        proc.stderr()
    );
}

/// Those who hold namespaces for the site's own copy of the command.
fn holders(site: &Site) -> Vec<i32> {
    let copy = site.path("steer");
    let entries = std::fs::read_dir("/proc").expect("/proc is mounted");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|pid| {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        exe.is_ok_and(|exe| exe == copy) && comm.is_ok_and(|comm| comm.trim_end() == "steer-holder")
    })
    .collect()
}

#[test]
fn processes_that_outlive_the_command_are_named_with_what_becomes_of_them() {
    lab::require!(Namespaces, Program("sh"));
    let site = Site::new("outlive");
    for (method, fate) in [
        ("netns", "they have no network from here on"),
        ("preload", "their connections are refused from here on"),
    ] {
        // Its end is that of its input, so that it lives as long as the test says.
        let script = "exec 3<&0; { read line <&3; } >/dev/null 2>&1 & echo $!";
        for steer in [site.unprivileged(), site.steer()] {
            let run = steer.args(["run", "-m", method, "--name", &site.name]);
            let proc = run.args(["--", "sh", "-c", script]).spawn();
            let pid = proc.wait_line(|line| line.parse::<u32>().is_ok());
            assert_eq!(
                proc.wait(),
                Status::Exited(0),
                "{method}: {}",
                proc.stderr()
            );
            let told = format!("steer: processes outlive the command ({pid}); {fate}\n");
            assert!(proc.stderr().contains(&told), "{method}: {}", proc.stderr());
            proc.close_input();
            lab::eventually("the survivor ends with its input", || {
                (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
            });
        }
    }
}

#[test]
fn nothing_is_said_where_nobody_outlives_the_command() {
    lab::require!(Namespaces, Program("sh"));
    let site = Site::new("alone");
    for method in ["netns", "preload", "seccomp"] {
        for steer in [site.unprivileged(), site.steer()] {
            let run = steer.args(["run", "-m", method, "--name", &site.name]);
            let output = run.args(["--", "sh", "-c", "true & wait"]).run();
            assert_eq!(output.status, Status::Exited(0), "{method}: {output:#?}");
            assert!(!output.stderr.contains("outlive"), "{method}: {output:#?}");
        }
    }
}
