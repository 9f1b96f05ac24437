//! The process of a container, asked of its engine, or else found by its cgroup.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A process inside the container of this name or id; else what was looked for, in words.
pub(super) fn process_of(key: &str) -> Result<u32, Vec<String>> {
    // Engines give names of these letters only, and no program takes one for an option.
    let is_name = key.starts_with(|c: char| c.is_ascii_alphanumeric())
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if !is_name {
        return Err(vec!["a container (which cannot have this name)".to_owned()]);
    }
    let mut asked = Vec::new();
    for engine in ENGINES {
        match engine.ask(key) {
            Some(Some(pid)) => return Ok(pid),
            Some(None) => asked.push(engine.program),
            None => {}
        }
    }
    let mut looked = vec![match asked.is_empty() {
        true => {
            "a container (none of podman, docker, nerdctl, runc, crun, crictl is here)".to_owned()
        }
        false => format!("a container by {}", asked.join(", ")),
    }];
    if is_id(key) {
        match by_cgroup(key, &cgroups()) {
            Some(pid) => return Ok(pid),
            None => looked.push("a cgroup of its name".to_owned()),
        }
    }
    Err(looked)
}

/// A program that knows containers.
struct Engine {
    program: &'static str,
    /// What comes before the container's name.
    words: &'static [&'static str],
    answer: Answer,
}

/// How a program tells the process.
#[derive(Clone, Copy)]
enum Answer {
    /// As a number.
    Number,
    /// As `pid` of an object.
    Json,
}

impl Engine {
    /// The process of the container; `None` where the program is not there, and `Some(None)`
    /// where it knows of none that runs.
    fn ask(&self, key: &str) -> Option<Option<u32>> {
        let child = Command::new(self.program)
            .args(self.words)
            .arg(key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(output(child).and_then(|text| self.answer.pid(&text)))
    }
}

impl Answer {
    fn pid(self, text: &str) -> Option<u32> {
        let pid = match self {
            Self::Number => text.trim().parse().ok(),
            Self::Json => {
                let state: serde_json::Value = serde_json::from_str(text).ok()?;
                u32::try_from(state.get("pid")?.as_u64()?).ok()
            }
        };
        // 0 is what stands there while it does not run.
        pid.filter(|pid| *pid != 0)
    }
}

/// What a program says, if it says it in time and ends well.
fn output(mut child: Child) -> Option<String> {
    let mut stdout = child.stdout.take()?;
    let (text_tx, text) = mpsc::channel();
    thread::spawn(move || {
        let mut all = String::new();
        if stdout.read_to_string(&mut all).is_ok() {
            // Nobody waits any more when it comes too late.
            let _ = text_tx.send(all);
        }
    });
    let text = text.recv_timeout(PATIENCE).ok();
    if text.is_none() {
        // It may have ended by itself in between.
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    text.filter(|_| status.success())
}

/// Whether a key can be an id: whoever shortens one leaves twelve letters.
fn is_id(key: &str) -> bool {
    key.len() >= 12 && key.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Every process with the cgroups that it is in, as proc_pid_cgroup(5) has them.
fn cgroups() -> BTreeMap<u32, String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let text = fs::read_to_string(entry.path().join("cgroup")).ok()?;
            Some((pid, text))
        })
        .collect()
}

/// The first process in a cgroup whose name has the id in it, unless two containers have.
fn by_cgroup(id: &str, cgroups: &BTreeMap<u32, String>) -> Option<u32> {
    let mut found: Option<(u32, String)> = None;
    for (pid, text) in cgroups {
        let named = text
            .split(['/', '\n'])
            // The program that watches over a container is outside.
            .filter(|part| !part.contains("conmon"))
            .find_map(|part| whole_id(part, id));
        match (&found, named) {
            (_, None) => {}
            (None, Some(whole)) => found = Some((*pid, whole.to_owned())),
            (Some((_, known)), Some(whole)) if known == whole => {}
            (Some(_), Some(_)) => return None,
        }
    }
    found.map(|(pid, _)| pid)
}

