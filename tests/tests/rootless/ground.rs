//! Two hosts: the program's, whose user has no privilege, and the servers'.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use lab::{Capture, Family, Host, Packet, Program, Resolver, Server, Service};
use steer_tests::{Login, Records, Request, Stage, UpstreamProxy, steer};

use crate::column::Column;

/// The hosts, their servers, and a folder that the user nobody may write.
///
/// The engine goes through an upstream proxy, so whatever leaves the program's host for another
/// destination than that went round the engine.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Where the programs and `steer` run.
    pub(crate) app: Host,
    /// Where the servers are.
    pub(crate) srv: Host,
    dir: tempfile::TempDir,
    proxy: UpstreamProxy,
    witness: Capture,
    _resolver: Resolver,
    _servers: Vec<Server>,
}

impl Ground {
    /// Opens the hosts; serves HTTP on ports 80 and 8080, an echo on 7 and 8007.
    pub(crate) fn new(label: &str) -> Self {
        let Stage { app, srv, .. } = Stage::new(label);
        let [v4, v6] = Family::BOTH.map(|family| srv.address(family));
        let resolver = srv.resolve(&[v4], &[&format!("host-record={NAME},{v4},{v6}")]);
        let services = [
            (80, Service::Http),
            (8080, Service::Http),
            (7, Service::Echo),
            (8007, Service::Echo),
        ];
        let servers = services.map(|(port, service)| srv.serve(port, service));
        let ports = [7, 80, 2222, 8000, 8007, 8080].map(|port| (format!("{NAME}:{port}"), port));
        let names: Vec<_> = ports
            .iter()
            .map(|(name, port)| (name.as_str(), srv.at(Family::V4, *port)))
            .collect();
        let proxy = UpstreamProxy::start(&srv, 1080, Login::None, &names);
        let witness = Capture::start(&app, &app.uplink().name);
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).expect("our directory");
        let ground = Self {
            app,
            srv,
            dir,
            proxy,
            witness,
            _resolver: resolver,
            _servers: servers.into(),
        };
        ground.write("resolv.conf", &format!("nameserver {v4}\n"));
        ground.write(
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n",
        );
        ground.write("hosts", "127.0.0.1 localhost\n::1 localhost\n");
        ground.copy(steer(), "steer");
        // On most hosts everybody may open it; where the lab runs it may be root's alone.
        let node = Program::new("mknod")
            .args(["-m", "666"])
            .arg(ground.path(DEVICES));
        node.args(["c", "10", "200"]).run().expect_success();
        ground
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as a word of a command.
    pub(crate) fn word(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file into the folder and gives its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("our directory can be written");
        path
    }

    /// Makes a folder for what is served.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).expect("our directory can be written");
        path
    }

    /// Gives the user nobody a file of the folder for itself alone.
    pub(crate) fn give(&self, name: &str) {
        let path = self.path(name);
        chown(&path, Some(NOBODY), Some(NOBODY)).expect("root gives files away");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("our file");
    }

    /// Copies a program into the folder: the one of the build may be closed to others.
    pub(crate) fn copy(&self, program: &Path, name: &str) {
        // By another process: a descriptor for writing here would be inherited by programs that
        // other tests start meanwhile, and the copy be busy.
        let cp = Program::new("cp").arg(program).arg(self.path(name));
        cp.run().expect_success();
    }

    /// A program of the user nobody, whose resolver is the one of the servers' host.
    pub(crate) fn program(&self, words: &[String]) -> Program {
        self.entered(TO_NOBODY, words)
    }

    /// A program of root's, with the same resolver.
    pub(crate) fn program_of_root(&self, words: &[String]) -> Program {
        self.entered("", words)
    }

    fn entered(&self, by: &str, words: &[String]) -> Program {
        // The mounts are seen by this program alone.
        const ENTER: &str = "\
for name in resolv.conf nsswitch.conf hosts; do mount --bind \"$1/$name\" /etc/$name; done
if test -e /dev/net/tun; then mount --bind \"$1/tun\" /dev/net/tun; fi
cd \"$1\"; by=$2; shift 2; exec $by env -i \"$@\"";
        let dir = self.dir.path();
        self.app
            .program("unshare")
            .args(["--mount", "sh", "-ec", ENTER, "sh"])
            .arg(dir)
            .arg(by)
            .args(["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"])
            .args(["HOME", "TMPDIR"].map(|name| format!("{name}={}", dir.display())))
            .args(words)
            .deadline(3 * lab::DEADLINE)
    }

    /// `steer run` of that user by a method, up to `--`, through the upstream proxy and with a log.
    pub(crate) fn steer(&self, column: Column) -> Vec<String> {
        let mut words = self.routed(column);
        words.extend(["--log".to_owned(), self.word(LOG)]);
        words
    }

    /// The same without a log.
    pub(crate) fn routed(&self, column: Column) -> Vec<String> {
        let proxy = format!("socks5://{}", self.proxy.address());
        let mut words = self.plainly(column);
        words.extend(["--upstream".to_owned(), proxy]);
        words
    }

    /// The same without an upstream, too: nothing needs to see the bytes.
    pub(crate) fn plainly(&self, column: Column) -> Vec<String> {
        let words = [&self.word("steer"), "run", "-m", column.method()];
        words.map(str::to_owned).into()
    }

    /// The records of [`Self::steer`].
    pub(crate) fn records(&self) -> Records {
        Records::of(self.path(LOG))
    }

    /// What the upstream proxy was asked for.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.proxy.asked()
    }

    /// Forgets what the witness has seen.
    pub(crate) fn look_away(&self) {
        self.witness.clear();
    }

    /// The first packets of connections that left the host for elsewhere than the proxy.
    pub(crate) fn direct_connections(&self) -> Vec<Packet> {
        let proxy = self.proxy.address();
        let left = |packet: &Packet| packet.source.ip() == self.app.address(packet.family());
        self.witness
            .packets(|p| left(p) && p.is_connect() && p.destination != proxy)
    }

    /// The datagrams that left the host for a port that a server of the lab has.
    pub(crate) fn direct_datagrams(&self) -> Vec<Packet> {
        let left = |packet: &Packet| packet.source.ip() == self.app.address(packet.family());
        self.witness
            .packets(|p| left(p) && p.is_udp() && p.destination.port() < 1024)
    }

    /// The address of a port of the servers' host, for URLs and programs.
    pub(crate) fn at(&self, family: Family, port: u16) -> SocketAddr {
        self.srv.at(family, port)
    }

    /// An echo server on a port of its own.
    pub(crate) fn serve_echo(&self) -> Server {
        self.srv.serve(0, Service::Echo)
    }

    /// The URLs of a path: by both families at port 80, and by name at port 8080.
    pub(crate) fn urls(&self, path: &str) -> [String; 3] {
        let [v4, v6] = Family::BOTH.map(|family| self.at(family, 80));
        [v4.to_string(), v6.to_string(), format!("{NAME}:8080")]
            .map(|authority| format!("http://{authority}{path}"))
    }
}

/// What makes a command of root's one of that user.
pub(crate) const TO_NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups";

/// The name that the resolver knows.
pub(crate) const NAME: &str = "www.lab.example";

/// The user without privileges.
pub(crate) const NOBODY: u32 = 65_534;

/// The file by which the user's programs make devices.
pub(crate) const DEVICES: &str = "tun";

const LOG: &str = "records.json";
