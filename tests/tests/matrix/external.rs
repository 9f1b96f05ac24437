//! Other proxies in the engine's place, unchanged.

use lab::{Family, Service};
use steer_tests::{Mount, Rig, Setup, Stage};

/// A proxy that knows of nothing but SO_ORIGINAL_DST, as those do that expect REDIRECT.
pub(crate) fn an_external_transparent_proxy_gets_the_original_destination(mount: Mount) {
    lab::require!(Root, Program("python3"));
    for on_failure in ["open", "closed"] {
        let stage = Stage::new("external");
        let server = stage.srv.serve(7, Service::Echo);
        let proxy = stage.app.program("python3").args(["-c", PROXY]);
        let proxy = proxy.user(1337).spawn();
        proxy.wait_line(|line| line.contains("ready"));
        let setup = Setup {
            on_failure: on_failure.to_owned(),
            policy: "listen: { external: \"127.0.0.1:15001\" }\n".to_owned(),
            ..Setup::scope("{ host: true, except: { uid: 1337 } }")
        };
        let rig = Rig::start(&stage.app, mount, &setup);
        for family in Family::BOTH {
            // An address of its own, so that no other can be meant.
            let to = std::net::SocketAddr::new(stage.another_address(family, 9), 7);
            let mut client = rig.connect(to).expect("the proxy listens");
            assert_eq!(client.peer(), to);
            client.send(b"hello").expect("the connection stands");
            assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
            let seen = server.seen();
            let one = seen.last().expect("it was asked");
            assert_eq!(one.local, to);
            assert_ne!(one.peer, client.local(), "it was not steered");
            let meant = format!("for {to}");
            proxy.wait_line(|line| line == meant);
        }
        // Without the proxy, what was meant for it is direct or refused at once.
        proxy.kill();
        let to = stage.at(Family::V4, 7);
        match on_failure {
            "open" => {
                let mut client = stage.app.connect(to).expect("it is direct");
                client.send(b"direct").expect("the connection stands");
                assert_eq!(client.receive(6).as_deref(), Ok(&b"direct"[..]));
                assert_eq!(server.seen().last().map(|it| it.peer), Some(client.local()));
            }
            _ => assert!(rig.refusal(to).is_an_error()),
        }
        drop(rig);
    }
}

/// Relays what arrives to its original destination: by the options of both families.
const PROXY: &str = "
import socket, struct, threading
def meant(s, family):
    if family == socket.AF_INET:
        _, port, ip = struct.unpack('!HH4s8x', s.getsockopt(0, 80, 16))
    else:
        _, port, ip = struct.unpack('!HHxxxx16sxxxx', s.getsockopt(41, 80, 28))
    return socket.inet_ntop(family, ip), port
def pump(a, b):
    while data := a.recv(65536): b.sendall(data)
    b.shutdown(socket.SHUT_WR)
def serve(s, family):
    at = meant(s, family)
    print('for', '[%s]:%d' % at if family == socket.AF_INET6 else '%s:%d' % at, flush=True)
    up = socket.create_connection(at)
    threading.Thread(target=pump, args=(s, up), daemon=True).start()
    pump(up, s)
def listen(family, host):
    l = socket.socket(family, socket.SOCK_STREAM)
    l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: l.setsockopt(41, 26, 1)
    l.bind((host, 15001)); l.listen()
    def run():
        while True:
            s, _ = l.accept()
            threading.Thread(target=serve, args=(s, family), daemon=True).start()
    return threading.Thread(target=run)
threads = [listen(socket.AF_INET, '0.0.0.0'), listen(socket.AF_INET6, '::')]
for t in threads: t.start()
print('ready', flush=True)
";
