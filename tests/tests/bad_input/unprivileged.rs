//! Methods that need no privilege, in surroundings that lack something, and commands that cannot
//! be: as `env`, `nice` or `sudo` would have it.

use lab::{Program, Pty, Service, Status, eventually};

use crate::site::Site;

/// The methods.
const METHODS: [&str; 4] = ["netns", "seccomp", "preload", "env"];

/// A copy of `steer`, and a server that a command asks by `http`.
struct Scene {
    site: Site,
    url: String,
    _server: lab::Server,
}

impl Scene {
    fn new(label: &str) -> Self {
        let site = Site::new(label);
        let server = site.srv.serve(80, Service::Http);
        let url = format!("http://{}/x", site.srv.at(lab::Family::V4, 80));
        Self {
            site,
            url,
            _server: server,
        }
    }

    /// `steer run`, as a user without privilege or as root.
    fn runs(&self, method: &str) -> [Program; 2] {
        [self.site.unprivileged(), self.site.steer()].map(|steer| {
            let run = steer.args(["run", "-m", method, "--"]);
            run.env("STEER_RUN_DIR", self.site.path("run"))
        })
    }

    /// A command that asks the server.
    fn asks(&self) -> [&str; 6] {
        ["curl", "-sS", "--fail", "-m", "20", &self.url]
    }

    /// `steer run` without privilege in user and mount namespaces in which this was done first.
    fn after(&self, first: &str, method: &str, command: &str) -> Program {
        let copy = self.site.unprivileged().arg("--version");
        copy.run().expect_success();
        let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
        let steer = self.site.path("steer");
        let script = format!(
            "{first} && exec {nobody} {} run -m {method} -- {command}",
            steer.display()
        );
        let python = self.site.app.program("python3");
        python.args(["-c", APART, &script])
    }
}

/// A shell in namespaces in which all users are mapped, and root has the rights of one over them.
const APART: &str = "\
import ctypes, os, sys
(ready, tell_ready), (mapped, tell_mapped) = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    assert ctypes.CDLL(None).unshare(0x10000000 | 0x20000) == 0
    os.write(tell_ready, b'x')
    os.read(mapped, 1)
    os.execv('/bin/sh', ['sh', '-c', sys.argv[1]])
os.read(ready, 1)
for kind in 'uid', 'gid':
    open(f'/proc/{child}/{kind}_map', 'w').write('0 0 4294967295')
os.write(tell_mapped, b'x')
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

#[test]
fn a_command_that_cannot_be_started_has_the_status_that_shells_give_it() {
    lab::require!(Namespaces);
    let scene = Scene::new("start");
    let data = scene.site.write("data", "no program");
    let folder = data.parent().expect("a file in a folder");
    for method in METHODS {
        for (word, status) in [
            ("/nowhere/at/all".as_ref(), 127),
            (data.as_path(), 126),
            (folder, 126),
        ] {
            for run in scene.runs(method) {
                let output = run.arg(word).run();
                assert_eq!(
                    output.status,
                    Status::Exited(status),
                    "{method}: {output:#?}"
                );
                assert!(output.stderr.contains("help: "), "{output:#?}");
                assert_eq!(output.stdout, "");
            }
        }
    }
}

#[test]
fn how_a_command_ends_is_how_steer_ends() {
    lab::require!(Namespaces);
    let scene = Scene::new("end");
    for method in METHODS {
        for (script, status) in [
            ("exit 7", Status::Exited(7)),
            ("kill -TERM $$", Status::Killed(15)),
            ("kill -KILL $$", Status::Killed(9)),
            ("kill -ABRT $$", Status::Killed(6)),
        ] {
            for run in scene.runs(method) {
                let output = run.args(["sh", "-c", script]).run();
                assert_eq!(output.status, status, "{method}: {output:#?}");
            }
        }
    }
}

