//! A TUN device in namespaces of the command's own: what `tun` is to a user without privilege.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lab::{Family, Output, Proc, Program, Service, Signal, Status, eventually, require};

use crate::column::Column;
use crate::ground::{self, Ground, NAME};

/// The words of `steer run`, with this config and this script for Python as the command.
fn words(ground: &Ground, config: &str, script: &str) -> Vec<String> {
    ground.write("tun.yaml", config);
    let mut words = ground.routed(Column::Tun);
    words.extend(["-c".to_owned(), ground.word("tun.yaml"), "--".to_owned()]);
    words.extend(["/usr/bin/python3", "-c", script].map(str::to_owned));
    words
}

fn python(ground: &Ground, config: &str, script: &str) -> Output {
    ground.program(&words(ground, config, script)).run()
}

/// Pings both addresses of the servers' host and says what comes back.
fn pings(ground: &Ground) -> String {
    let [v4, v6] = Family::BOTH.map(|family| ground.srv.address(family));
    format!(
        "import socket\n\
         for domain, protocol, kind, to in ((socket.AF_INET, 1, 8, '{v4}'), (socket.AF_INET6, 58, 128, '{v6}')):\n\
         \x20   s = socket.socket(domain, socket.SOCK_DGRAM, protocol); s.settimeout(10); s.connect((to, 0))\n\
         \x20   s.send(bytes([kind, 0, 0, 0, 0, 0, 0, 1]) + b'steer')\n\
         \x20   try: print(s.recv(99)[8:])\n\
         \x20   except OSError as e: print(type(e).__name__)"
    )
}

#[test]
fn pings_are_answered_or_refused_as_written() {
    require!(Root, Path("/dev/net/tun"), Path("/usr/bin/python3"));
    let ground = Ground::new("pings");
    let all = "net.ipv4.ping_group_range=0 2147483647";
    let sysctl = ground.app.program("sysctl").args(["-w", all]);
    sysctl.run().expect_success();
    let script = pings(&ground);
    ground.look_away();
    for (config, wanted) in [
        ("device: { echo: answer }", "b'steer'\n"),
        ("device: { echo: refuse }", "PermissionError\n"),
        ("method: tun", "PermissionError\n"),
    ] {
        let output = python(&ground, config, &script);
        let said = output.stdout.replace("OSError", "PermissionError");
        assert_eq!(said, wanted.repeat(2), "{config}: {output:#?}");
    }
    let output = python(&ground, "device: { echo: forward }", &script);
    assert_eq!(output.status, Status::Exited(125), "{output:#?}");
    assert!(output.stderr.contains("device.echo"), "{output:#?}");
}

#[test]
fn there_is_no_way_out_but_the_device() {
    require!(Root, Path("/dev/net/tun"), Path("/usr/bin/python3"));
    let ground = Ground::new("device");
    let _echo = ground.serve_echo();
    let [v4, v6] = Family::BOTH.map(|family| ground.at(family, 7));
    // Sockets of every kind, bound to the only interfaces there are; names of the host's own.
    let script = format!(
        "import socket, os\n\
         print(sorted(name.split('-')[0] for _, name in socket.if_nameindex()))\n\
         for domain, to in ((socket.AF_INET, '{ip4}'), (socket.AF_INET6, '{ip6}')):\n\
         \x20   s = socket.create_connection((to, 7), timeout=10); s.sendall(b'tcp'); print(s.recv(9))\n\
         \x20   print(len(socket.getaddrinfo('{NAME}', 7, domain, socket.SOCK_STREAM)))\n\
         for kind in (40, 38, 16 + 15):\n\
         \x20   try: socket.socket(kind, socket.SOCK_STREAM); print('a way out', kind)\n\
         \x20   except OSError as e: pass\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 9)\n\
         s.sendto(b'group', ('239.1.2.3', 9))\n\
         os.system('ip route del default 2>/dev/null; ip link set lo down 2>/dev/null')\n\
         s = socket.create_connection(('{ip4}', 7), timeout=10); s.sendall(b'still'); print(s.recv(9))",
        ip4 = v4.ip(),
        ip6 = v6.ip(),
    );
    ground.look_away();
    let mut run = ground.steer(Column::Tun);
    run.extend(["--verify".to_owned(), "--".to_owned()]);
    run.extend(["/usr/bin/python3", "-c", &script].map(str::to_owned));
    let output = ground.program(&run).run();
    assert_eq!(output.status, Status::Exited(0), "{output:#?}");
    let wanted = "['lo', 'tun']\nb'tcp'\n1\nb'tcp'\n1\nb'still'\n";
    assert_eq!(output.stdout, wanted, "{output:#?}");
    let verified = "none left except through the engine";
    assert!(output.stderr.contains(verified), "{output:#?}");
    let direct = ground.direct_connections();
    assert!(direct.is_empty(), "{direct:#?}");
    // The lookups among them.
    let direct = ground.direct_datagrams();
    assert!(direct.is_empty(), "{direct:#?}");
}