/// The id that starts with these letters in the name of a cgroup: `docker-ID.scope`, `ID`.
fn whole_id<'a>(name: &'a str, id: &str) -> Option<&'a str> {
    name.split(|c: char| !c.is_ascii_hexdigit())
        .find(|part| part.starts_with(id))
}

const ENGINES: [Engine; 6] = [
    Engine {
        program: "podman",
        words: &["container", "inspect", "--format", "{{.State.Pid}}"],
        answer: Answer::Number,
    },
    Engine {
        program: "docker",
        words: &["container", "inspect", "--format", "{{.State.Pid}}"],
        answer: Answer::Number,
    },
    Engine {
        program: "nerdctl",
        words: &["container", "inspect", "--format", "{{.State.Pid}}"],
        answer: Answer::Number,
    },
    Engine {
        program: "runc",
        words: &["state"],
        answer: Answer::Json,
    },
    Engine {
        program: "crun",
        words: &["state"],
        answer: Answer::Json,
    },
    Engine {
        program: "crictl",
        words: &[
            "inspect",
            "--output",
            "go-template",
            "--template",
            "{{.info.pid}}",
        ],
        answer: Answer::Number,
    },
];
/// A daemon that does not answer must not hold up a start for long.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123";

    fn of(lines: &[(u32, &str)]) -> BTreeMap<u32, String> {
        lines
            .iter()
            .map(|(pid, line)| (*pid, (*line).to_owned()))
            .collect()
    }

    #[test]
    fn the_first_process_in_the_container_s_cgroup_is_taken_and_its_keeper_is_not() {
        let all = of(&[
            (
                7,
                "0::/machine.slice/libpod-conmon-0123456789abcdef0123.scope\n",
            ),
            (
                9,
                "1:name=systemd:/x\n0::/machine.slice/libpod-0123456789abcdef0123.scope/a\n",
            ),
            (11, "0::/machine.slice/libpod-0123456789abcdef0123.scope\n"),
            (13, "0::/docker/fedcba98765432100123\n"),
        ]);
        assert_eq!(by_cgroup(&ID[..12], &all), Some(9));
        assert_eq!(by_cgroup("fedcba987654", &all), Some(13));
        // Not in the middle of another one's id.
        assert_eq!(by_cgroup("123456789abc", &all), None);
    }

    #[test]
    fn letters_that_two_containers_share_name_neither() {
        let all = of(&[
            (1, "0::/docker/0123456789abcdef0123\n"),
            (2, "0::/docker/0123456789abffff0123\n"),
        ]);
        assert_eq!(by_cgroup("0123456789ab", &all), None);
        assert_eq!(by_cgroup("0123456789abc", &all), Some(1));
    }

    #[test]
    fn a_name_that_is_no_id_is_not_looked_for_among_cgroups() {
        assert!(is_id(&ID[..12]));
        assert!(!is_id("web"));
        assert!(!is_id("systemd-logind"));
    }

    #[test]
    fn the_answers_of_engines_are_read_and_a_stopped_container_has_no_process() {
        assert_eq!(Answer::Number.pid("4711\n"), Some(4711));
        assert_eq!(Answer::Number.pid("0\n"), None);
        assert_eq!(Answer::Number.pid("<no value>\n"), None);
        let state = r#"{"ociVersion":"1.0.2","id":"web","pid":4711,"status":"running"}"#;
        assert_eq!(Answer::Json.pid(state), Some(4711));
        assert_eq!(Answer::Json.pid("{}"), None);
    }

    #[test]
    fn a_program_that_says_nothing_in_time_is_ended() {
        let shell = |script: &str| {
            Command::new("sh")
                .args(["-c", script])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        assert_eq!(output(shell("echo 5")).as_deref(), Some("5\n"));
        assert_eq!(output(shell("echo 5; exit 1")), None);
        assert_eq!(output(shell("exec sleep 1000")), None);
    }
}
