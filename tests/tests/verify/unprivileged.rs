//! The methods that need no privilege: the command is in namespaces of its own.

use std::net::SocketAddr;

use lab::{Family, Program, Service, Status};

use crate::site::Site;
use crate::{assert_escaped, greeted, python, sends, verified};

/// `steer run --verify` of both kinds of users, up to the words of the command.
fn runs(site: &Site, method: &str) -> [Program; 2] {
    [site.unprivileged(), site.steer()].map(|steer| {
        steer
            .args(["run", "--verify", "-m", method, "--name", &site.name])
            .arg("--")
    })
}

/// A command of curl, for programs that read the variables.
fn curl(at: SocketAddr, more: &[&str]) -> Vec<String> {
    let words = ["curl", "-sS", "--fail", "-o", "/dev/null"];
    let words = words.iter().chain(more).map(|word| (*word).to_owned());
    words.chain([format!("http://{at}/")]).collect()
}

#[test]
fn a_command_in_namespaces_of_its_own_has_no_way_out() {
    lab::require!(Namespaces, Program("python3"));
    let site = Site::new("netns");
    let _server = site.srv.serve(80, Service::Banner(b"greeting!".to_vec()));
    for family in Family::BOTH {
        let (tcp, udp) = (site.srv.at(family, 80), site.srv.at(family, 9));
        let code = greeted(&[tcp])[2].clone() + &sends(3, udp)[2];
        for run in runs(&site, "netns") {
            let said = verified(run.args(python(&code)));
            let line = "packets counted, none left except through the engine";
            assert!(said.contains(line), "{said}");
        }
    }
}

#[test]
fn an_interface_that_the_command_makes_is_found_out() {
    lab::require!(Namespaces, Program("ip"));
    let site = Site::new("interface");
    // Root keeps its capabilities over the namespaces of the command.
    let [_, run] = runs(&site, "netns");
    let words = "ip link add v0 type veth peer name v1".split(' ');
    let output = run.args(words).run();
    assert_eq!(output.status, Status::Exited(124), "{output:#?}");
    let line = "not verified: the command's network has got other interfaces than lo: v";
    assert!(output.stderr.contains(line), "{output:#?}");
}

#[test]
fn a_program_that_reads_the_variables_is_verified_and_one_that_ignores_them_is_not() {
    lab::require!(Namespaces, Program("curl"), Program("python3"));
    let site = Site::new("env");
    let _server = site.srv.serve(80, Service::Http);
    for family in Family::BOTH {
        let at = site.srv.at(family, 80);
        for run in runs(&site, "env") {
            verified(run.args(curl(at, &[])));
        }
        let (wire, past) = (site.witness(), python(&past(at)));
        for run in runs(&site, "env") {
            let output = run.args(&past).run();
            assert_eq!(output.status, Status::Exited(124), "{output:#?}");
            let line = format!("steer: escaped: tcp {at}, ");
            assert!(output.stderr.contains(&line), "{output:#?}");
            assert_eq!(output.stdout, "ConnectionResetError\n", "{output:#?}");
        }
        // It was named, and held all the same.
        let packets = wire.packets(|packet| packet.destination == at);
        assert!(packets.is_empty(), "{packets:?}");
        let udp = site.srv.at(family, 9);
        for run in runs(&site, "env") {
            let output = run.args(sends(1, udp)).run();
            assert_escaped(&output, &[format!("udp {udp}, 1 packet")]);
        }
    }
}

#[test]
fn programs_whose_calls_are_steered_are_verified() {
    lab::require!(Namespaces, Program("python3"));
    let site = Site::new("calls");
    let _server = site.srv.serve(80, Service::Banner(b"greeting!".to_vec()));
    let at = Family::BOTH.map(|family| site.srv.at(family, 80));
    for method in ["seccomp", "preload"] {
        for run in runs(&site, method) {
            let said = verified(run.args(greeted(&at)));
            let line = "packets counted, none left except through the engine";
            assert!(said.contains(line), "{method}: {said}");
        }
    }
}

