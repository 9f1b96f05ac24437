//! The driver of devices against the kernel.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};

use lab::{Host, Lab, Snapshot, eventually, require};
use steer_core::address::Family;
use steer_core::driver::{Change, Driver, DriverError};
use steer_core::instance::Instance;
use steer_core::object::{
    Device, DeviceQueue, Domain, Layer, Object, Offloads, device_address, device_net,
};
use steer_core::plan::Netns;
use steer_kernel::device::DeviceDriver;

fn host() -> Host {
    Lab::new("devices").host("app")
}

fn netns(host: &Host) -> Netns {
    Netns::Path(host.namespace_path().to_str().unwrap().to_owned())
}

fn main() -> Instance {
    Instance::new("main").unwrap()
}

fn device(layer: Layer) -> Device {
    let address = |family| (device_address(family), device_net(family).prefix());
    Device {
        name: Device::name_of(&main(), layer),
        layer,
        mtu: 1400,
        addresses: Family::ALL.map(address).to_vec(),
        queues: 2,
        bridge: None,
        forwards: false,
    }
}

fn set(
    driver: &mut DeviceDriver,
    host: &Host,
    from: &[&Device],
    to: &[&Device],
) -> Result<(), DriverError> {
    let objects = |list: &[&Device]| -> Vec<Object> {
        list.iter().map(|d| Object::Device((*d).clone())).collect()
    };
    driver.set(&Change {
        instance: &main(),
        netns: &netns(host),
        from: &objects(from),
        to: &objects(to),
    })
}

fn names(host: &Host) -> Vec<String> {
    let shown = host.ip(&["-o", "link"]);
    let name = |line: &str| line.split(": ").nth(1).map(str::to_owned);
    shown.lines().filter_map(name).collect()
}

fn sysctl(host: &Host, name: &str) -> String {
    host.enter(|| std::fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap())
        .trim()
        .to_owned()
}

/// A packet of UDP over IPv4 to port 9, without a checksum of its own.
fn datagram(from: [u8; 4], to: [u8; 4], port: u16) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(from);
    packet.extend(to);
    let sum: u32 = packet
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&(!sum).to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(port.to_be_bytes());
    packet.extend([0, 9, 0, 0, b'x']);
    packet
}

#[test]
fn a_device_is_made_with_its_addresses_queues_and_settings_and_removed_again() {
    require!(Root);
    let host = host();
    let before = Snapshot::take(&host).of_host_only();
    let wanted = device(Layer::Ip);
    let mut driver = DeviceDriver::new();
    set(&mut driver, &host, &[], &[&wanted]).unwrap();

    let shown = host.ip(&["-d", "link", "show", "dev", "tun-main"]);
    for word in [
        "mtu 1400",
        "alias steer main",
        "tun type tun",
        "persist off",
        "numqueues 2",
        "UP",
    ] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let shown = host.ip(&["addr", "show", "dev", "tun-main"]);
    assert!(shown.contains("inet 192.0.0.65/26"), "{shown}");
    assert!(shown.contains("inet6 fd5e:7ee2:0:f8e4::1/64"), "{shown}");
    assert!(!shown.contains("fe80"), "{shown}");
    assert_eq!(sysctl(&host, "ipv4/conf/tun-main/forwarding"), "0");
    // Addresses can be used at once.
    for family in Family::ALL {
        host.enter(|| {
            let listener = TcpListener::bind((device_address(family), 0)).unwrap();
            std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        });
    }

    let shared = driver.shared().unwrap();
    let queues: Vec<DeviceQueue> = shared.iter().map(|s| s.label.parse().unwrap()).collect();
    let of_main = |queue: &DeviceQueue| queue.name == "tun-main";
    assert!(queues.iter().all(of_main), "{queues:?}");
    let numbers: Vec<u16> = queues.iter().map(|queue| queue.queue).collect();
    assert_eq!(numbers, [0, 1]);
    assert!(queues[0].offloads >= Offloads::Tso, "{queues:?}");

    // What is written to a queue arrives, behind a header that says nothing.
    let socket = host.enter(|| UdpSocket::bind((device_address(Family::V4), 9)).unwrap());
    socket.set_read_timeout(Some(lab::DEADLINE)).unwrap();
    let mut queue = File::from(shared.into_iter().next().unwrap().fd);
    let mut bytes = vec![0; 10];
    bytes.extend(datagram([192, 0, 0, 70], [192, 0, 0, 65], 9));
    queue.write_all(&bytes).unwrap();
    let mut read = [0; 8];
    let (length, from) = socket.recv_from(&mut read).unwrap();
    assert_eq!(
        (&read[..length], from.ip()),
        (&b"x"[..], IpAddr::from([192, 0, 0, 70]))
    );

    // Twice is once.
    let once = host.ip(&["-d", "addr"]);
    set(&mut driver, &host, &[&wanted], &[&wanted]).unwrap();
    assert_eq!(host.ip(&["-d", "addr"]), once);

    // Whoever waits for a packet learns that there will be none.
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        loop {
            if let Err(error) = queue.read(&mut bytes) {
                return error;
            }
        }
    });
    set(&mut driver, &host, &[&wanted], &[]).unwrap();
    // EFAULT is for whoever waits, EBADFD for whoever comes later.
    let error = reader.join().unwrap().raw_os_error();
    assert!(
        matches!(error, Some(nix::libc::EFAULT | nix::libc::EBADFD)),
        "{error:?}"
    );
    set(&mut driver, &host, &[&wanted], &[]).unwrap();
    Snapshot::take(&host).of_host_only().assert_same_as(&before);
}

