//! Programs that programs start.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use lab::require;

use crate::engine::{Engine, ended, said};

#[tokio::test]
async fn a_wiped_environment_is_steered_all_the_same() {
    require!(Program("curl"), Program("env"));
    let engine = Engine::start(|_| {}).await;
    let url = "http://203.0.113.7/";
    let mut command = engine.command("env");
    command.args(["-i", "env", "-i", "/usr/bin/curl", "-sS", url]);
    assert_eq!(said(&mut command).await, "hello");
    let text = format!(
        "unset LD_PRELOAD STEER_PRELOAD; curl -sS {url}; exec env -i $(command -v curl) -sS {url}"
    );
    let out = said(engine.command("sh").args(["-c", &text])).await;
    assert_eq!(out, "hello\nhello");
    assert_eq!(engine.asked().len(), 3);
}

#[tokio::test]
async fn what_python_starts_is_steered() {
    require!(Program("python3"), Program("curl"));
    let engine = Engine::start(|_| {}).await;
    let text = "
import os, subprocess
url = 'http://203.0.113.7/'
os.environ.pop('LD_PRELOAD'); os.environ.pop('STEER_PRELOAD')
print(os.system('curl -sS ' + url), flush=True)
print(os.popen('curl -sS ' + url).read(), end='', flush=True)
print(subprocess.check_output(['curl', '-sS', url], env={'PATH': os.environ['PATH']}), flush=True)
print(os.waitpid(os.posix_spawnp('curl', ['curl', '-sS', url], {}), 0)[1], flush=True)
if os.fork() == 0: os.setsid(); os.execvpe('curl', ['curl', '-sS', url], {})
os.wait()
";
    let out = engine.python(text).await;
    assert_eq!(out.matches("hello").count(), 5, "{out}");
    assert_eq!(engine.asked().len(), 5);
}

#[tokio::test]
async fn what_would_not_be_steered_is_not_started() {
    require!(Program("python3"));
    let engine = Engine::start(|_| {}).await;
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8], mode: u32| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    };
    let shell = fs::read("/bin/sh").unwrap();
    let mut foreign = shell.clone();
    foreign[18] = 3;
    let mut alone = fs::read("/bin/sh").unwrap();
    // PT_INTERP is the segment type 3: none has it after this.
    for at in (64..64 + 56 * 13).step_by(56) {
        if alone[at..at + 4] == [3, 0, 0, 0] {
            alone[at] = 0;
        }
    }
    let alone = put("alone", &alone, 0o755);
    let script = put(
        "script",
        format!("#!{}\n", alone.display()).as_bytes(),
        0o755,
    );
    let mut cases = vec![
        (alone, "it is static"),
        (script, "it is static"),
        (put("foreign", &foreign, 0o755), "of another architecture"),
    ];
    if nix::unistd::geteuid().is_root() {
        let privileged = put("privileged", &shell, 0o755);
        chown(&privileged, Some(65534), None).unwrap();
        fs::set_permissions(&privileged, PermissionsExt::from_mode(0o4755)).unwrap();
        cases.push((privileged, "it gains privileges"));
    }
    for (program, why) in cases {
        let text = format!("exec {} -c 'echo started'", program.display());
        let (status, out, error) = ended(engine.command("sh").args(["-c", &text])).await;
        assert_eq!((status, out.as_str()), (126, ""), "{}", program.display());
        assert!(error.contains(why), "{error}");
        let text = format!(
            "import os\ntry: os.posix_spawn({program:?}, ['x'], os.environ)\nexcept PermissionError: print('refused')"
        );
        assert_eq!(engine.python(&text).await, "refused");
    }
}

#[tokio::test]
async fn a_program_of_the_user_s_own_library_keeps_it() {
    require!(Program("sh"));
    let engine = Engine::start(|_| {}).await;
    let mut command = engine.command("sh");
    let list = format!("{}:/nonexistent/own.so", engine.library().display());
    command.env("LD_PRELOAD", &list).args(["-c", "env env"]);
    let (_, out, _) = ended(&mut command).await;
    assert!(
        out.lines().any(|line| line == format!("LD_PRELOAD={list}")),
        "{out}"
    );
}

#[tokio::test]
async fn the_library_is_gone_with_its_engine() {
    let mut engine = Engine::start(|_| {}).await;
    let library = engine.library();
    assert!(library.exists());
    engine.kill().await;
    assert!(!library.exists());
}
