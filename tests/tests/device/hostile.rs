//! Packets that no program sends, written into the device.

use std::fs;

use lab::{Capture, Family, Service};
use steer_tests::Mount;

use crate::scene::{BOTH, Scene};

/// Writes packets into a device by a packet socket: `python3 -c … DEVICE LINK TO4 TO6 ROUNDS`.
///
/// LINK is what stands before each packet, in hexadecimal, but for the type.
const WRITE: &str = r"
import ipaddress, os, random, socket, struct, sys
device, link = sys.argv[1], bytes.fromhex(sys.argv[2])
to4, to6 = (ipaddress.ip_address(a).packed for a in sys.argv[3:5])
rounds, random = int(sys.argv[5]), random.Random(6)
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW if link else socket.SOCK_DGRAM)
sent = 0

def total(data):
    data += b'\0' * (len(data) % 2)
    s = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff

def send(packet, kind):
    global sent
    try:
        if link: out.sendto(link + struct.pack('!H', kind) + packet, (device, kind))
        else: out.sendto(packet, (device, kind))
        sent += 1
    except OSError as error:
        # Its queue is full, or the kernel itself takes no packet like this.
        if error.errno not in (105, 22, 90): raise

def v4(source, to, protocol, data, length=None, ihl=5, fragment=0, ttl=64, good=True):
    length = 20 + len(data) if length is None else length
    head = struct.pack('!BBHHHBBH4s4s', 0x40 | ihl, 0, length, random.getrandbits(16), fragment, ttl, protocol, 0, source, to)
    check = total(head) if good else 0x1234
    return head[:10] + struct.pack('!H', check) + head[12:] + data

def v6(source, to, protocol, data, length=None):
    return struct.pack('!IHBB16s16s', 6 << 28, len(data) if length is None else length, protocol, 64, source, to) + data

def tcp(source, to, flags, good=True, offset=5, port=None):
    head = struct.pack('!HHIIBBHHH', random.randrange(1024, 65536), port or random.randrange(1, 65536), random.getrandbits(32), 0, offset << 4, flags, 65535, 0, 0)
    pseudo = source + to + (struct.pack('!BBH', 0, 6, len(head)) if len(source) == 4 else struct.pack('!IHBB', len(head), 0, 0, 6))
    check = total(pseudo + head) if good else 0x4321
    return head[:16] + struct.pack('!H', check) + head[18:]

def udp(source, to, data, length=None, good=True):
    head = struct.pack('!HHHH', random.randrange(1024, 65536), random.randrange(1, 65536), 8 + len(data) if length is None else length, 0)
    pseudo = source + to + (struct.pack('!BBH', 0, 17, len(head) + len(data)) if len(source) == 4 else struct.pack('!IHBB', len(head) + len(data), 0, 0, 17))
    check = total(pseudo + head + data) if good else 0x4321
    return head[:6] + struct.pack('!H', check) + data

ip = lambda text: ipaddress.ip_address(text).packed
# All of one network, that the witness knows.
some4 = lambda: ip('198.51.100.0')[:3] + bytes([random.randrange(1, 255)])
some6 = lambda: ip('2001:db8:bad::')[:8] + random.randbytes(8)
for each in range(200):
    send(random.randbytes(random.randrange(1, 200)), 0x0800)
    send(bytes([0x45]) + random.randbytes(random.randrange(0, 80)), 0x0800)
    send(bytes([0x60]) + random.randbytes(random.randrange(0, 80)), 0x86dd)
    source, source6 = some4(), some6()
    syn = tcp(source, to4, 2)
    send(v4(source, to4, 6, syn, length=random.randrange(0, 65536)), 0x0800)
    send(v4(source, to4, 6, syn, ihl=random.randrange(0, 16)), 0x0800)
    send(v4(source, to4, 6, syn, good=False), 0x0800)
    send(v4(source, to4, 6, tcp(source, to4, 2, good=False)), 0x0800)
    send(v4(source, to4, 6, tcp(source, to4, 2, offset=random.choice([0, 4, 15]))), 0x0800)
    send(v4(source, to4, 6, tcp(source, to4, random.randrange(256))), 0x0800)
    send(v4(source, to4, 17, udp(source, to4, b'x' * 9, length=random.choice([0, 7, 40000]))), 0x0800)
    send(v4(source, to4, 17, udp(source, to4, b'x' * 9, good=False)), 0x0800)
    send(v4(source, to4, 17, random.randbytes(64), fragment=random.choice([0x2000, 0x2001, 0x1fff, 1, 2])), 0x0800)
    send(v4(source, to4, random.randrange(256), random.randbytes(40)), 0x0800)
    send(v4(source, to4, 1, random.randbytes(40)), 0x0800)
    send(v6(source6, to6, 6, tcp(source6, to6, 2), length=random.randrange(0, 65536)), 0x86dd)
    send(v6(source6, to6, random.choice([0, 43, 44, 60, 135, 59]), random.randbytes(64)), 0x86dd)
    send(v6(source6, to6, 17, udp(source6, to6, b'x' * 9, good=False)), 0x86dd)
    send(v6(source6, to6, 58, random.randbytes(40)), 0x86dd)
    for nobody in ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255', '192.0.0.65', '192.0.0.66', '192.0.0.80']:
        nobody = ip(nobody)
        send(v4(nobody, to4, 6, tcp(nobody, to4, 2)), 0x0800)
        send(v4(source, nobody, 6, tcp(source, nobody, 2)), 0x0800)
        send(v4(nobody, to4, 17, udp(nobody, to4, b'x')), 0x0800)
    for nobody in ['::', '::1', 'ff02::1', '::ffff:127.0.0.1', 'fd5e:7ee2:0:f8e4::1', 'fd5e:7ee2:0:f8e4::1:7']:
        nobody = ip(nobody)
        send(v6(nobody, to6, 6, tcp(nobody, to6, 2)), 0x86dd)
        send(v6(source6, nobody, 17, udp(source6, nobody, b'x')), 0x86dd)