#[test]
fn a_device_that_is_a_port_of_a_bridge_has_no_address_and_one_of_this_host_asks_neighbours() {
    require!(Root);
    let host = host();
    host.ip(&["link", "add", "br7", "type", "bridge"]);
    let port = Device {
        addresses: Vec::new(),
        bridge: Some("br7".to_owned()),
        ..device(Layer::Ethernet)
    };
    let own = Device {
        name: "tap-own".to_owned(),
        forwards: true,
        ..device(Layer::Ethernet)
    };
    let mut driver = DeviceDriver::new();
    set(&mut driver, &host, &[], &[&port, &own]).unwrap();
    let shown = host.ip(&["addr", "show", "dev", "tap-main"]);
    assert!(shown.contains("master br7"), "{shown}");
    assert!(!shown.contains("inet"), "{shown}");
    let shown = host.ip(&["addr", "show", "dev", "tap-own"]);
    assert!(shown.contains("inet6 fe80::2/64"), "{shown}");
    assert!(!shown.contains("tentative"), "{shown}");
    assert_eq!(sysctl(&host, "ipv4/conf/tap-own/forwarding"), "1");
    assert_eq!(sysctl(&host, "ipv4/conf/all/forwarding"), "0");
    let both = [&port, &own];
    set(&mut driver, &host, &both, &[]).unwrap();
    assert_eq!(names(&host), ["lo", "br7"]);
}

#[test]
fn sources_are_checked_loosely_where_they_are_checked_and_else_not() {
    require!(Root);
    let host = host();
    let wanted = device(Layer::Ip);
    for (all, own) in [("0", "0"), ("1", "2"), ("2", "2")] {
        host.set_sysctl("net/ipv4/conf/all/rp_filter", all);
        let mut driver = DeviceDriver::new();
        set(&mut driver, &host, &[], &[&wanted]).unwrap();
        assert_eq!(sysctl(&host, "ipv4/conf/tun-main/rp_filter"), own);
        assert_eq!(sysctl(&host, "ipv4/conf/all/rp_filter"), all);
        set(&mut driver, &host, &[&wanted], &[]).unwrap();
    }
}

#[test]
fn a_device_goes_with_its_last_descriptor_and_a_successor_has_it_by_the_lifelines() {
    require!(Root);
    let host = host();
    let wanted = device(Layer::Ip);
    let mut first = DeviceDriver::new();
    set(&mut first, &host, &[], &[&wanted]).unwrap();
    let lifelines = first.lifelines().unwrap();
    drop(first);
    let index = host.ip(&["-o", "link", "show", "dev", "tun-main"]);
    let mut next = DeviceDriver::new();
    for line in lifelines {
        next.adopt(line);
    }
    set(&mut next, &host, &[&wanted], &[&wanted]).unwrap();
    assert_eq!(host.ip(&["-o", "link", "show", "dev", "tun-main"]), index);
    assert_eq!(next.shared().unwrap().len(), 2);
    drop(next);
    // A program that another test starts has its descriptors until it runs.
    eventually("the device is gone", || {
        (names(&host) == ["lo"]).then_some(())
    });
}

