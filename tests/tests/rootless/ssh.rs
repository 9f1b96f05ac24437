//! ssh with a server of its own.

use std::net::SocketAddr;

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
    let hosts = Family::BOTH.map(|family| ground.srv.address(family));
    let visits = hosts.map(|host| Visit::Address(SocketAddr::new(host, 2222)));
    let hosts = hosts.map(|host| host.to_string()).into_iter();
    for (host, visit) in hosts
        .zip(visits)
        .chain([(NAME.to_owned(), Visit::Name(2222))])
    {
        let options = [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "UserKnownHostsFile=known",
            "GlobalKnownHostsFile=none",
        ];
        let words = ["ssh", "-F", "none", "-i", "key", "-p", "2222"];
        let words = words
            .into_iter()
            .chain(options.iter().flat_map(|it| ["-o", it]));
        let command = "sha256sum; echo $SSH_CONNECTION | cut -d' ' -f4; seq 20000";
        let to = format!("root@{host}");
        Errand::new(words.chain([to.as_str(), command]), [visit])
            .input("bytes of the client\n".repeat(20_000))
            .except(Column::Env, Promise::Refused("reads no proxy variable"))
            .hold(&ground, column);
    }
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
