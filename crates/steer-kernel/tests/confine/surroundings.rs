//! What the command finds around it, and what is left behind it.

use std::os::unix::fs::PermissionsExt;

use lab::{Program, Pty, Signal, Status, eventually};

use crate::{ROLE, USERS, engine, python};

pub(crate) fn the_command_is_the_user_that_it_was() {
    for user in USERS {
        let script = "echo $(id -u) $(id -g) $(id -ru) $(umask) $(pwd -P)";
        let said = engine(user, &["sh", "-c", script])
            .current_dir("/usr/lib")
            .run();
        let said = said.expect_success();
        let wanted = format!("{user} {user} {user} 0022 /usr/lib");
        assert!(said.lines().any(|line| line == wanted), "{said}");
    }
}

pub(crate) fn a_working_directory_that_is_gone_is_told() {
    let exe = std::env::current_exe().unwrap();
    let script = format!(
        "mkdir gone; cd gone; rmdir ../gone; exec {} true",
        exe.display()
    );
    for user in USERS {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let program = Program::new("sh").args(["-c", &script]).env(ROLE, "1");
        let program = program.current_dir(dir.path());
        let output = match user {
            0 => program,
            user => program.user(user).group(user),
        }
        .run();
        assert_eq!(output.status, Status::Exited(125), "{output:?}");
        assert!(
            output.stdout.contains("in the working directory"),
            "{output:?}"
        );
    }
}

pub(crate) fn a_program_that_does_not_exist_is_told_as_ever() {
    for user in USERS {
        let output = engine(user, &["/no/such/program"]).run();
        assert_eq!(output.status, Status::Exited(127), "{output:?}");
    }
}

/// Groups are kept where all users are mapped.
const SURROUNDINGS: &str = r#"
import os
def line(name): return [l for l in open('/proc/self/status') if l.startswith(name)][0].strip()
print('groups', os.getgroups())
print('fds', sorted(int(f) for f in os.listdir('/proc/self/fd'))[:-1])
print('session', os.getsid(0), 'group', os.getpgrp())
print('oom', open('/proc/self/oom_score_adj').read().strip())
print('privileges', line('NoNewPrivs'))
print('caps', line('CapEff'))
"#;

pub(crate) fn the_command_has_the_surroundings_that_it_was_given() {
    for user in USERS {
        let outside = Program::new("python3").args(["-c", SURROUNDINGS]);
        let outside = match user {
            0 => outside,
            user => outside.user(user).group(user),
        };
        let outside = outside.run().expect_success();
        let inside = python(user, &[], SURROUNDINGS).run().expect_success();
        for line in outside.lines() {
            let same = inside.lines().any(|l| l == line);
            // Each program of a test has a session of its own; see `tests/child` for that.
            let own = line.starts_with("session");
            // Root's are over its own namespaces alone.
            let root = user == 0 && line.starts_with("caps");
            assert!(same || own || root, "{line} is not in:\n{inside}");
        }
    }
}

pub(crate) fn other_socket_families_are_refused() {
    let script = "import socket\n\
        socket.socket(socket.AF_INET); socket.socket(socket.AF_UNIX)\n\
        try: socket.socket(socket.AF_VSOCK)\n\
        except OSError as e: print(e.errno)";
    for user in USERS {
        let said = python(user, &["families=1,2,10"], script)
            .run()
            .expect_success();
        let wanted = nix::libc::EAFNOSUPPORT.to_string();
        assert!(said.lines().any(|line| line == wanted), "{said}");
    }
}

pub(crate) fn a_killed_engine_leaves_no_process_and_no_namespace() {
    for user in USERS {
        let engine = engine(user, &["sh", "-c", "readlink /proc/self/ns/net; exec cat"]).spawn();
        let link = engine.wait_line(|line| line.starts_with("net:["));
        let holder = engine.wait_line(|line| line.starts_with("holder "));
        let holder = holder.trim_start_matches("holder ").to_owned();
        assert!(is_there(&holder));
        engine.signal(Signal::SIGKILL);
        eventually("the holder is gone", || (!is_there(&holder)).then_some(()));
        drop(engine);
        eventually("nobody is in the namespace", || {
            namespaces().iter().all(|at| *at != link).then_some(())
        });
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(" steer "), "{mounts}");
    }
}

fn is_there(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    status.is_ok_and(|s| !s.contains(") Z "))
}