#[test]
fn a_program_that_goes_past_a_library_is_named_and_held() {
    lab::require!(Namespaces, Program("python3"));
    let site = Site::new("past");
    let _server = site.srv.serve(80, Service::Http);
    let at = site.srv.at(Family::V4, 80);
    let wire = site.witness();
    // The call itself, by code that was made for it.
    let code = format!(
        "import ctypes, mmap, platform, socket, struct\n\
         s = socket.socket()\n\
         to = struct.pack('!2sH4s8x', struct.pack('=H', 2), {}, socket.inet_aton('{}'))\n\
         code = {{\n\
           'x86_64': b'\\xb8\\x2a\\0\\0\\0\\x0f\\x05\\xc3',\n\
           'aarch64': b'\\x68\\x19\\x80\\xd2\\x01\\0\\0\\xd4\\xc0\\x03\\x5f\\xd6',\n\
         }}[platform.machine()]\n\
         page = mmap.mmap(-1, 4096, prot=7); page.write(code)\n\
         start = ctypes.addressof(ctypes.c_char.from_buffer(page))\n\
         kind = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_long)\n\
         print(kind(start)(s.fileno(), to, 16))",
        at.port(),
        at.ip()
    );
    for run in runs(&site, "preload") {
        let output = run.args(python(&code)).run();
        assert_eq!(output.status, Status::Exited(124), "{output:#?}");
        let line = format!("steer: escaped: tcp {at}, ");
        assert!(output.stderr.contains(&line), "{output:#?}");
    }
    let packets = wire.packets(|packet| packet.destination == at);
    assert!(packets.is_empty(), "{packets:?}");
}

#[test]
fn protocols_without_ports_are_named_too() {
    lab::require!(Namespaces, Program("python3"));
    let site = Site::new("raw");
    let ip = site.srv.address(Family::V4);
    let code = format!(
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)\n\
         try: s.sendto(b'four', ('{ip}', 0)); print('sent')\n\
         except OSError: print('refused')"
    );
    for (method, escapes) in [
        ("netns", false),
        ("seccomp", false),
        ("preload", false),
        ("env", true),
    ] {
        let [_, run] = runs(&site, method);
        let output = run.args(python(&code)).run();
        assert_eq!(output.stdout, "refused\n", "{method}: {output:#?}");
        if escapes {
            assert_escaped(&output, &[format!("protocol 253 {ip}, 1 packet")]);
        } else {
            assert_eq!(output.status, Status::Exited(0), "{method}: {output:#?}");
            assert!(output.stderr.contains("steer: verified: "), "{output:#?}");
        }
    }
}

/// A program that connects without a look at its variables, and succeeds whatever becomes of it.
fn past(at: SocketAddr) -> String {
    format!(
        "import socket\n\
         try:\n  s = socket.create_connection(('{}', {})); s.sendall(b'x'); print(s.recv(9))\n\
         except OSError as e: print(type(e).__name__)",
        at.ip(),
        at.port()
    )
}

#[test]
fn what_a_method_leaves_alone_goes_on_and_is_told_apart() {
    lab::require!(Namespaces, Program("python3"));
    let site = Site::new("leave");
    // A resolver elsewhere, and a service on the host's own loopback.
    let _dns = site.srv.serve_udp(53);
    let _here = site.app.serve(81, Service::Banner(b"greeting!".to_vec()));
    let dns = site.srv.at(Family::V4, 53);
    let local: SocketAddr = "127.0.0.1:81".parse().expect("a literal address");
    let code = format!(
        "{}\nu = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         u.settimeout(20); u.sendto(b'query', ('{}', 53)); print(u.recv(9).decode())",
        greeted(&[local])[2],
        dns.ip()
    );
    for run in runs(&site, "env") {
        let output = run.args(python(&code)).run();
        assert_eq!(output.stdout, "greeting!\nquery\n", "{output:#?}");
        assert_eq!(output.status, Status::Exited(0), "{output:#?}");
        let line = format!("left alone: udp {dns}, 1 packet (traffic.dns: leave)");
        assert!(output.stderr.contains(&line), "{output:#?}");
        assert!(output.stderr.contains("steer: verified: "), "{output:#?}");
    }
}
