//! A cgroup with the programs, a namespace with an engine of a few lines, and programs that connect.

use std::fs::File;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, PerCpuArray};
use aya::programs::{self, CgroupAttachMode, CgroupSkbAttachType};
use aya::{Ebpf, EbpfLoader, Pod};
use lab::{Cgroup, Host, Lab, Output, Proc, Program};

use steer_core::address::Cidr;
use steer_ebpf::abi::{
    COUNTERS, Cgroups, Config, LIST, Names, NetKey, PLACE_V4, PLACE_V6, PORT_WORDS, Place, Ranges,
    Token,
};

/// Plain data in a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Plain<T>(pub(crate) T);

// SAFETY: only structures of `abi` are put into it, which are plain data without padding.
unsafe impl<T: Copy + 'static> Pod for Plain<T> {}

/// What a test is made on.
pub(crate) struct Bench {
    pub(crate) object: Ebpf,
    pub(crate) host: Host,
    /// Whose sockets are taken.
    pub(crate) inside: Cgroup,
    /// Whose are not.
    pub(crate) outside: Cgroup,
    pub(crate) engine: Proc,
    pub(crate) port: u16,
    pub(crate) lab: Lab,
}

impl Bench {
    /// With the flags of the configuration and this much room for tokens.
    pub(crate) fn new(name: &str, flags: u32, tokens: u32) -> Self {
        let lab = Lab::new(name);
        let host = host(&lab, "app");
        let (inside, outside) = (Cgroup::new("inside"), Cgroup::new("outside"));
        let engine = host.program("python3").args(["-c", ENGINE]);
        let engine = engine.cgroup(&outside).spawn();
        let port = engine.wait_stdout(|line| line.starts_with("port "));
        let port = port["port ".len()..].trim().parse().expect("a port");
        let object = EbpfLoader::new()
            .map_max_entries("TOKENS", tokens)
            .load_file(object())
            .expect("the object loads");
        let mut bench = Self {
            object,
            host,
            inside,
            outside,
            engine,
            port,
            lab,
        };
        bench.configure(&config(flags));
        let cookie = bench.cookie(&bench.host);
        bench.place(cookie, PLACE_V4 | PLACE_V6);
        bench.attach();
        bench
    }

    /// Fills the first generation, in which every port is meant.
    pub(crate) fn configure(&mut self, config: &Config) {
        let map = self.object.map_mut("CONFIG").expect("a map");
        let mut map = Array::<_, Plain<Config>>::try_from(map).expect("an array");
        map.set(0, Plain(*config), 0).expect("room");
        let ports = self.object.map_mut("PORTS").expect("a map");
        let mut ports = Array::<_, u64>::try_from(ports).expect("an array");
        for word in 0..PORT_WORDS {
            ports.set(word, u64::MAX, 0).expect("room");
        }
    }

    /// Takes these ports alone for meant.
    pub(crate) fn ports(&mut self, meant: &[u16]) {
        let ports = self.object.map_mut("PORTS").expect("a map");
        let mut ports = Array::<_, u64>::try_from(ports).expect("an array");
        for word in 0..PORT_WORDS {
            let within = meant.iter().filter(|port| u32::from(**port) / 64 == word);
            let bits = within.fold(0, |bits, port| bits | 1 << (port % 64));
            ports.set(word, bits, 0).expect("room");
        }
    }

    /// Says something of a network, in the first generation.
    pub(crate) fn net(&mut self, net: &str, flags: u32) {
        let net: Cidr = net.parse().expect("a network");
        let (address, before) = match net.address() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped(), 96),
            IpAddr::V6(ip) => (ip, 0),
        };
        let key = NetKey {
            generation: [0; 4],
            address: address.octets(),
        };
        let length = 32 + before + u32::from(net.prefix());
        let map = self.object.map_mut("NETS").expect("a map");
        let mut map = LpmTrie::<_, Plain<NetKey>, u32>::try_from(map).expect("a trie");
        let key = Key::new(length, Plain(key));
        map.insert(&key, flags, 0).expect("room");
    }

    /// Says that the engine is in a namespace.
    pub(crate) fn place(&mut self, cookie: u64, flags: u32) {
        let map = self.object.map_mut("PLACES").expect("a map");
        let mut map = HashMap::<_, u64, Plain<Place>>::try_from(map).expect("a hash");
        let place = Place {
            streams: self.port,
            datagrams: self.port,
            dns_streams: self.port,
            dns_datagrams: self.port,
            flags,
            unused: 0,
        };
        map.insert(cookie, Plain(place), 0).expect("room");
    }

    fn attach(&mut self) {
        let inside = File::open(self.inside.path()).expect("a cgroup");
        let outside = File::open(self.outside.path()).expect("a cgroup");
        let (mode, egress) = (CgroupAttachMode::Single, CgroupSkbAttachType::Egress);
        for (name, program) in self.object.programs_mut() {
            let done = match program {
                programs::Program::CgroupSockAddr(program) => program
                    .load()
                    .and_then(|()| program.attach(&inside, mode).map(drop)),
                programs::Program::CgroupSkb(program) => program
                    .load()
                    .and_then(|()| program.attach(&inside, egress, mode).map(drop)),
                programs::Program::CgroupSock(program) => program
                    .load()
                    .and_then(|()| program.attach(&inside, mode).map(drop)),
                programs::Program::SockOps(program) => program
                    .load()
                    .and_then(|()| program.attach(&inside, mode).map(drop)),
                // Where the proxy is that asks.
                programs::Program::CgroupSockopt(program) => program
                    .load()
                    .and_then(|()| program.attach(&outside, mode).map(drop)),
                programs::Program::SkLookup(program) => program.load(),
                other => panic!("{name} is {:?}", other.prog_type()),
            };
            done.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
    }

    /// The number of a namespace.
    pub(crate) fn cookie(&self, host: &Host) -> u64 {
        let script =
            "import socket; print(int.from_bytes(socket.socket().getsockopt(1, 71, 8), 'little'))";
        let output = host.program("python3").args(["-c", script]).run();
        output.expect_success().trim().parse().expect("a number")
    }

    /// Runs a script whose sockets are taken; its standard output.
    pub(crate) fn run(&self, script: &str) -> String {
        self.run_at(&self.host, script).expect_success()
    }

    /// The same in another namespace.
    pub(crate) fn run_at(&self, host: &Host, script: &str) -> Output {
        self.program(host, script).run()
    }

    /// Starts a script whose sockets are taken.
    pub(crate) fn start(&self, script: &str) -> Proc {
        self.program(&self.host, script).spawn()
    }

    fn program(&self, host: &Host, script: &str) -> Program {
        let script = format!("{CLIENT}{script}");
        let program = host.program("python3").args(["-uc", &script]);
        program.cgroup(&self.inside)
    }

    /// The tokens that live.
    pub(crate) fn tokens(&self) -> Vec<(u64, Token)> {
        let map = self.object.map("TOKENS").expect("a map");
        let map = HashMap::<_, u64, Plain<Token>>::try_from(map).expect("a hash");
        let entries = map.iter().map(|entry| entry.expect("readable"));
        entries.map(|(key, Plain(token))| (key, token)).collect()
    }

    /// What was counted.
    pub(crate) fn counts(&self) -> Vec<u64> {
        let map = self.object.map("COUNTERS").expect("a map");
        let map = PerCpuArray::<_, u64>::try_from(map).expect("an array");
        let sum = |index| map.get(&index, 0).expect("an index").iter().sum();
        (0..COUNTERS).map(sum).collect()
    }
}

