//! Writes the inputs that fuzzing begins with: `cargo run --example seeds -- corpus/packets`.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use steer_core::address::Family;
use steer_fuzz::{Record, write};
use steer_tun::packet::build::{Ends, Head, Message, Sum, fragments, icmp};
use steer_tun::packet::{Gso, Offload, Transport, checksum};

fn main() -> std::io::Result<()> {
    let to = std::env::args().nth(1).expect("a directory to write to");
    let write_one = |name: &str, frames: bool, records: &[Record]| {
        let bytes = write(frames, true, records);
        std::fs::write(Path::new(&to).join(name), bytes)
    };
    for family in Family::ALL {
        let name = |what: &str| match family {
            Family::V4 => format!("{what}-v4"),
            Family::V6 => format!("{what}-v6"),
        };
        let (client, server) = (client(family), server(family));
        let ping = ping(family, &[7; 40]);
        write_one(&name("tcp"), false, &connection(family))?;
        write_one(&name("tcp-begun"), false, &connection(family)[..2])?;
        write_one(
            &name("udp"),
            false,
            &[plain(udp(client, server, b"question"))],
        )?;
        write_one(&name("udp-joined"), false, &[joined(client, server)])?;
        write_one(&name("echo"), false, &[plain(ping.clone())])?;
        write_one(
            &name("hops"),
            false,
            &[plain(used_up(udp(client, server, b"far")))],
        )?;
        write_one(&name("fragments"), false, &pieces(family))?;
        let mut spoiled = pieces(family);
        spoiled.insert(1, spoiled[0].clone());
        spoiled.swap(1, 2);
        spoiled[1].bytes[41] ^= 1;
        write_one(&name("fragments-overlap"), false, &spoiled)?;
        write_one(&name("error"), false, &error(family))?;
        write_one(&name("protocol"), false, &[plain(other(family))])?;
        let framed = framed(family, &udp(client, server, b"by a link"));
        write_one(&name("frame"), true, &[framed, discovery(family)])?;
    }
    write_one("dhcp", true, &[dhcp()])?;
    write_one("extension-headers", false, &[plain(extended())])?;
    write_one("empty", false, &[])
}

fn client(family: Family) -> SocketAddr {
    match family {
        Family::V4 => "10.9.0.2:40000".parse(),
        Family::V6 => "[fd00:9::2]:40000".parse(),
    }
    .expect("an address")
}

fn server(family: Family) -> SocketAddr {
    match family {
        Family::V4 => "203.0.113.7:443".parse(),
        Family::V6 => "[2001:db8::7]:443".parse(),
    }
    .expect("an address")
}

fn plain(bytes: Vec<u8>) -> Record {
    Record {
        repaired: true,
        bytes,
        ..Record::default()
    }
}

fn packet(ends: Ends, transport: Transport, payload: &[u8]) -> Vec<u8> {
    let head = Head::ip(ends, transport, 64, None, payload.len()).expect("a short packet");
    [head.bytes(), payload].concat()
}

fn ends(from: SocketAddr, to: SocketAddr) -> Ends {
    Ends::new(from.ip(), to.ip()).expect("one family")
}

fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let sum = Sum::Whole(checksum::sum(payload));
    let head = Head::udp(from, to, None, payload.len(), sum).expect("a short datagram");
    [head.bytes(), payload].concat()
}

fn joined(from: SocketAddr, to: SocketAddr) -> Record {
    let payload = [9; 2500];
    let head = Head::udp(from, to, None, payload.len(), Sum::Partial).expect("a short datagram");
    let headers = u16::try_from(head.len()).expect("short headers");
    let gso = Gso {
        kind: Gso::UDP,
        ecn: false,
        headers,
        size: 1000,
    };
    let offload = Offload {
        partial: Some((headers - 8, 6)),
        valid: false,
        gso: Some(gso),
    };
    Record {
        header: Some(offload.bytes(0)),
        bytes: [head.bytes(), &payload].concat(),
        ..Record::default()
    }
}

fn segment(
    from: SocketAddr,
    to: SocketAddr,
    flags: u8,
    numbers: (u32, u32),
    data: &[u8],
) -> Record {
    let ends = ends(from, to);
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&from.port().to_be_bytes());
    segment[2..4].copy_from_slice(&to.port().to_be_bytes());
    segment[4..8].copy_from_slice(&numbers.0.to_be_bytes());
    segment[8..12].copy_from_slice(&numbers.1.to_be_bytes());
    segment[12] = 5 << 4;
    segment[13] = flags;
    segment[14] = 0xff;
    segment.extend(data);
    let sum = ends.pseudo(Transport::Tcp, segment.len()) + checksum::sum(&segment);
    segment[16..18].copy_from_slice(&(!checksum::fold(sum)).to_be_bytes());
    plain(packet(ends, Transport::Tcp, &segment))
}

