//! Mistakes and lacks that only this method has: named, with what to do, and nothing attached.

use lab::{Output, Program, Status};
use steer_tests::steer;

use crate::site::{Means, Site};

/// Asserts that `steer` refused, by a status of its own, and said these words on stderr alone.
#[track_caller]
fn assert_refuses(output: &Output, words: &[&str]) {
    let own = matches!(output.status, Status::Exited(1 | 2 | 125));
    assert!(own && output.stdout.is_empty(), "{output:#?}");
    for word in words {
        assert!(output.stderr.contains(word), "{word:?}: {output:#?}");
    }
    assert!(!output.stderr.contains("panicked"), "{output:#?}");
}

fn up(site: &Site, text: &str) -> Output {
    site.up(&format!("method: ebpf\n{text}\n")).run()
}

/// CAP_SYS_ADMIN stands for CAP_BPF on older kernels, and still does.
#[test]
fn without_the_capability_for_bpf_it_is_named() {
    lab::require!(Root, Cgroup2, Program("setpriv"));
    let site = Site::new("nocap");
    let less = "-bpf,-sys_admin";
    let less = ["--bounding-set", less, "--inh-caps", less];
    let run = ["run", "-m", "ebpf", "--", "echo", "never"];
    let program = site.app.program("setpriv").args(less).arg(steer());
    let program = program.args(run).env("STEER_RUN_DIR", site.path("run"));
    assert_refuses(&program.run(), &["ebpf", "CAP_BPF"]);
    site.assert_untouched();
}

#[test]
fn another_proxy_that_would_be_steered_to_itself_is_refused() {
    lab::require!(Root, Cgroup2);
    let site = Site::of_host(Means::Ebpf, "itself");
    let text = "scope: { host: true }\nlisten: { external: \"127.0.0.1:15001\" }";
    assert_refuses(&up(&site, text), &["listen.external", "except"]);
    site.assert_untouched();
}

#[test]
fn what_cannot_be_the_name_of_a_process_is_refused() {
    lab::require!(Root, Cgroup2);
    let site = Site::of_host(Means::Ebpf, "longname");
    let text = "scope: { command: [curl, a-name-of-17-byte] }";
    assert_refuses(&up(&site, text), &["a-name-of-17-byte", "15 bytes", "^"]);
    site.assert_untouched();
}

#[test]
fn a_process_that_is_not_there_is_named() {
    lab::require!(Root, Cgroup2);
    let site = Site::of_host(Means::Ebpf, "nopid");
    // It has ended and nobody has its number yet.
    let mut gone = std::process::Command::new("true");
    let mut gone = gone.spawn().expect("it starts");
    gone.wait().expect("it ends");
    let pid = gone.id().to_string();
    let output = up(&site, &format!("scope: {{ pid: {pid} }}"));
    assert_refuses(&output, &["process", &pid, "help: "]);
    site.assert_untouched();
}

/// What others have attached to the same cgroup stays, and works on.
#[test]
fn programs_of_others_on_the_same_cgroup_stay() {
    lab::require!(Root, Cgroup2, Program("python3"));
    let site = Site::of_host(Means::Ebpf, "others");
    let cgroup =
        lab::Cgroup::in_hierarchy(&format!("others-{}", site.name.trim_start_matches('t')));
    let name = format!("o{}", std::process::id());
    let theirs = |line: &&String| line.contains(&name) || line.contains(cgroup.name());
    let count = || {
        let state = lab::Snapshot::take(&site.app);
        state.lines(lab::Section::Bpf).iter().filter(theirs).count()
    };
    let holder = Program::new("python3")
        .args(["-c", ATTACH])
        .arg(cgroup.path());
    let holder = holder.arg(&name).spawn();
    holder.wait_line(|line| line == "attached");
    let before = count();
    assert!(before >= 2, "a program and a link of theirs");
    for on_failure in ["open", "closed"] {
        let text = format!(
            "method: ebpf\nscope: {{ cgroup: {} }}\non_failure: {on_failure}\n",
            cgroup.name()
        );
        let up = site.up(&text).spawn();
        up.wait_line(|line| line.contains("in force"));
        assert!(count() >= before, "theirs are gone");
        up.signal(lab::Signal::SIGTERM);
        assert_eq!(up.wait(), Status::Exited(0), "{up:#?}");
        site.assert_untouched();
        assert_eq!(count(), before);
    }
}

/// Loads a program that lets every connect of IPv4 pass, under the name in the second argument, and
/// attaches it to the cgroup in the first, beside others.
const ATTACH: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
def bpf(command, attributes):
    attributes = ctypes.create_string_buffer(attributes, 128)
    result = libc.syscall(number, command, attributes, 128)
    assert result >= 0, os.strerror(ctypes.get_errno())
    return result
code = ctypes.create_string_buffer(struct.pack("<QQ", 0x1000000b7, 0x95))
license = ctypes.create_string_buffer(b"GPL")
cgroup_sock_addr, connect4 = 18, 10
load = struct.pack("<IIQQIIQII16sII", cgroup_sock_addr, 2, ctypes.addressof(code), ctypes.addressof(license), 0, 0, 0, 0, 0, sys.argv[2].encode(), 0, connect4)
program = bpf(5, load)
cgroup = os.open(sys.argv[1], os.O_RDONLY)
link = bpf(28, struct.pack("<IIII", program, cgroup, connect4, 0))
print("attached", flush=True)
sys.stdin.read()
"#;