/// A namespace with addresses of both families and the route of the tokens of IPv6.
pub(crate) fn host(lab: &Lab, name: &str) -> Host {
    let host = lab.host(name);
    host.ip(&["link", "set", "lo", "up"]);
    host.ip(&["addr", "add", "198.51.100.1/32", "dev", "lo"]);
    host.ip(&["addr", "add", "2001:db8::1/128", "dev", "lo", "nodad"]);
    host.ip(&[
        "route",
        "add",
        "local",
        "fd5e:7ee2:0:f8e3::/64",
        "dev",
        "lo",
    ]);
    host
}

/// A configuration that means everybody.
pub(crate) fn config(flags: u32) -> Config {
    let ranges = Ranges {
        count: 0,
        ranges: [[1, 0]; LIST],
    };
    let names = Names {
        count: 0,
        names: [[0; 16]; LIST],
    };
    let cgroups = Cgroups {
        ids: [0; LIST],
        count: 0,
        unused: 0,
    };
    Config {
        flags,
        bypass: 0x10,
        bypass_mask: 0xff0,
        unused: 0,
        netns: 0,
        uid: ranges,
        except_uid: ranges,
        gid: ranges,
        except_gid: ranges,
        command: names,
        except_command: names,
        cgroup: cgroups,
        except_cgroup: cgroups,
    }
}

/// An address of `abi` as text, that of IPv4 as such.
pub(crate) fn text(address: [u8; 16]) -> String {
    Ipv6Addr::from(address).to_canonical().to_string()
}

fn object() -> PathBuf {
    let committed = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("object/steer.o");
    std::env::var_os("STEER_EBPF_OBJECT").map_or_else(committed, PathBuf::from)
}

/// An engine: it tells a connection what it sees of it, and gives datagrams back from where they
/// were sent to.
const ENGINE: &str = r#"
import socket, struct, threading
def listener(kind):
    s = socket.socket(socket.AF_INET6, kind)
    s.setsockopt(41, 26, 0)
    s.setsockopt(1, 36, 0x10)
    s.setsockopt(0, 15, 1)
    return s
t = listener(socket.SOCK_STREAM); t.bind(("::", 0)); t.listen(64)
u = listener(socket.SOCK_DGRAM); u.setsockopt(41, 49, 1); u.bind(("::", t.getsockname()[1]))
def original(c):
    v4 = c.getsockname()[0].startswith("::ffff:")
    try: b = c.getsockopt(0, 80, 16) if v4 else c.getsockopt(41, 80, 28)
    except OSError as e: return "errno %d" % e.errno
    a = socket.inet_ntop(2, b[4:8]) if v4 else socket.inet_ntop(10, b[8:24])
    return "%s %d" % (a, struct.unpack("!H", b[2:4])[0])
def datagrams():
    while True:
        d, extra, _, a = u.recvmsg(2048, 256)
        u.sendmsg([d], [(41, 50, extra[0][2][:16] + struct.pack("I", 0))], 0, a)
threading.Thread(target=datagrams, daemon=True).start()
print("port %d" % t.getsockname()[1], flush=True)
while True:
    c, a = t.accept()
    ask = c.recv(1)
    here = c.getsockname()
    said = (original(c) + "; " + original(c)) if ask == b"o" else "%s %s %d" % (here[0], a[0], a[1])
    c.sendall(said.encode()); c.close()
"#;

/// What scripts begin with.
const CLIENT: &str = r#"
import socket, struct, sys, os, errno
def opened(family, kind=socket.SOCK_STREAM, protocol=0):
    s = socket.socket(family, kind, protocol); s.settimeout(10); return s
def failing(f):
    try: f()
    except OSError as e: return errno.errorcode[e.errno]
    return "ok"
def asked(s):
    b = b""
    while True:
        d = s.recv(200)
        if not d: return b.decode()
        b += d
"#;
