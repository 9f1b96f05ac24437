//! A web server and a client that speak HTTP/3 over QUIC, by aioquic.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::host::Host;
use crate::proc::Proc;
use crate::program::Program;
use crate::watched::DEADLINE;

/// A web server that answers over HTTP/3 and HTTPS on one port; see [`Host::serve_web`].
#[derive(Debug)]
pub struct WebServer {
    proc: Proc,
}

impl WebServer {
    /// The requests so far, as `h3|https NAME PATH PEER`.
    pub fn seen(&self) -> Vec<String> {
        let said = self.proc.stdout();
        let lines = said.lines().filter(|line| *line != READY);
        lines.map(str::to_owned).collect()
    }
}

/// What a web client is to ask for; see [`Host::web_client`].
#[derive(Debug, Clone, Copy)]
pub struct WebClient<'a> {
    /// The server's address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The name that the client shows in its hello.
    pub name: &'a str,
    /// The path, such as `/bytes/1000`.
    pub path: &'a str,
}

impl Host {
    /// Serves every path over HTTP/3 (QUIC) and HTTPS (TCP) at a port of both families.
    pub fn serve_web(&self, port: u16) -> WebServer {
        let proc = python(self, SERVER).arg(port.to_string()).spawn();
        proc.wait_line(|line| line == READY);
        WebServer { proc }
    }

    /// A client that asks over HTTP/3, and over HTTPS where that is refused or not answered.
    ///
    /// It says `h3 STATUS LENGTH` or, below `h3 failed: WHY`, `https STATUS LENGTH`.
    pub fn web_client(&self, asked: WebClient<'_>) -> Program {
        let WebClient {
            address,
            port,
            name,
            path,
        } = asked;
        // The client has to give up before the lab does.
        let patience = (DEADLINE - Duration::from_secs(8)).as_secs();
        let (address, port) = (address.to_string(), port.to_string());
        python(self, CLIENT).args([&address, &port, name, path, &patience.to_string()])
    }
}

/// The Python that has aioquic, if there is one: `LAB_PYTHON`, or the one that `tests/run` makes.
pub(crate) fn quic_python() -> Option<PathBuf> {
    let made = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab-python/bin/python");
    let path = std::env::var_os("LAB_PYTHON").map_or_else(made, PathBuf::from);
    path.exists().then_some(path)
}

/// The same Python, if it has grpcio: an older one that `tests/run` made may lack it.
pub fn grpc_python() -> Option<PathBuf> {
    let python = quic_python()?;
    let libraries = python.parent()?.parent()?.join("lib");
    let mut versions = std::fs::read_dir(libraries).ok()?.flatten();
    let has = versions.any(|version| version.path().join("site-packages/grpc").is_dir());
    has.then_some(python)
}

fn python(host: &Host, script: &str) -> Program {
    let python = quic_python().expect("the test has asked for `Quic`");
    host.program(python).args(["-u", "-c", script])
}

const SERVER: &str = include_str!("web/server.py");
const CLIENT: &str = include_str!("web/client.py");
const READY: &str = "serving";