#[test]
fn a_command_without_streams_runs_and_no_socket_takes_their_place() {
    lab::require!(Root, Program("python3"));
    let scene = Scene::new("streams");
    let told = scene.site.path("told");
    let look = format!(
        "import os\n\
         def of(n):\n  try: return os.readlink(f'/proc/self/fd/{{n}}')\n  except OSError: return 'closed'\n\
         open('{0}.new', 'w').write(' '.join(of(n) for n in range(3)))\n\
         os.rename('{0}.new', '{0}')",
        told.display()
    );
    for method in METHODS {
        let [run, _] = scene.runs(method);
        // Whoever starts it has none of the three.
        let command = run.args(["python3", "-c", &look]).into_command();
        let words: Vec<_> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
            .collect();
        drop(command);
        let script = format!("exec {} <&- >&- 2>&-", words.join(" "));
        let shell = scene.site.app.program("sh").args(["-c", &script]);
        let output = shell
            .user(65534)
            .env("STEER_RUN_DIR", scene.site.path("run"))
            .run();
        assert_eq!(output.status, Status::Exited(0), "{method}: {output:#?}");
        let said = std::fs::read_to_string(&told).expect("the command wrote it");
        for stream in said.split(' ') {
            assert!(
                ["closed", "/dev/null"].contains(&stream),
                "{method}: {said}"
            );
        }
        std::fs::remove_file(&told).expect("our file");
    }
}

#[test]
fn where_user_namespaces_are_forbidden_netns_says_so_and_the_others_work() {
    lab::require!(
        Root,
        Program("curl"),
        Program("python3"),
        Program("setpriv")
    );
    let scene = Scene::new("forbidden");
    for method in METHODS {
        let first = "echo 0 > /proc/sys/user/max_user_namespaces";
        let asks = scene.asks().join(" ");
        let output = scene.after(first, method, &asks).run();
        if method == "netns" {
            assert_eq!(output.status, Status::Exited(125), "{output:#?}");
            let why = "user.max_user_namespaces is 0";
            assert!(output.stderr.contains(why), "{output:#?}");
            assert!(output.stderr.contains("-m seccomp"), "{output:#?}");
            assert_eq!(output.stdout, "");
        } else {
            assert!(output.expect_success().starts_with("GET /x"), "{method}");
        }
    }
}

#[test]
fn a_tun_device_that_nobody_may_open_is_no_matter() {
    lab::require!(
        Root,
        Program("curl"),
        Program("python3"),
        Program("setpriv")
    );
    let scene = Scene::new("tun");
    for method in METHODS {
        // A folder that is empty covers the device, as in many containers.
        let first = "mount -t tmpfs none /dev/net && ! [ -e /dev/net/tun ]";
        let asks = scene.asks().join(" ");
        let output = scene.after(first, method, &asks).run();
        assert!(output.expect_success().starts_with("GET /x"), "{method}");
    }
}

#[test]
fn without_proc_nothing_is_started_and_the_remedy_is_named() {
    lab::require!(Root, Program("python3"), Program("setpriv"));
    let scene = Scene::new("noproc");
    for method in METHODS {
        let first = "mount -t tmpfs none /proc";
        let output = scene.after(first, method, "echo started").run();
        assert_eq!(output.status, Status::Exited(125), "{method}: {output:#?}");
        assert_eq!(output.stdout, "", "{method}");
        assert!(output.stderr.contains("/proc"), "{method}: {output:#?}");
        assert!(output.stderr.contains("help: mount it"), "{output:#?}");
    }
}

#[test]
fn steerings_are_nested_or_refused_with_the_reason() {
    lab::require!(Namespaces, Program("curl"));
    let scene = Scene::new("nested");
    let steer = scene.site.path("steer").display().to_string();
    for outer in METHODS {
        for inner in METHODS {
            let why = match (outer, inner) {
                // A supervisor has no second one, and takes no socket of other namespaces.
                ("seccomp", "seccomp") => Some("another supervisor"),
                ("seccomp", "netns") => Some("user namespaces"),
                ("preload", "netns" | "seccomp") => Some("`steer run -m preload`"),
                // The port of the outer one is on the host's loopback.
                ("env", "netns") => Some("--host-loopback="),
                _ => None,
            };
            for run in scene.runs(outer) {
                let again = [&steer, "run", "-m", inner, "--"];
                let output = run.args(again).args(scene.asks()).run();
                match why {
                    None => assert!(
                        output.stdout.starts_with("GET /x"),
                        "{inner} in {outer}: {output:#?}"
                    ),
                    Some(why) => {
                        assert!(
                            output.stderr.contains(why),
                            "{inner} in {outer}: {output:#?}"
                        );
                        assert_ne!(output.status, Status::Exited(0), "{output:#?}");
                        assert_eq!(output.stdout, "");
                    }
                }
            }
        }
    }
}