/// A connection from its first segment to its last, with the answers of the engine's kernel to the
/// first stand-in.
fn connection(family: Family) -> Vec<Record> {
    let (client, server) = (client(family), server(family));
    let flows = steer_tun::flows::Flows::new(64, 15_001);
    let key = steer_tun::flows::Key::new(client, server);
    let hop = steer_tun::wire::Hop::Host;
    let flow = flows.begin(key, hop, std::time::Instant::now());
    let stand_in = flow.expect("there is room").stand_in().address();
    let listener = SocketAddr::new(steer_core::object::device_address(family), 15_001);
    vec![
        segment(client, server, 0x02, (100, 0), b""),
        segment(listener, stand_in, 0x12, (900, 101), b""),
        segment(client, server, 0x10, (101, 901), b""),
        segment(client, server, 0x18, (101, 901), b"GET / HTTP/1.0\r\n\r\n"),
        segment(listener, stand_in, 0x18, (901, 119), b"200"),
        segment(client, server, 0x11, (119, 904), b""),
        segment(listener, stand_in, 0x11, (904, 120), b""),
        segment(client, server, 0x10, (120, 905), b""),
        segment(client, server, 0x04, (120, 0), b""),
    ]
}

fn ping(family: Family, body: &[u8]) -> Vec<u8> {
    let ends = ends(client(family), server(family));
    let kind = match family {
        Family::V4 => 8,
        Family::V6 => 128,
    };
    let message = Message {
        kind,
        code: 0,
        rest: [0, 9, 0, 1],
    };
    packet(ends, Transport::Icmp, &icmp(ends, message, body))
}

fn used_up(mut packet: Vec<u8>) -> Vec<u8> {
    let at = if packet[0] >> 4 == 4 { 8 } else { 7 };
    packet[at] = 1;
    packet
}

fn pieces(family: Family) -> Vec<Record> {
    let (client, server) = (client(family), server(family));
    let whole = udp(client, server, &[5; 1500]);
    let payload = &whole[whole.len() - 1508..];
    let pieces = fragments(ends(client, server), Transport::Udp, 7, payload, 600);
    pieces
        .map(|(head, piece)| plain([head.bytes(), piece].concat()))
        .collect()
}

/// A connection, and a router's word that one of its packets was too long.
fn error(family: Family) -> Vec<Record> {
    let (client, server) = (client(family), server(family));
    let quoted = segment(server, client, 0x10, (901, 119), &[3; 60]).bytes;
    let (kind, code) = match family {
        Family::V4 => (3, 4),
        Family::V6 => (2, 0),
    };
    let message = Message {
        kind,
        code,
        rest: [0, 0, 5, 0],
    };
    let ends = ends(client, server);
    let error = packet(ends, Transport::Icmp, &icmp(ends, message, &quoted));
    vec![connection(family).swap_remove(0), plain(error)]
}

fn other(family: Family) -> Vec<u8> {
    packet(
        ends(client(family), server(family)),
        Transport::Other(132),
        &[0; 30],
    )
}

fn framed(family: Family, packet: &[u8]) -> Record {
    let kind: [u8; 2] = match family {
        Family::V4 => [8, 0],
        Family::V6 => [0x86, 0xdd],
    };
    let header = [&steer_tun::segment::GATEWAY[..], &STATION, &kind].concat();
    plain([&header, packet].concat())
}

/// A station asks for the gateway's hardware address.
fn discovery(family: Family) -> Record {
    let bytes = match family {
        Family::V4 => [
            &[0xff; 6][..],
            &STATION,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &STATION,
            &[10, 9, 0, 2, 0, 0, 0, 0, 0, 0, 10, 9, 0, 1],
        ]
        .concat(),
        Family::V6 => {
            let from: IpAddr = client(Family::V6).ip();
            let group: IpAddr = "ff02::1:ff00:1".parse().expect("an address");
            let ends = Ends::new(from, group).expect("one family");
            let mut body = vec![0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1];
            body.extend(STATION);
            let message = Message {
                kind: 135,
                code: 0,
                rest: [0; 4],
            };
            let asked = icmp(ends, message, &body);
            let head = Head::ip(ends, Transport::Icmp, 255, None, asked.len());
            let head = head.expect("a short packet");
            let link = [&[0x33, 0x33, 0xff, 0, 0, 1][..], &STATION, &[0x86, 0xdd]].concat();
            [&link, head.bytes(), &asked].concat()
        }
    };
    plain(bytes)
}

fn dhcp() -> Record {
    let mut asked = vec![1, 1, 6, 0, 1, 2, 3, 4];
    asked.resize(28, 0);
    asked.extend(STATION);
    asked.resize(236, 0);
    asked.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 55, 3, 1, 3, 6, 255]);
    let from = "0.0.0.0:68".parse().expect("an address");
    let to = "255.255.255.255:67".parse().expect("an address");
    let link = [&[0xff; 6][..], &STATION, &[8, 0]].concat();
    plain([link, udp(from, to, &asked)].concat())
}

/// A datagram behind headers for every hop and for its destination.
fn extended() -> Vec<u8> {
    let (client, server) = (client(Family::V6), server(Family::V6));
    let datagram = udp(client, server, b"behind");
    let headers = [60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0];
    let mut packet = [&datagram[..40], &headers, &datagram[40..]].concat();
    packet[6] = 0;
    packet[5] += 16;
    packet
}

const STATION: [u8; 6] = [2, 0, 0, 0, 0, 7];