/// The network namespaces of all processes.
fn namespaces() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path().join("ns/net")).ok())
        .map(|link| link.display().to_string())
        .collect()
}

pub(crate) fn what_forbids_namespaces_is_named() {
    let exe = std::env::current_exe().unwrap();
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces; STEER_TEST_ROLE=1 {} true",
        exe.display()
    );
    for user in USERS {
        let program = Program::new("unshare").args(["-Ur", "sh", "-c", &script]);
        let program = match user {
            0 => program,
            user => program.user(user).group(user),
        };
        let output = program.run();
        let said = output.stdout;
        assert!(said.contains("user.max_user_namespaces is 0"), "{said}");
        assert!(
            said.contains("sysctl -w user.max_user_namespaces="),
            "{said}"
        );
    }
}

pub(crate) fn namespaces_can_be_nested() {
    let exe = std::env::current_exe().unwrap();
    let exe = exe.to_str().unwrap();
    for user in USERS {
        let said = engine(user, &["env", exe, "sh", "-c", "echo $(id -u) inside"]).run();
        let said = said.expect_success();
        assert!(said.contains(&format!("{user} inside")), "{said}");
        assert_eq!(said.matches("holder").count(), 2, "{said}");
    }
}

pub(crate) fn settings_of_the_network_are_the_host_s() {
    let script =
        "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/net/ipv4/ip_unprivileged_port_start";
    for user in USERS {
        // In a network of the test's own, with values that are not the kernel's.
        let exe = std::env::current_exe().unwrap();
        let outer = format!(
            "echo 2000 3000 > /proc/sys/net/ipv4/ip_local_port_range; \
             echo 80 > /proc/sys/net/ipv4/ip_unprivileged_port_start; \
             exec setpriv --reuid {user} --regid {user} --clear-groups {} sh -c '{script}'",
            exe.display()
        );
        let said = Program::new("unshare").args(["-n", "sh", "-c", &outer]);
        let said = said.env(ROLE, "1").run().expect_success();
        let lines: Vec<&str> = said.lines().skip(1).collect();
        assert_eq!(lines, ["2000\t3000", "80"]);
    }
}

pub(crate) fn a_terminal_is_the_command_s_as_ever() {
    let script = "import os, signal, sys\n\
        open('/dev/tty').close()\n\
        assert os.tcgetpgrp(0) == os.getpgrp()\n\
        assert os.getsid(0) == os.getsid(os.getppid())\n\
        print('on', os.ttyname(0), flush=True)\n\
        signal.pause()";
    for user in USERS {
        let terminal = python(user, &[], script).spawn_on_terminal();
        terminal.wait_line(|line| line.starts_with("on /dev/pts/"));
        terminal.type_keys(Pty::CTRL_C);
        let status = terminal.wait();
        assert_eq!(
            status,
            Status::Killed(Signal::SIGINT as i32),
            "{}",
            terminal.stdout()
        );
    }
}

pub(crate) fn nobody_looks_into_the_holder() {
    for user in USERS {
        let script = "import os\n\
            for pid in filter(str.isdigit, os.listdir('/proc')):\n\
            \x20   try:\n\
            \x20       if open(f'/proc/{pid}/comm').read().strip() != 'steer-holder': continue\n\
            \x20       os.readlink(f'/proc/{pid}/ns/net'); print('looked')\n\
            \x20   except FileNotFoundError: pass\n\
            \x20   except PermissionError: print('refused')";
        let said = python(user, &[], script).run().expect_success();
        assert!(
            said.contains("refused") && !said.contains("looked"),
            "{said}"
        );
    }
}

pub(crate) fn the_facts_of_the_host_tell_what_forbids_namespaces() {
    let exe = std::env::current_exe().unwrap();
    let exe = exe.to_str().unwrap();
    let facts = |program: Program| program.env(ROLE, "facts").run().expect_success();
    for user in USERS {
        let free = match user {
            0 => Program::new(exe),
            user => Program::new(exe).user(user).group(user),
        };
        assert_eq!(facts(free).trim(), "Present");
    }
    let script = format!("echo 0 > /proc/sys/user/max_user_namespaces; {exe}");
    let said = facts(Program::new("unshare").args(["-Ur", "sh", "-c", &script]));
    assert_eq!(said.trim(), "Absent(\"user.max_user_namespaces is 0\")");
}
