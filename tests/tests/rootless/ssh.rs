//! ssh with a server of its own.

use lab::{Family, Proc, Program};

use crate::column::Column;
use crate::errand::{Errand, Promise, Visit};
use crate::ground::{Ground, NAME};

pub(crate) fn ssh_runs_the_same_command(column: Column) {
    lab::require!(
        Root,
        Program("ssh"),
        Path("/usr/sbin/sshd"),
        Program("dnsmasq")
    );
    let ground = Ground::new("ssh");
    let _server = serve(&ground);
    const SCRIPT: &str = "\
set -e
ssh() { command ssh -F none -i key -p 2222 -o BatchMode=yes -o IdentitiesOnly=yes \\
    -o UserKnownHostsFile=known -o GlobalKnownHostsFile=none -o LogLevel=ERROR \"$@\"; }
for host; do
    seq 30000 | ssh root@$host 'sha256sum; echo $SSH_CONNECTION | cut -d\" \" -f4; seq 20000; exit 7' > out ||
        echo status $?
    sha256sum out
done";
    let [v4, v6] = Family::BOTH.map(|family| ground.srv.address(family).to_string());
    let words = ["sh", "-c", SCRIPT, "sh", &v4, &v6, NAME];
    Errand::new(words, Visit::all(&ground, 2222, 2222))
        .except(Column::Env, Promise::Caught)
        .hold(&ground, column);
}

/// A server that lets root in by the key that the user nobody has.
fn serve(ground: &Ground) -> Proc {
    for name in ["key", "host"] {
        let make = Program::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]);
        make.arg(ground.path(name)).run().expect_success();
    }
    ground.give("key");
    let public = std::fs::read_to_string(ground.path("host.pub")).expect("just made");
    let known = Family::BOTH.map(|family| ground.srv.address(family).to_string());
    let known: String = known
        .iter()
        .map(String::as_str)
        .chain([NAME])
        .map(|name| format!("[{name}]:2222 {public}"))
        .collect();
    ground.write("known", &known);
    let config = format!(
        "Port 2222\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
         PermitRootLogin prohibit-password\nPasswordAuthentication no\nUseDNS no\n",
        ground.word("host"),
        ground.word("key.pub"),
    );
    let config = ground.write("sshd_config", &config);
    // Where it has its children's root; the package makes it at boot.
    std::fs::create_dir_all(SEPARATION).expect("root writes all");
    let server = ground
        .srv
        .program("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"]);
    let server = server.arg(config).spawn();
    let listening = |line: &str| line.starts_with("Server listening on :: port 2222");
    server.wait_line(listening);
    server
}

const SEPARATION: &str = "/run/sshd";
