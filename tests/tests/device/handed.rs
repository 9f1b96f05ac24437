//! A device that somebody else made, and handed on.

use lab::{Family, Lab, Service, Signal, Status};
use steer_tests::{Records, instance_name, steer};

/// Makes a device where it runs, goes elsewhere, and becomes another program with the device open.
const MAKE: &str = r"
import ctypes, fcntl, os, struct, subprocess, sys
elsewhere, flags, words = sys.argv[1], int(sys.argv[2], 16), sys.argv[3:]
tun = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', b'mine', flags))
for line in ['addr add 10.9.0.2/24 dev mine', 'addr add fd00:9::2/64 dev mine nodad',
             'link set mine up', 'route add default dev mine', '-6 route add default dev mine']:
    subprocess.run(['ip', *line.split()], check=True)
there = os.open(elsewhere, os.O_RDONLY)
if ctypes.CDLL(None, use_errno=True).setns(there, 0x40000000):
    raise OSError(ctypes.get_errno(), 'setns')
os.set_inheritable(tun, True)
os.execv(words[0], [word.replace('FD', str(tun)) for word in words])
";

/// IFF_TUN | IFF_NO_PI, and with IFF_VNET_HDR.
const KINDS: [&str; 2] = ["1001", "5001"];

#[test]
fn a_device_of_another_namespace_is_steered_by_its_descriptor() {
    lab::require!(Namespaces, Program("python3"), Path("/dev/net/tun"));
    for flags in KINDS {
        let lab = Lab::new("handed");
        let (app, gate, srv) = (lab.host("app"), lab.host("gate"), lab.host("srv"));
        lab.link(&gate, &srv);
        let folder = tempfile::tempdir().expect("a temporary directory");
        let log = folder.path().join("log.jsonl");
        let up = app
            .program("python3")
            .args(["-c", MAKE])
            .arg(gate.namespace_path())
            .arg(flags)
            .arg(steer())
            .args(["up", "-m", "tun", "--name", &instance_name()])
            .args(["--tun-fd", "FD", "--log"])
            .arg(&log)
            .env("STEER_RUN_DIR", folder.path().join("run"))
            .spawn();
        up.wait_line(|line| line.contains("in force"));
        let server = srv.serve(7, Service::Echo);
        let udp = srv.serve_udp(9);
        for family in Family::BOTH {
            let to = srv.at(family, 7);
            let mut client = app.connect(to).expect("it is steered");
            client.send(b"hello").expect("the connection stands");
            assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
            assert_eq!(client.peer(), to);
            let to = srv.at(family, 9);
            let answer = app.udp(family).ask(to, b"hello");
            assert_eq!(answer, Ok((b"hello".to_vec(), to)));
        }
        // The engine dialled from where it is.
        let from = server.seen().into_iter().map(|one| one.peer.ip());
        let from = from.chain(udp.seen().into_iter().map(|one| one.peer.ip()));
        assert!(
            from.clone()
                .all(|ip| Family::BOTH.map(|it| gate.address(it)).contains(&ip))
        );
        assert_eq!(from.count(), 4);
        up.signal(Signal::SIGTERM);
        assert_eq!(up.wait(), Status::Exited(0), "{}", up.stderr());
        let records = Records::of(log).all();
        assert_eq!(records.len(), 4, "{records:#?}");
        assert!(
            records.iter().all(|it| it["outcome"] == "ok"),
            "{records:#?}"
        );
        // Whoever had it is gone, and so is the device.
        assert!(!app.ip(&["link", "show"]).contains("mine"));
    }
}

/// What is no device is said to be none, and nothing has changed.
#[test]
fn a_descriptor_that_is_no_device_is_refused() {
    lab::require!(Namespaces, Path("/dev/net/tun"));
    let app = Lab::new("nodevice").host("app");
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (open, fd) in [("exec 7</dev/null", "7"), ("exec 7>&-", "7")] {
        let script = format!("{open}; exec \"$0\" up -m tun --tun-fd {fd}");
        let program = app.program("bash").args(["-c", &script]).arg(steer());
        let output = program
            .env("STEER_RUN_DIR", folder.path().join("run"))
            .run();
        assert_ne!(output.status, Status::Exited(0), "{open}: {output:#?}");
        for word in ["7", "help:"] {
            assert!(output.stderr.contains(word), "{open}: {output:#?}");
        }
        assert!(!folder.path().join("run").exists(), "{open}");
    }
}
