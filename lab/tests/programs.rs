//! Programs, pipes and terminals.

use std::time::Duration;

use lab::{Cgroup, Hierarchy, Lab, Program, Pty, Signal, Status, cgroup2_mount, eventually};

#[test]
fn a_program_is_killed_when_it_overruns_and_its_words_are_kept() {
    let program = Program::new("sh").args(["-c", "echo out; echo err >&2; sleep 1000"]);
    let output = program.deadline(Duration::from_millis(500)).run();
    assert_eq!(
        (
            output.status,
            output.stdout.as_str(),
            output.stderr.as_str()
        ),
        (Status::Overran, "out\n", "err\n")
    );
}

#[test]
fn status_input_and_output_pass_through() {
    let output = Program::new("sh")
        .args(["-c", "cat; exit 7"])
        .input("words")
        .run();
    assert_eq!(
        (output.status, output.stdout.as_str()),
        (Status::Exited(7), "words")
    );
    let output = Program::new("sh").args(["-c", "kill -9 $$"]).run();
    assert_eq!(output.status, Status::Killed(9));
    let big = "x".repeat(1 << 20);
    assert_eq!(
        Program::new("cat")
            .input(big.clone())
            .run()
            .expect_success(),
        big
    );
}

#[test]
fn lines_are_awaited_on_either_stream_and_signals_arrive() {
    let script = "trap 'echo got term; exit 3' TERM; echo ready >&2; while :; do sleep 0.01; done";
    let proc = Program::new("sh").args(["-c", script]).spawn();
    assert_eq!(proc.wait_line(|line| line.starts_with("rea")), "ready");
    assert!(proc.is_running());
    proc.signal(Signal::SIGTERM);
    assert_eq!(proc.wait(), Status::Exited(3));
    assert_eq!(proc.stdout(), "got term\n");
    assert_eq!(proc.state(), None, "it was waited for");
}

#[test]
fn the_end_is_seen_while_a_descendant_holds_the_streams() {
    let output = Program::new("sh")
        .args(["-c", "sleep 1000 & echo last words"])
        .run();
    assert_eq!(
        (output.status, output.stdout.as_str()),
        (Status::Exited(0), "last words\n")
    );
}

#[test]
fn a_dropped_program_dies_with_its_group() {
    let proc = Program::new("sh")
        .args(["-c", "sleep 1000 & echo $!; wait"])
        .spawn();
    let child = proc.wait_line(|_| true);
    drop(proc);
    eventually("the child is dead", || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

#[test]
fn a_program_started_from_a_short_thread_outlives_it() {
    let start = || Program::new("cat").spawn();
    let proc = std::thread::spawn(start).join().expect("no panic");
    proc.write(b"still here\n");
    assert_eq!(proc.wait_line(|_| true), "still here");
    proc.close_input();
    assert_eq!(proc.wait(), Status::Exited(0));
}

#[test]
fn programs_inside_a_host_see_its_network_and_the_cgroups() {
    lab::require!(Namespaces, Program("ip"));
    let host = Lab::new("inside").host("app");
    let devices = host
        .program("cat")
        .arg("/proc/net/dev")
        .run()
        .expect_success();
    assert_eq!(devices.lines().count(), 3, "{devices}");
    let through_ip = host
        .program_by_ip("cat")
        .arg("/proc/net/dev")
        .run()
        .expect_success();
    assert_eq!(through_ip, devices);
    let plain = host
        .command("cat")
        .arg("/proc/net/dev")
        .output()
        .expect("cat starts");
    assert_eq!(String::from_utf8_lossy(&plain.stdout), devices);
    let mount = cgroup2_mount().expect("cgroup2 is mounted");
    let visible = |program: Program| {
        program.arg(mount.join("cgroup.procs")).run().status == Status::Exited(0)
    };
    assert!(visible(host.program("cat")));
    assert!(!visible(host.program_by_ip("cat")));
}

#[test]
fn user_and_cgroup_are_taken_after_the_namespace() {
    lab::require!(Root, Program("ip"));
    let host = Lab::new("user").host("app");
    let cgroup = Cgroup::new("user");
    let script = "id -u; id -g; grep ^0:: /proc/self/cgroup; grep CapEff /proc/self/status; wc -l < /proc/net/dev";
    let output = host
        .program("sh")
        .args(["-c", script])
        .user(12345)
        .cgroup(&cgroup)
        .run()
        .expect_success();
    let right = format!(
        "12345\n12345\n0::/{}\nCapEff:\t0000000000000000\n3\n",
        cgroup.name()
    );
    assert_eq!(output, right);
    let path = cgroup.path().to_owned();
    let sleeper = host.program("sleep").arg("1000").cgroup(&cgroup).spawn();
    drop(cgroup);
    assert!(!path.exists());
    assert_eq!(sleeper.wait(), Status::Killed(9));
}

#[test]
fn programs_get_the_file_limit_that_the_test_was_started_with() {
    lab::require!(Namespaces, Program("ip"));
    let ask = || {
        Program::new("sh")
            .args(["-c", "ulimit -n"])
            .run()
            .expect_success()
    };
    let before = ask();
    let _lab = Lab::new("limit");
    assert_eq!(ask(), before);
}

#[test]
fn ctrl_c_on_a_terminal_reaches_the_foreground_group() {
    lab::require!(Program("bash"));
    let script =
        "trap 'echo inter''rupted' INT; test -t 0 && echo is a ter''minal; sleep 1000; exit 4";
    let pty = Program::new("bash")
        .args(["-c", script])
        .spawn_on_terminal();
    pty.wait_line(|line| line == "is a terminal");
    assert_eq!(pty.foreground_group(), pty.pid());
    eventually("the shell has started its child", || {
        let list =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", pty.pid())).ok()?;
        let child = list.split_whitespace().next()?.to_owned();
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (name == "sleep\n").then_some(())
    });
    pty.type_keys(Pty::CTRL_C);
    pty.wait_line(|line| line.ends_with("interrupted"));
    assert_eq!(pty.wait(), Status::Exited(4));
}

#[test]
fn a_shell_on_a_terminal_has_job_control() {
    lab::require!(Program("bash"));
    let pty = Program::new("bash")
        .args(["--norc", "--noprofile", "-i"])
        .env("PS1", "> ")
        .spawn_on_terminal();
    pty.type_keys("sleep 1000\n");
    let group = eventually("the job is in the foreground", || {
        let group = pty.foreground_group();
        let name = std::fs::read_to_string(format!("/proc/{group}/comm")).ok()?;
        // Before it executes, the shell's own child still ignores the terminal's signals.
        (name == "sleep\n").then_some(group)
    });
    pty.type_keys(Pty::CTRL_Z);
    eventually("the job is stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{group}/stat")).ok()?;
        stat.contains(") T ").then_some(())
    });
    pty.wait_stdout(|text| text.contains("Stopped"));
    let foreground = |wanted| {
        eventually("the group is in the foreground", || {
            (pty.foreground_group() == wanted).then_some(())
        });
    };
    pty.type_keys("fg\n");
    foreground(group);
    pty.type_keys(Pty::CTRL_C);
    foreground(pty.pid());
    pty.type_keys("exit 5\n");
    assert_eq!(pty.wait(), Status::Exited(5));
}