#[test]
fn what_a_dead_instance_left_is_replaced_and_without_one_is_found_and_removed() {
    require!(Root);
    let host = host();
    let wanted = device(Layer::Ip);
    let mut dead = DeviceDriver::new();
    set(&mut dead, &host, &[], &[&wanted]).unwrap();
    let kept = dead.shared().unwrap();
    drop(dead);
    let more = Device {
        queues: 3,
        ..wanted
    };
    let mut driver = DeviceDriver::new();
    set(&mut driver, &host, &[], &[&more]).unwrap();
    assert_eq!(driver.shared().unwrap().len(), 3);
    // The other's descriptors lead nowhere.
    let mut queue = File::from(kept.into_iter().next().unwrap().fd);
    assert!(queue.write(&[0; 64]).is_err());

    let kept = driver.shared().unwrap();
    drop(driver);
    let mut cleaner = DeviceDriver::new();
    let found = cleaner.observe(&netns(&host)).unwrap();
    let [one] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (one.what.as_str(), &one.instance),
        ("device tun-main", &Some(main()))
    );
    cleaner.remove(one).unwrap();
    cleaner.remove(one).unwrap();
    assert_eq!(cleaner.observe(&netns(&host)).unwrap(), []);
    assert_eq!(names(&host), ["lo"]);
    drop(kept);
}

#[test]
fn a_device_of_others_is_not_ours_whatever_it_is_called_and_is_left_alone() {
    require!(Root);
    let host = host();
    // One that says what ours say, and one that is what ours are.
    host.ip(&["link", "add", "br7", "type", "bridge"]);
    host.ip(&["link", "set", "br7", "alias", "steer main"]);
    host.ip(&["tuntap", "add", "dev", "tun-main", "mode", "tun"]);
    let before = Snapshot::take(&host).of_host_only();
    let mut driver = DeviceDriver::new();
    assert_eq!(driver.observe(&netns(&host)).unwrap(), []);
    let wanted = device(Layer::Ip);
    let error = set(&mut driver, &host, &[], &[&wanted]).unwrap_err();
    assert_eq!(error.domain, Domain::Device);
    assert!(error.to_string().contains("another program"), "{error}");
    assert!(
        error.help().contains("another instance name"),
        "{}",
        error.help()
    );
    set(&mut driver, &host, &[&wanted], &[]).unwrap();
    Snapshot::take(&host).of_host_only().assert_same_as(&before);
}

#[test]
fn a_change_that_fails_leaves_what_stood() {
    require!(Root);
    let host = host();
    let before = Snapshot::take(&host).of_host_only();
    let no_bridge = Device {
        name: "tap-x".to_owned(),
        bridge: Some("br-none".to_owned()),
        ..device(Layer::Ethernet)
    };
    let wanted = device(Layer::Ip);
    let mut driver = DeviceDriver::new();
    let error = set(&mut driver, &host, &[], &[&wanted, &no_bridge]).unwrap_err();
    assert!(error.to_string().contains("no bridge"), "{error}");
    assert!(error.help().contains("type bridge"), "{}", error.help());
    Snapshot::take(&host).of_host_only().assert_same_as(&before);

    set(&mut driver, &host, &[], &[&wanted]).unwrap();
    let stood = host.ip(&["addr"]);
    let error = set(&mut driver, &host, &[&wanted], &[&wanted, &no_bridge]).unwrap_err();
    assert!(error.to_string().contains("no bridge"), "{error}");
    assert_eq!(host.ip(&["addr"]), stood);
    let short = Device {
        mtu: 70_000,
        ..wanted.clone()
    };
    let error = set(&mut driver, &host, &[&wanted], &[&short]).unwrap_err();
    assert!(error.help().contains("device.mtu"), "{}", error.help());
    assert!(
        host.ip(&["link"])
            .contains("tun-main: <POINTOPOINT,MULTICAST,NOARP,UP")
    );
    set(&mut driver, &host, &[&wanted], &[]).unwrap();
    Snapshot::take(&host).of_host_only().assert_same_as(&before);
}

#[test]
fn a_device_that_others_removed_or_renamed_while_it_was_read_is_told_of() {
    require!(Root);
    let host = host();
    let wanted = device(Layer::Ip);
    for (harm, told) in [
        (&["link", "del", "tun-main"][..], "removed it"),
        (
            &["link", "set", "tun-main", "name", "other"],
            "renamed it to other",
        ),
    ] {
        let mut driver = DeviceDriver::new();
        set(&mut driver, &host, &[], &[&wanted]).unwrap();
        host.ip(harm);
        let error = set(&mut driver, &host, &[&wanted], &[&wanted]).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        set(&mut driver, &host, &[&wanted], &[]).unwrap();
        assert_eq!(names(&host), ["lo"]);
    }
}

#[test]
fn a_device_has_ipv6_where_others_have_none_by_default() {
    require!(Root);
    let host = host();
    host.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    let mut driver = DeviceDriver::new();
    set(&mut driver, &host, &[], &[&device(Layer::Ip)]).unwrap();
    let shown = host.ip(&["addr", "show", "dev", "tun-main"]);
    assert!(shown.contains("inet6 fd5e:7ee2:0:f8e4::1/64"), "{shown}");
    assert_eq!(sysctl(&host, "ipv6/conf/default/disable_ipv6"), "1");
}