/// Connects, says so, waits for a line, and says whether the connection and another one stand.
fn started(ground: &Ground) -> Proc {
    let script = format!(
        "import socket, sys\n\
         def connect():\n\
         \x20   s = socket.create_connection(('{ip}', 7), timeout=10); s.sendall(b'x'); s.recv(1); return s\n\
         s = connect(); print('steered', flush=True); sys.stdin.readline()\n\
         try: s.settimeout(10); s.sendall(b'x'); print('old', s.recv(1))\n\
         except OSError as e: print('old', type(e).__name__)\n\
         try: connect(); print('another')\n\
         except OSError as e: print('another', type(e).__name__, e.errno)\n\
         sys.stdout.flush()",
        ip = ground.srv.address(Family::V4),
    );
    let proc = ground
        .program(&words(ground, "method: tun", &script))
        .spawn();
    proc.wait_line(|line| line == "steered");
    proc
}

/// The processes that hold namespaces for this ground's copy of the command.
fn holders(ground: &Ground) -> Vec<i32> {
    let steer = ground.path("steer");
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let holds = |pid: &i32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe"));
        let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
        exe.is_ok_and(|exe| exe == steer) && comm.is_ok_and(|c| c.trim() == "steer-holder")
    };
    pids.filter(holds).collect()
}

#[test]
fn a_killed_engine_leaves_the_command_without_a_network() {
    require!(Root, Path("/dev/net/tun"), Path("/usr/bin/python3"));
    let ground = Ground::new("tunengine");
    let proc = started(&ground);
    assert_eq!(holders(&ground).len(), 1);
    ground.look_away();
    // `unshare`, `sh` and `setpriv` have become the engine.
    proc.signal(Signal::SIGKILL);
    eventually("the holder is gone", || {
        holders(&ground).is_empty().then_some(())
    });
    proc.write(b"\n");
    let whole = |said: &str| said.contains("another ") && said.ends_with('\n');
    let said = proc.wait_stdout(whole);
    assert!(!said.contains("old b'x'"), "{said}");
    // ENETUNREACH: the device took its routes along.
    assert!(said.contains("another OSError 101"), "{said}");
    let direct = ground.direct_connections();
    assert!(direct.is_empty(), "{direct:#?}");
}

#[test]
fn a_killed_holder_is_replaced_and_the_device_stands() {
    require!(Root, Path("/dev/net/tun"), Path("/usr/bin/python3"));
    let ground = Ground::new("tunholder");
    let proc = started(&ground);
    let first = holders(&ground)[0];
    let kill = Program::new("kill").args(["-9", &first.to_string()]);
    kill.run().expect_success();
    eventually("another holder", || {
        let another = |pid: &i32| *pid != first;
        holders(&ground).iter().any(another).then_some(())
    });
    proc.write(b"\n");
    assert_eq!(proc.wait(), Status::Exited(0));
    let said = proc.stdout();
    assert!(said.contains("old b'x'"), "{said}");
    assert!(said.lines().any(|line| line == "another"), "{said}");
    eventually("nothing is left", || {
        holders(&ground).is_empty().then_some(())
    });
}

#[test]
fn what_keeps_a_user_from_devices_is_named_with_a_way_on() {
    require!(Root, Path("/dev/net/tun"));
    let ground = Ground::new("nodevice");
    let closed = fs::Permissions::from_mode(0o600);
    fs::set_permissions(ground.path(ground::DEVICES), closed).expect("our file");
    let plan = [
        ground.word("steer"),
        "plan".into(),
        "-m".into(),
        "tun".into(),
    ];
    let output = ground.program(&plan).run();
    refused(&output, "may not be opened");
    // A container that was given none.
    let enter = format!(
        "mount -t tmpfs tmpfs /dev/net; exec {} \"$@\"",
        ground::TO_NOBODY
    );
    let bare = ground.app.program("unshare");
    let bare = bare
        .args(["--mount", "sh", "-ec", &enter, "sh"])
        .args(&plan);
    refused(&bare.run(), "there is no /dev/net/tun");
}

fn refused(output: &Output, why: &str) {
    assert_eq!(output.status, Status::Exited(1), "{output:#?}");
    for words in [why, "chmod a+rw /dev/net/tun", "`-m netns`"] {
        assert!(output.stderr.contains(words), "{words}: {output:#?}");
    }
}

#[test]
fn a_resolver_on_loopback_is_out_of_reach_and_says_so() {
    require!(Root, Path("/dev/net/tun"), Path("/usr/bin/python3"));
    let ground = Ground::new("tunresolver");
    let _udp = ground.srv.serve(9000, Service::Echo);
    ground.write("resolv.conf", "nameserver 127.0.0.53\n");
    let output = python(&ground, "method: tun", "print('here')");
    assert_eq!(output.status, Status::Exited(125), "{output:#?}");
    for words in ["127.0.0.53", "`-m netns`", "traffic.dns: leave"] {
        assert!(output.stderr.contains(words), "{words}: {output:#?}");
    }
    let output = python(&ground, "traffic: { dns: leave }", "print('here')");
    assert_eq!(output.stdout, "here\n", "{output:#?}");
}