for each in range(rounds):
    source, source6 = some4(), some6()
    if each % 2: send(v4(source, to4, 6, tcp(source, to4, 2)), 0x0800)
    else: send(v6(source6, to6, 6, tcp(source6, to6, 2)), 0x86dd)
print(sent)
";

/// SYNs of the flood.
const FLOOD: u32 = 20_000;

#[test]
fn hostile_packets_and_a_flood_of_syns_stop_nobody() {
    lab::require!(Root, Program("python3"), Path("/dev/net/tun"));
    for mount in BOTH {
        let scene = Scene::new("hostile", mount, "");
        let Scene { rig, stage } = &scene;
        let server = stage.srv.serve(7, Service::Echo);
        let udp = stage.srv.serve_udp(9);
        speak(&scene);
        let before = resident(rig.proc().pid());
        let witness = Capture::start(&stage.app, &stage.app.uplink().name);

        let device = scene.device(mount);
        let link = match mount {
            // From the device's own end, to the engine.
            Mount::Tap => format!("025e7ee20001{}", hardware(&scene, &device)),
            _ => String::new(),
        };
        let [v4, v6] = Family::BOTH.map(|family| stage.srv.address(family).to_string());
        let words = [device, link, v4, v6, FLOOD.to_string()];
        let write = scene.program("python3").args(["-c", WRITE]).args(words);
        let said = write.run().expect_success();
        let sent: u32 = said.trim().parse().expect("a number");
        assert!(sent > FLOOD, "{mount:?}: {sent}");

        // Those of before are not disturbed, and others are served.
        speak(&scene);
        let after = resident(rig.proc().pid());
        assert!(
            after < before + 64 * 1024,
            "{mount:?}: {before} kB, then {after} kB"
        );
        // Nothing goes to those who were said to have sent it.
        witness.barrier();
        let reflected = witness.packets(|packet| {
            let to = packet.destination.ip().to_string();
            to.starts_with("198.51.100.") || to.starts_with("2001:db8:bad:")
        });
        assert_eq!(reflected, [], "{mount:?}");
        // No handshake was ended, so no connection was dialled but ours.
        assert_eq!(server.seen().len(), 4, "{mount:?}");
        assert_eq!(
            udp.seen()
                .iter()
                .filter(|it| it.payload == b"hello")
                .count(),
            4
        );
        let said = scene.rig.stop();
        for reason in ["checksum", "source", "length"] {
            let counted = said
                .lines()
                .any(|line| line.contains("not taken") && line.contains(reason));
            assert!(counted, "{mount:?} {reason}: {said}");
        }
    }
}

/// Connections and datagrams of both families.
fn speak(scene: &Scene) {
    for family in Family::BOTH {
        let to = scene.stage.at(family, 7);
        let mut client = scene.rig.connect(to).expect("the server listens");
        client.send(b"hello").expect("the connection stands");
        assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
        let to = scene.stage.at(family, 9);
        let answer = scene.rig.udp(family).ask(to, b"hello");
        assert_eq!(answer, Ok((b"hello".to_vec(), to)));
    }
}

/// The memory of a process, in kB.
fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a process has memory")
}

/// The hardware address of a device, in hexadecimal.
fn hardware(scene: &Scene, device: &str) -> String {
    let shown = scene.stage.app.ip(&["link", "show", device]);
    let mut words = shown.split_whitespace();
    words
        .find(|word| *word == "link/ether")
        .expect("a link layer");
    words.next().expect("an address").replace(':', "")
}