#[test]
fn a_requirement_may_not_be_skipped_where_the_environment_says_so() {
    let exe = std::env::current_exe().expect("a test knows itself");
    let run = |forced: &str| {
        let test = Program::new(&exe).args(["--exact", "a_test_that_lacks_a_program"]);
        test.env("LAB_LACKS_A_PROGRAM", "1")
            .env("STEER_REQUIRE", forced)
            .run()
    };
    let skipped = run("something-else");
    assert_eq!(skipped.status, Status::Exited(0));
    assert!(
        skipped
            .stderr
            .contains("SKIPPED a_test_that_lacks_a_program: needs"),
        "{skipped:?}"
    );
    assert_eq!(run("all").status, Status::Exited(101));
    assert_eq!(
        run("root,no-such-program-anywhere").status,
        Status::Exited(101)
    );
}

/// Lacks it only when the test above runs it, so that a whole run has no skip.
#[test]
fn a_test_that_lacks_a_program() {
    if std::env::var_os("LAB_LACKS_A_PROGRAM").is_some() {
        lab::require!(Program("no-such-program-anywhere"));
        panic!("the program exists");
    }
}

#[test]
fn a_confined_program_takes_the_hierarchy_of_the_tests_for_the_machine_s() {
    lab::require!(Root, Cgroup2, Program("ip"));
    let host = Lab::new("confined").host("app");
    let own = Hierarchy::own();
    let name = own.path().file_name().expect("it was made");
    let name = name.to_str().expect("made from text");
    // Threads of the test are in it, and programs as they are started.
    let of_tests = std::fs::read_to_string("/proc/self/cgroup").expect("/proc is mounted");
    assert!(of_tests.contains(&format!("0::/{name}\n")), "{of_tests}");
    let script = "grep ^0:: /proc/self/cgroup; grep -c ' / .* - cgroup2 ' /proc/self/mountinfo; \
                  ls -d \"$1/inside\"; wc -l < /proc/net/dev";
    let inside = Cgroup::in_hierarchy("inside");
    let mount = cgroup2_mount().expect("cgroup2 is mounted");
    let sh = host.program("sh").args(["-c", script, "sh"]).arg(&mount);
    let output = sh.in_hierarchy().run().expect_success();
    let mount = mount.display();
    assert_eq!(output, format!("0::/\n1\n{mount}/inside\n3\n"));
    // A cgroup of a test's own can be the root as well.
    let cat = host.program("grep").args(["^0::", "/proc/self/cgroup"]);
    let output = cat.cgroup(&inside).in_hierarchy().run().expect_success();
    assert_eq!(output, "0::/\n");
}

#[test]
fn the_hierarchy_of_a_test_process_that_was_killed_is_removed() {
    lab::require!(Root, Cgroup2);
    let words = [
        "--exact",
        "a_process_that_stays_in_its_hierarchy",
        "--nocapture",
    ];
    let exe = std::env::current_exe().expect("a test knows its own program");
    let program = Program::new(exe).args(words).env("LAB_STAYS", "1");
    let process = program.args(["--include-ignored"]).spawn();
    let line = process.wait_line(|line| line.contains("hierarchy: "));
    let path = line.split("hierarchy: ").nth(1).expect("waited for").trim();
    let path = std::path::PathBuf::from(path);
    assert!(path.join("below").exists());
    process.kill();
    eventually("the hierarchy is removed", || {
        (!path.exists()).then_some(())
    });
}

/// What the test above starts and kills.
#[test]
#[ignore = "another test runs it"]
fn a_process_that_stays_in_its_hierarchy() {
    if std::env::var_os("LAB_STAYS").is_none() {
        return;
    }
    let below = Cgroup::in_hierarchy("below");
    // It would go on by itself.
    let sleeper = Program::new("setsid")
        .args(["sleep", "1000"])
        .cgroup(&below);
    let _sleeper = sleeper.spawn();
    println!("hierarchy: {}", Hierarchy::own().path().display());
    std::io::stdin()
        .read_line(&mut String::new())
        .expect("a pipe");
}
