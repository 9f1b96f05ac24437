//! Real stations: the kernel, and the programs that people have.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;

use lab::{Family, eventually, require};

use crate::scene::{GATEWAY4, GATEWAY6, Link, TAP, setup};

const GATEWAY: &str = "02:5e:7e:e2:00:01";

#[test]
fn the_kernel_finds_the_gateway_of_either_family() {
    require!(Namespaces, Path("/dev/net/tun"));
    let link = Link::new("segment-kernel", &setup()).with_addresses();
    for gateway in [GATEWAY4.to_string(), GATEWAY6.to_string()] {
        // What it sends makes it ask who has the address.
        let to = SocketAddr::new(gateway.parse().expect("an address"), 9);
        let socket = link
            .host
            .enter(|| UdpSocket::bind((Family::of(to.ip()).any(), 0)));
        let sent = socket.and_then(|socket| socket.send_to(b"x", to));
        sent.expect("the network is reached by the device");
        eventually("the kernel knows the gateway", || {
            let neighbours = link.host.ip(&["neigh", "show", &gateway]);
            let known = neighbours.contains(GATEWAY);
            (known && !neighbours.contains("FAILED")).then_some(())
        });
    }
    for own in ["10.9.0.5", "fd00:9::5"] {
        let own = own.parse().expect("an address");
        assert!(link.segment.hop_of(own).is_some(), "{own} is not known");
    }
}

#[test]
fn arping_hears_the_gateway_and_nobody_else() {
    require!(Namespaces, Path("/dev/net/tun"), Program("arping"));
    let link = Link::new("segment-arping", &setup()).with_addresses();
    let arping = |words: &[&str]| {
        let program = link.host.program("arping").args(["-I", TAP, "-w", "2"]);
        program.args(words).run()
    };
    let heard = arping(&["-c", "1", "10.9.0.1"]);
    heard.expect_success();
    let output = arping(&["-c", "1", "10.9.0.7"]);
    assert!(!output.stdout.contains("reply from"), "{output:?}");
    // Duplicate address detection (RFC 5227) finds the gateway's address taken, and another one free.
    for (address, is_taken) in [("10.9.0.1", true), ("10.9.0.9", false)] {
        let output = arping(&["-D", "-c", "1", address]);
        assert_eq!(
            output.stdout.to_lowercase().contains("reply from"),
            is_taken,
            "{output:?}"
        );
    }
}

#[test]
fn a_station_that_takes_the_gateway_s_address_finds_it_in_use() {
    require!(Namespaces, Path("/dev/net/tun"));
    let link = Link::new("segment-dad", &setup());
    link.host
        .set_sysctl(&format!("net/ipv6/conf/{TAP}/accept_dad"), "1");
    let address = format!("{GATEWAY6}/64");
    link.host.ip(&["addr", "add", &address, "dev", TAP]);
    eventually("the address is found in use", || {
        let addresses = link.host.ip(&["-6", "addr", "show", "dev", TAP]);
        addresses.contains("dadfailed").then_some(())
    });
}

#[test]
fn the_programs_of_neighbour_discovery_hear_the_gateway() {
    require!(
        Namespaces,
        Path("/dev/net/tun"),
        Program("ndisc6"),
        Program("rdisc6")
    );
    let link = Link::new("segment-ndisc", &setup()).with_addresses();
    let link_local_of_own = || {
        let addresses = link
            .host
            .ip(&["-6", "addr", "show", "dev", TAP, "scope", "link"]);
        (addresses.contains("fe80") && !addresses.contains("tentative")).then_some(())
    };
    eventually("the station has an address of the link", link_local_of_own);
    for address in [GATEWAY6.to_string(), "fe80::1".to_owned()] {
        let ndisc6 = link.host.program("ndisc6").args([&address, TAP]);
        let said = ndisc6.run().expect_success().to_lowercase();
        assert!(said.contains(GATEWAY), "{said}");
    }
    let said = link.host.program("rdisc6").arg(TAP).run().expect_success();
    for wanted in ["fd00:9::/64", "fd00:9::53", "1400 bytes", "from fe80::1"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn the_kernel_configures_itself_as_the_router_says() {
    require!(Namespaces, Path("/dev/net/tun"));
    let link = Link::new("segment-slaac", &setup());
    eventually("an address of the network", || {
        let addresses = link
            .host
            .ip(&["-6", "addr", "show", "dev", TAP, "scope", "global"]);
        addresses.contains("inet6 fd00:9::").then_some(())
    });
    let routes = link.host.ip(&["-6", "route", "show", "default"]);
    assert!(
        routes.contains(&format!("default via fe80::1 dev {TAP}")),
        "{routes}"
    );
    let mtu = format!("/proc/sys/net/ipv6/conf/{TAP}/mtu");
    let mtu = link.host.enter(|| std::fs::read_to_string(mtu));
    assert_eq!(mtu.expect("a sysctl").trim(), "1400");
}

#[test]
fn udhcpc_gets_an_address_and_gets_it_again() {
    require!(Namespaces, Path("/dev/net/tun"), Program("busybox"));
    let link = Link::new("segment-udhcpc", &setup());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = dir.path().join("script");
    let text = "#!/bin/sh\necho \"$1 ip=$ip mask=$subnet router=$router dns=$dns mtu=$mtu lease=$lease server=$serverid\"\n";
    std::fs::write(&script, text).expect("our directory");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("our file");
    let udhcpc = |words: &[&str]| {
        let program = link
            .host
            .program("busybox")
            .args(["udhcpc", "-i", TAP, "-n", "-q", "-f"]);
        let options = ["-O", "mtu", "-O", "router", "-O", "dns", "-s"];
        let output = program.args(options).arg(&script).args(words).run();
        let said = output.expect_success();
        let bound = said.lines().find(|line| line.starts_with("bound "));
        bound.unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    let first = udhcpc(&[]);
    for wanted in [
        "ip=10.9.0.",
        "mask=255.255.255.0",
        "router=10.9.0.1 ",
        "dns=10.9.0.53 ",
        "mtu=1400",
        "lease=3600",
        "server=10.9.0.1",
    ] {
        assert!(first.contains(wanted), "{wanted}: {first}");
    }
    assert_eq!(udhcpc(&[]), first);
    // One that hears nothing but broadcasts.
    assert_eq!(udhcpc(&["-B"]), first);
    // Another client wants an address of its own, gives it back, and has it again.
    let other = ["-x", "0x3d:01aabbccddeeff", "-r", "10.9.0.200", "-R"];
    for _ in 0..2 {
        let bound = udhcpc(&other);
        assert!(bound.contains("ip=10.9.0.200 "), "{bound}");
    }
    // An address of no network of ours is not given.
    let foreign = udhcpc(&["-x", "0x3d:01aabbccddee00", "-r", "192.168.7.7"]);
    assert!(foreign.contains("ip=10.9.0."), "{foreign}");
}
