//! A virtual machine that knows nothing of `steer`, on a bridge that the method `tap` serves.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use lab::{Digest, Family, Host, Lab, Pattern, Record as Entry, Service};
use steer_tests::{Records, instance_name, steer};
use tempfile::TempDir;

/// The bridge of the machine and of `steer`.
const BRIDGE: &str = "br0";

/// How much the machine fetches and sends back.
const MUCH: usize = 20 << 20;

/// A host with a bridge and a way to the servers that only its own programs have.
struct Site {
    gate: Host,
    srv: Host,
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new("guest");
        let (gate, srv) = (lab.host("gate"), lab.host("srv"));
        lab.link(&gate, &srv);
        gate.ip(&["link", "add", BRIDGE, "type", "bridge"]);
        // The host itself is no station of the bridge.
        gate.set_sysctl(&format!("net/ipv6/conf/{BRIDGE}/disable_ipv6"), "1");
        gate.ip(&["link", "set", BRIDGE, "up"]);
        Self {
            gate,
            srv,
            folder: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// `steer up` on the bridge, in force.
    fn up(&self) -> lab::Proc {
        let config = format!(
            "name: {}\n\
             method: tap\n\
             device:\n\
             \x20 bridge: {BRIDGE}\n\
             \x20 gateway: [10.9.0.1/24, \"fd00:9::1/64\"]\n\
             \x20 dhcp: true\n\
             \x20 advertise: true\n",
            instance_name()
        );
        let path = self.folder.path().join("steer.yaml");
        std::fs::write(&path, config).expect("our directory");
        let steer = self.gate.program(steer()).args(["up", "-c"]).arg(path);
        let steer = steer.env("STEER_RUN_DIR", self.folder.path().join("run"));
        let running = steer.arg("--log").arg(self.log()).spawn();
        running.wait_line(|line| line.contains("is in force"));
        running
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("log.jsonl")
    }
}

/// What the machine runs: its distribution's ways to an address, then programs that know nothing.
fn script(servers: &[(Family, IpAddr)]) -> String {
    let mut script = String::from(
        "udhcpc -i eth0 -n -q -s /lease >/dev/null 2>&1\n\
         ready() { ip -6 addr show dev eth0 | grep 'inet6 fd00:9::' | grep -vq tentative; }\n\
         tries=0; until ready || [ $tries = 100 ]; do tries=$((tries + 1)); sleep 0.1; done\n\
         ip addr show dev eth0\n\
         ip route; ip -6 route\n",
    );
    for (family, server) in servers {
        let head = |request: &str, more: &str| {
            format!(
                "printf '{request} HTTP/1.1\\r\\nHost: guest\\r\\n{more}Connection: close\\r\\n\\r\\n'"
            )
        };
        // Debian's static BusyBox has a `wget` that crashes, wherever it runs.
        let nc = format!("timeout 120 nc {server} 80");
        let page = head("GET /hello", "");
        let fetch = head(&format!("GET /bytes/{MUCH}"), "");
        let send = head("POST /digest", &format!("Content-Length: {MUCH}\\r\\n"));
        let text = format!(
            "echo {family:?} page $({page} | {nc} | grep GET)\n\
             {fetch} | {nc} | tail -c {MUCH} >/tmp/much\n\
             echo {family:?} fetched $(sha256sum </tmp/much)\n\
             echo {family:?} sent $({{ {send}; cat /tmp/much; }} | {nc} | tail -n 1)\n\
             echo {family:?} name $(nslookup -type=a guest.test {server} | tail -n 3)\n\
             echo {family:?} echo $(ping -c 1 -W 5 {server} | grep -c 'bytes from')\n\
             rm /tmp/much\n"
        );
        script.push_str(&text);
    }
    writeln!(
        script,
        "echo gateway $(ping -c 1 -W 5 10.9.0.1 | grep -c 'bytes from')"
    )
    .expect("a String can be written");
    script
}

/// The checksum by the program that the machine has, too.
fn sha256(bytes: Vec<u8>) -> String {
    let output = lab::Program::new("sha256sum").input(bytes).run();
    let said = output.expect_success();
    said.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn an_unchanged_virtual_machine_is_steered() {
    lab::require!(Namespaces, Guest);
    let site = Site::new();
    let servers = Family::BOTH.map(|family| (family, family.foreign(1)));
    let pages = site.srv.serve(80, Service::Http);
    let names: Vec<_> = servers
        .iter()
        .map(|(_, server)| {
            site.srv.add_address(*server);
            let at = SocketAddr::new(*server, 53);
            let found = IpAddr::from([192, 0, 2, 9]);
            site.srv.serve_dns(at, move |query, _| {
                vec![query.answer(&[Entry::address(found, 60)])]
            })
        })
        .collect();
    let steer = site.up();
    let output = site.gate.run_guest(BRIDGE, &script(&servers));
    let said = &output.stdout;
    let has = |line: &str| {
        assert!(
            said.lines().any(|it| it.contains(line)),
            "{line:?}: {output:#?}"
        );
    };
    has("inet 10.9.0.");
    has("default via 10.9.0.1 dev eth0");
    has("default via fe80::1 dev eth0");
    let much = Pattern(0).bytes(MUCH);
    let digest = Digest::of(&much);
    let sum = sha256(much);
    for family in Family::BOTH {
        has(&format!("{family:?} page GET /hello HTTP/1.1"));
        has(&format!("{family:?} fetched {sum}"));
        has(&format!("{family:?} sent {digest} {MUCH}"));
        has("192.0.2.9");
        has(&format!("{family:?} echo 1"));
    }
    has("gateway 1");
    // The servers saw the engine, and the records say who asked.
    for connection in pages.wait_ended(6) {
        let engine = [Family::V4, Family::V6].map(|family| site.gate.address(family));
        assert!(engine.contains(&connection.peer.ip()), "{connection:?}");
    }
    let records = Records::of(site.log());
    for (server, names) in servers.iter().zip(&names) {
        assert_eq!(names.wait_seen(1).len(), 1);
        let at = SocketAddr::new(server.1, 80).to_string();
        let of_pages = records.wait("three records", |all| {
            all.iter().filter(|it| it["destination"] == at).count() == 3
        });
        let of_pages: Vec<_> = of_pages
            .iter()
            .filter(|it| it["destination"] == at)
            .collect();
        let network = if server.0 == Family::V4 {
            "10.9.0."
        } else {
            "[fd00:9:"
        };
        for record in &of_pages {
            let client = record["client"].as_str().expect("a client");
            assert!(client.starts_with(network), "{record:?}");
            assert_eq!(
                (&record["method"], &record["outcome"]),
                (&"tap".into(), &"ok".into())
            );
        }
        let most = |key: &str| of_pages.iter().filter_map(|it| it[key].as_u64()).max();
        assert!(most("received").is_some_and(|bytes| bytes > MUCH as u64));
        assert!(most("sent").is_some_and(|bytes| bytes > MUCH as u64));
        let asked = records.wait_to(SocketAddr::new(server.1, 53));
        assert_eq!(
            (&asked["protocol"], &asked["method"]),
            (&"udp".into(), &"tap".into())
        );
    }
    drop(steer);
}
