//! Ends of commands, of engines and of those that hold the namespaces.

use lab::{Family, Proc, Service, Signal, Status, eventually, require};

use crate::scene::{Scene, as_each_user};

/// Connects, says so, waits for a line, and says whether the connection and another one stand.
fn waits(scene: &Scene) -> String {
    format!(
        "import socket, sys\n\
         def connect():\n\
         \x20   s = socket.create_connection(('{ip}', 7), timeout=5); s.sendall(b'x'); s.recv(1); return s\n\
         s = connect(); print('steered', flush=True); sys.stdin.readline()\n\
         try: s.sendall(b'x'); print('old', s.recv(1))\n\
         except OSError as e: print('old', type(e).__name__)\n\
         try: connect(); print('another')\n\
         except OSError as e: print('another', type(e).__name__)\n\
         sys.stdout.flush()",
        ip = scene.stage.srv.address(Family::V4),
    )
}

/// The processes of a steering: those that have its engine's socket as an ancestor or peer are
/// known by their name and the user's copy of the command.
fn holders(scene: &Scene) -> Vec<i32> {
    let folder = scene.path("steer");
    let entries = std::fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            exe.is_ok_and(|exe| exe == folder) && comm.is_ok_and(|c| c.trim() == "steer-holder")
        })
        .collect()
}

fn started(scene: &Scene) -> Proc {
    let proc = scene.python(&[], &waits(scene)).spawn();
    proc.wait_line(|line| line == "steered");
    proc
}

#[test]
fn a_killed_engine_resets_and_refuses_and_leaves_nothing() {
    require!(Root, Program("python3"));
    as_each_user("killed", |scene| {
        let _echo = scene.stage.srv.serve(7, Service::Echo);
        let proc = started(scene);
        assert_eq!(holders(scene).len(), 1);
        // `unshare`, `sh` and `setpriv` have become the engine.
        proc.signal(Signal::SIGKILL);
        eventually("the holder is gone", || {
            holders(scene).is_empty().then_some(())
        });
        proc.write(b"\n");
        // All of the line: it can come in pieces.
        let whole = |said: &str| said.contains("another ") && said.ends_with('\n');
        let said = proc.wait_stdout(whole);
        assert!(said.contains("old ConnectionResetError"), "{said}");
        assert!(said.contains("another ConnectionRefusedError"), "{said}");
    });
}

#[test]
fn a_killed_holder_is_replaced() {
    require!(Root, Program("python3"));
    as_each_user("holder", |scene| {
        let _echo = scene.stage.srv.serve(7, Service::Echo);
        let proc = started(scene);
        let first = holders(scene)[0];
        nix_kill(first);
        eventually("another holder", || {
            holders(scene).iter().any(|pid| *pid != first).then_some(())
        });
        proc.write(b"\n");
        assert_eq!(proc.wait(), Status::Exited(0));
        let said = proc.stdout();
        assert!(said.contains("old b'x'"), "{said}");
        assert!(said.lines().any(|line| line == "another"), "{said}");
        eventually("nothing is left", || {
            holders(scene).is_empty().then_some(())
        });
    });
}

fn nix_kill(pid: i32) {
    let kill = lab::Program::new("kill").args(["-9", &pid.to_string()]);
    kill.run().expect_success();
}

#[test]
fn steerings_can_be_nested() {
    require!(Root, Program("python3"));
    as_each_user("nested", |scene| {
        let to = scene.stage.at(Family::V4, 80);
        let _server = scene
            .stage
            .srv
            .serve(80, Service::Banner(b"greeting".to_vec()));
        let script = format!(
            "import socket; print(socket.create_connection(('{}', 80), timeout=5).recv(99))",
            to.ip()
        );
        let inner = scene.words(&[], &["python3", "-c", &script]);
        let said = scene.run(&[], &inner).run().expect_success();
        assert_eq!(said.trim(), "b'greeting'");
        let records = scene.records().wait_for(2);
        for record in records {
            assert_eq!(record["destination"], to.to_string(), "{record:?}");
        }
    });
}

#[test]
fn the_command_s_end_is_passed_on() {
    require!(Root);
    as_each_user("ends", |scene| {
        for (script, wanted) in [("exit 7", 7), ("kill -9 $$", 137)] {
            let output = scene.run(&[], &["sh", "-c", script]).run();
            let signalled = output.status == Status::Killed(9);
            let exited = output.status == Status::Exited(wanted);
            assert!(exited || (wanted == 137 && signalled), "{output:#?}");
        }
        let missing = scene.run(&[], &["/nonexistent"]).run();
        assert_eq!(missing.status, Status::Exited(127), "{missing:#?}");
        eventually("nothing is left", || {
            holders(scene).is_empty().then_some(())
        });
    });
}

#[test]
fn a_lookup_that_nobody_answers_does_not_keep_steer_from_its_end() {
    require!(Root, Program("python3"));
    as_each_user("silence", |scene| {
        let silence = "import socket, time\n\
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 53))\n\
            print('silent', flush=True)\n\
            print('asked', s.recvfrom(512)[0], flush=True); time.sleep(1000)";
        let silence = scene.stage.srv.program("python3").args(["-c", silence]);
        let silence = silence.spawn();
        silence.wait_line(|line| line == "silent");
        let at = scene.stage.srv.address(Family::V4);
        let text = format!("nameserver {at}\noptions timeout:30 attempts:5\n");
        scene.ask(&text);
        let script = format!(
            "import socket, sys\n\
             s = socket.create_connection(('{at}', 80), timeout=5)\n\
             print('connected', flush=True); sys.stdin.readline()"
        );
        let flags = ["--upstream", "socks5://proxy.example.test:1080"];
        let proc = scene.python(&flags, &script).spawn();
        proc.wait_line(|line| line == "connected");
        silence.wait_line(|line| line.starts_with("asked"));
        proc.write(b"\n");
        assert_eq!(proc.wait(), Status::Exited(0));
        // What was cut off is recorded all the same.
        assert_eq!(scene.records().wait_for(1)[0]["upstream"], "cli");
    });
}

#[test]
fn only_commands_can_be_steered() {
    require!(Root);
    as_each_user("up", |scene| {
        let config = "method: netns\nscope: { host: true }\n";
        std::fs::write(scene.path("up.yaml"), config).expect("our directory can be written");
        let output = scene.program(&["./steer", "up", "-c", "up.yaml"]).run();
        assert_eq!(output.status, Status::Exited(1), "{output:#?}");
        let wanted = "the method netns cannot honour scope.host";
        assert!(output.stderr.contains(wanted), "{output:#?}");
    });
}
