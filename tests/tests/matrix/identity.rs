//! Who asked: known when the call is made, and not looked up afterwards.

use std::collections::BTreeSet;

use lab::{Agent, Family, Program, Service};
use steer_tests::{Mount, Rig, Setup, Stage};

/// Each process connects and is gone before anybody could look at it.
pub(crate) fn identity_of_a_process_that_lives_a_millisecond_is_in_the_record(mount: Mount) {
    lab::require!(Root, Program("python3"));
    let stage = Stage::new("brief");
    let server = stage.srv.serve(7, Service::Echo);
    let cgroup = mount.cgroup("brief");
    let rig = Rig::start(&stage.app, mount, &Setup::default());
    for family in Family::BOTH {
        let to = stage.at(family, 7);
        let (ip, port) = (to.ip().to_string(), to.port().to_string());
        let program = stage.app.program("python3").user(2001).group(3001);
        let program = program.args(["-c", BRIEF, &ip, &port]).cgroup(&cgroup);
        let said = program.run().expect_success();
        let pids: BTreeSet<u64> = said.lines().map(|pid| pid.parse().expect("a pid")).collect();
        assert_eq!(pids.len(), MANY);
        let of = |record: &&steer_tests::Record| record["destination"] == to.to_string();
        let records = rig.records().wait("a record of each", |records| {
            records.iter().filter(of).count() >= MANY
        });
        let records: Vec<_> = records.iter().filter(of).collect();
        let known: BTreeSet<u64> = records.iter().flat_map(|it| it["pid"].as_u64()).collect();
        assert_eq!(known, pids);
        for record in records {
            assert_eq!((&record["uid"], &record["gid"]), (&2001.into(), &3001.into()));
            assert_eq!(record["command"], "brief: one call");
            assert_eq!(record["cgroup"], cgroup.name());
            assert!(record["container"].is_null(), "{record:?}");
        }
    }
    server.wait_ended(2 * MANY);
}

/// Each key alone, with somebody beside who differs in that alone.
pub(crate) fn a_rule_by_name_file_group_and_cgroup_decides(mount: Mount) {
    lab::require!(Root, Program("python3"));
    let stage = Stage::new("who");
    let server = stage.srv.serve(7, Service::Echo);
    let cgroup = mount.cgroup("who");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let copy = folder.path().join("other-python");
    // What is found in PATH may be a script that finds it.
    let python = Program::new("python3").args(["-c", "import sys; print(sys.executable)"]);
    let python = python.run().expect_success();
    let cp = Program::new("cp").args(["-L", python.trim_end()]).arg(&copy);
    cp.run().expect_success();
    let home = ["-c", "import sys; print(sys.base_prefix)"];
    let home = Program::new("python3").args(home).run().expect_success();
    let rules = format!(
        "rules:\n\
         - {{ name: name, match: {{ command: by-name }}, action: reject }}\n\
         - {{ name: file, match: {{ exe: \"other-py*\" }}, action: reject }}\n\
         - {{ name: group, match: {{ gid: 3002 }}, action: reject }}\n\
         - {{ name: cgroup, match: {{ cgroup: {} }}, action: reject }}\n",
        cgroup.name()
    );
    let rig = Rig::start(&stage.app, mount, &Setup::policy(rules));
    let other = copy.to_str().expect("a path of text");
    let cases = [
        ("python3", "nobody", 3001, false, None),
        ("python3", "by-name", 3001, false, Some("name")),
        (other, "nobody", 3001, false, Some("file")),
        ("python3", "nobody", 3002, false, Some("group")),
        ("python3", "nobody", 3001, true, Some("cgroup")),
    ];
    for (at, (file, name, gid, inside, rule)) in cases.into_iter().enumerate() {
        let to = stage.at(Family::BOTH[at % 2], 7);
        let (ip, port) = (to.ip().to_string(), to.port().to_string());
        let mut program = stage.app.program(file).group(gid);
        if inside {
            program = program.cgroup(&cgroup);
        }
        let program = program.args(["-c", ASK, name, &ip, &port]);
        let said = program.env("PYTHONHOME", home.trim_end()).run().expect_success();
        let served = if rule.is_none() { "served\n" } else { "refused\n" };
        assert_eq!(said, served, "{file} {name} {gid} {inside}");
        let records = rig.records().wait_for(at + 1);
        assert_eq!(records[at]["rule"].as_str(), rule, "{:?}", records[at]);
    }
    assert_eq!(server.seen().len(), 1);
}

/// Processes of other names are left alone.
pub(crate) fn chosen_process_names_only_are_steered(mount: Mount) {
    lab::require!(Root, Program("python3"));
    let stage = Stage::new("names");
    let server = stage.srv.serve(7, Service::Echo);
    for (on_failure, scope) in [
        ("open", "{ command: [chosen, none] }"),
        ("closed", "{ command: [chosen, none] }"),
        ("closed", "{ host: true, except: { command: other } }"),
    ] {
        let setup = Setup {
            on_failure: on_failure.to_owned(),
            ..Setup::scope(scope)
        };
        let rig = Rig::start(&stage.app, mount, &setup);
        for family in Family::BOTH {
            let to = stage.at(family, 7);
            let (ip, port) = (to.ip().to_string(), to.port().to_string());
            for name in ["chosen", "other"] {
                let python = stage.app.program("python3");
                let said = python.args(["-c", ASK, name, &ip, &port]).run();
                assert_eq!(said.expect_success(), "served\n", "{name}");
            }
            let record = rig.records().wait_to(to);
            assert_eq!(record["command"], "chosen");
        }
        assert_eq!(rig.finish().len(), 2, "{scope}");
    }
    assert_eq!(server.wait_ended(12).len(), 12);
}

/// The test binary again, as a child whose sockets the test uses.
pub(super) fn agent(program: Program) -> Agent {
    Agent::start(program.args(Agent::command_line("agent")))
}

/// Children that connect, say a word, and end; the parent says who they were.
const BRIEF: &str = "
import os, socket, sys
at = (sys.argv[1], int(sys.argv[2]))
for _ in range(40):
    pid = os.fork()
    if pid == 0:
        open('/proc/self/comm', 'w').write('brief: one call')
        s = socket.create_connection(at)
        s.send(b'x')
        os._exit(0)
    os.waitpid(pid, 0)
    print(pid)
";
const MANY: usize = 40;

/// Takes a name, and says whether it is served.
const ASK: &str = "
import socket, sys
open('/proc/self/comm', 'w').write(sys.argv[1])
try:
    s = socket.create_connection((sys.argv[2], int(sys.argv[3])))
    s.send(b'hello')
    print('served' if s.recv(5) == b'hello' else 'refused')
except OSError:
    print('refused')
";
