//! What a method cannot steer is refused where nothing may leak.

use lab::{Capture, DEADLINE, Failure, Family, Service, Status};
use steer_tests::{Gateway, Mount, Rig, Setup, Stage, User};

pub(crate) fn udp_of_the_scope_is_refused_under_closed(mount: Mount) {
    let stage = Stage::new("udp");
    let server = stage.srv.serve_udp(7);
    let capture = Capture::start(&stage.app, &stage.app.uplink().name);
    let ask = |family| {
        let to = stage.at(family, 7);
        stage.app.ask_udp(to, SECRET, DEADLINE)
    };
    // The witness does see such datagrams.
    for family in Family::BOTH {
        assert_eq!(ask(family).expect("the server answers").0, SECRET);
        capture.wait_for(|packet| packet.family() == family && packet.carries(SECRET));
    }
    let before = server.seen().len();
    capture.clear();
    let setup = Setup {
        on_failure: "closed".to_owned(),
        ..Setup::default()
    };
    let rig = Rig::start(&stage.app, mount, &setup);
    for family in Family::BOTH {
        let failure = rig.udp_unaware(family).ask(stage.at(family, 7), SECRET);
        let failure = failure.expect_err("UDP is refused");
        assert_ne!(failure, Failure::TimedOut, "{family:?}: refused at once, not dropped");
    }
    capture.barrier();
    assert_eq!(capture.packets(|packet| packet.carries(SECRET)), []);
    assert_eq!(server.seen().len(), before);
    drop(rig);
    // And works again afterwards.
    assert_eq!(ask(Family::V4).expect("the server answers").0, SECRET);
}

/// The same for what a router forwards.
pub(crate) fn forwarded_udp_is_refused_under_closed(mount: Mount) {
    let gateway = Gateway::new("gaterefuse");
    let server = gateway.srv.serve_udp(7);
    let witness = Capture::start(&gateway.gate, &gateway.outer.name);
    let ask = |family| gateway.app.udp(family).ask(gateway.at(family, 7), SECRET);
    // The witness does see such datagrams.
    for family in Family::BOTH {
        ask(family).expect("it is forwarded");
        witness.wait_for(|packet| packet.family() == family && packet.carries(SECRET));
    }
    witness.clear();
    let setup = Setup {
        on_failure: "closed".to_owned(),
        ..Setup::scope(gateway.scope())
    };
    let rig = Rig::start(&gateway.gate, mount, &setup);
    for family in Family::BOTH {
        let failure = ask(family).expect_err("UDP is refused");
        assert_ne!(failure, Failure::TimedOut, "{family:?}: refused at once, not dropped");
        // The router's own, and what is for the router, pass.
        gateway.gate.udp(family).ask(gateway.at(family, 7), b"own").expect("it is not meant");
        let of_gate = gateway.gate.serve_udp(8);
        let at = gateway.gate.at(family, 8);
        gateway.app.udp(family).ask(at, b"to the router").expect("it is not meant");
        drop(of_gate);
    }
    assert_eq!(witness.packets(|packet| packet.carries(SECRET)), []);
    assert_eq!(server.seen().len(), 4);
    assert_eq!(rig.finish().len(), 0);
}

/// What a method neither steers nor has to refuse is left alone, and `plan` says so.
pub(crate) fn udp_is_left_alone_under_open(mount: Mount) {
    let stage = Stage::new("udpopen");
    let server = stage.srv.serve_udp(7);
    let setup = Setup {
        on_failure: "open".to_owned(),
        ..Setup::default()
    };
    let rig = Rig::start(&stage.app, mount, &setup);
    for family in Family::BOTH {
        let answer = rig.udp_unaware(family).ask(stage.at(family, 7), SECRET);
        let (payload, from) = answer.expect("the server answers");
        assert_eq!((payload.as_slice(), from), (SECRET, stage.at(family, 7)));
    }
    assert_eq!(server.seen().len(), 2);
    // TCP is steered meanwhile, and alone has a record.
    let (_server, to) = stage.serve(8, Service::Finish);
    drop(rig.connect(to).expect("the server listens"));
    rig.records().wait_to(to);
    assert_eq!(rig.records().all().len(), 1);
}

/// Other protocols than TCP and UDP could carry a program's words out as well.
pub(crate) fn icmp_of_the_scope_is_refused_under_closed(mount: Mount) {
    lab::require!(Program("python3"));
    let stage = Stage::new("icmp");
    let capture = Capture::start(&stage.app, &stage.app.uplink().name);
    let ping = |family: Family| {
        let script = match family {
            Family::V4 => ECHO_V4,
            Family::V6 => ECHO_V6,
        };
        let address = stage.srv.address(family).to_string();
        let words = ["-c", script, &address, std::str::from_utf8(SECRET).expect("text")];
        stage.app.program("python3").args(words)
    };
    let send = |family| ping(family).run().status;
    let secret = |packet: &lab::Packet| packet.carries(SECRET);
    // The witness does see such packets.
    for family in Family::BOTH {
        assert_eq!(send(family), Status::Exited(0));
        capture.wait_for(|packet| packet.family() == family && secret(packet));
    }
    capture.clear();
    let setup = Setup {
        scope: "{ uid: 0 }".to_owned(),
        // Who may make such packets at all.
        user: User::Root,
        on_failure: "closed".to_owned(),
        ..Setup::default()
    };
    let rig = Rig::start(&stage.app, mount, &setup);
    for family in Family::BOTH {
        let output = rig.run(ping(family));
        assert_eq!(output.status, Status::Exited(REFUSED), "{family:?}");
    }
    capture.barrier();
    assert_eq!(capture.packets(secret), []);
    drop(rig);
    assert_eq!(send(Family::V4), Status::Exited(0));
}

/// Sends an echo request with a payload; status 3 says that the kernel refused it.
const ECHO_V4: &str = "
import socket, struct, sys
body = sys.argv[2].encode()
head = lambda check: struct.pack('!BBHHH', 8, 0, check, 7, 7)
data = head(0) + body
total = sum(struct.unpack('!%dH' % (len(data) // 2), data[:len(data) // 2 * 2]))
total += (data[-1] << 8) if len(data) % 2 else 0
total = (total >> 16) + (total & 0xffff)
check = 0xffff & ~(total + (total >> 16))
try:
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    s.sendto(head(check) + body, (sys.argv[1], 0))
except OSError:
    sys.exit(3)
";
const ECHO_V6: &str = "
import socket, struct, sys
try:
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    s.sendto(struct.pack('!BBHHH', 128, 0, 0, 7, 7) + sys.argv[2].encode(), (sys.argv[1], 0))
except OSError:
    sys.exit(3)
";
const REFUSED: i32 = 3;
const SECRET: &[u8] = b"seen outside by nobody";