/// Has calls of a number refused with EPERM, then becomes the command behind it.
const FILTERED: &str = "\
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
number = {'x86_64': int(sys.argv[1]), 'aarch64': int(sys.argv[2])}[os.uname().machine]
code = struct.pack('HBBI', 0x20, 0, 0, 0) + struct.pack('HBBI', 0x15, 0, 1, number) \\
     + struct.pack('HBBI', 6, 0, 0, 0x50001) + struct.pack('HBBI', 6, 0, 0, 0x7fff0000)
kept = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 4, ctypes.addressof(kept)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execv(sys.argv[3], sys.argv[3:])
";

#[test]
fn a_filter_that_is_there_already_is_named_where_it_forbids_what_is_needed() {
    lab::require!(Root, Program("curl"), Program("python3"));
    let scene = Scene::new("filtered");
    let [copy, _] = scene.runs("env");
    copy.args(["true"]).run().expect_success();
    let steer = scene.site.path("steer").display().to_string();
    let filtered = |numbers: [&str; 2], method: &str| {
        let python = scene.site.app.program("python3").user(65534);
        let run = python.args(["-c", FILTERED]).args(numbers);
        run.args([&steer, "run", "-m", method, "--"])
            .env("STEER_RUN_DIR", scene.site.path("run"))
            .args(scene.asks())
            .run()
    };
    // unshare, seccomp: what each method needs, and what is no matter to it.
    let (unshare, seccomp) = (["272", "97"], ["317", "277"]);
    let fails = [
        (unshare, "netns", "sandbox"),
        (seccomp, "seccomp", "seccomp(2)"),
    ];
    for (numbers, method, why) in fails {
        let output = filtered(numbers, method);
        assert_eq!(output.status, Status::Exited(125), "{method}: {output:#?}");
        assert!(output.stderr.contains(why), "{method}: {output:#?}");
        assert_eq!(output.stdout, "");
    }
    for method in ["preload", "env"] {
        for numbers in [unshare, seccomp] {
            let output = filtered(numbers, method);
            assert!(output.expect_success().starts_with("GET /x"), "{method}");
        }
    }
    let output = filtered(unshare, "seccomp");
    assert!(output.expect_success().starts_with("GET /x"));
}

#[test]
fn keys_of_a_terminal_come_to_the_command_once() {
    lab::require!(Namespaces, Program("python3"));
    let scene = Scene::new("jobs");
    for method in METHODS {
        for run in scene.runs(method) {
            // Waited for, not handled: a handler of Python's is late where a read has just begun.
            let script = "import signal, sys\n\
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n\
                print('ready', flush=True)\n\
                print('got-' + input(), flush=True)\n\
                signal.sigwait([signal.SIGINT])\n\
                print('caught', flush=True)\n\
                print('got-' + input(), flush=True)\n\
                sys.exit(4 if signal.sigpending() else 3)";
            let pty = run.args(["python3", "-c", script]).spawn_on_terminal();
            pty.wait_line(|line| line == "ready");
            pty.type_keys("one\n");
            pty.wait_stdout(|text| text.contains("got-one"));
            pty.type_keys(Pty::CTRL_C);
            pty.wait_stdout(|text| text.contains("caught"));
            pty.type_keys("two\n");
            pty.wait_stdout(|text| text.contains("got-two"));
            assert_eq!(pty.wait(), Status::Exited(3), "{method}");
        }
    }
}

#[test]
fn a_stopped_job_goes_on_in_the_foreground() {
    lab::require!(Namespaces, Program("bash"));
    let scene = Scene::new("stop");
    for method in METHODS {
        let [run, _] = scene.runs(method);
        let pty = run
            .args(["bash", "--norc", "--noprofile", "-i"])
            .spawn_on_terminal();
        pty.type_keys("sh -c 'echo work''ing; read x; echo fin''ished-$x'\n");
        pty.wait_stdout(|text| text.contains("working"));
        pty.type_keys(Pty::CTRL_Z);
        pty.wait_stdout(|text| text.contains("Stopped"));
        pty.type_keys("echo shell-$((40 + 2))\n");
        pty.wait_stdout(|text| text.contains("shell-42"));
        pty.type_keys("fg\n");
        pty.wait_stdout(|text| text.matches("sh -c").count() >= 3);
        pty.type_keys("well\n");
        pty.wait_stdout(|text| text.contains("finished-well"));
        pty.type_keys("exit 5\n");
        let status = eventually("the shell ends", || (!pty.is_running()).then(|| pty.wait()));
        assert_eq!(status, Status::Exited(5), "{method}");
    }
}
