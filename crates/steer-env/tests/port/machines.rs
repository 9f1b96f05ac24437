//! The variables with the runtimes that need more than `http_proxy`: Java and Node; and Go, which
//! needs no more.

use lab::require;
use steer_core::program::Program;
use steer_core::steerer::Steerer;

use crate::engine::{self, ALONE, output};
use crate::origin;

#[tokio::test]
async fn java_asks_the_port_by_urls_clients_and_plain_sockets_and_leaves_loopback_alone() {
    require!(Namespaces, Program("javac"));
    let engine = engine::alone(&["lan", "*.lan"]);
    let origin = origin::mirror().await;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("Asks.java");
    std::fs::write(&source, JAVA).unwrap();
    let mut java = engine.command("java");
    let port = origin.address.port().to_string();
    java.arg(&source).args(["origin.test", &port]);
    let (status, told) = output(&mut java).await;
    assert_eq!(status, 0);
    assert_eq!(
        told,
        "url true\nclient true\nsocket true\nloopback true\nloopback true\nlan false\n"
    );
    assert_eq!(engine.asked(), vec![format!("{} env -", origin.named()); 3]);
}

#[tokio::test]
async fn a_node_asks_the_port_or_is_refused_before_it_starts() {
    require!(Namespaces, Program("node"));
    let engine = engine::alone(&[]);
    let origin = origin::mirror().await;
    let node = Program::find("node".as_ref()).unwrap();
    let is_refused = steer_env::Env.examine(&node.path, &[]).is_err();
    let script = format!(
        "fetch('http://{}/').then(r => console.log(r.status), e => console.log('no'))",
        origin.named()
    );
    let (_, told) = output(engine.command("node").args(["-e", &script])).await;
    let asked = engine.asked().len();
    assert_eq!(
        (told.as_str(), asked),
        if is_refused {
            ("no\n", 0)
        } else {
            ("200\n", 1)
        }
    );
}

#[tokio::test]
async fn a_static_go_program_asks_the_port_and_leaves_loopback_alone() {
    require!(Namespaces, Program("go"));
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("asks.go"), folder.path().join("asks"));
    std::fs::write(&source, GO).unwrap();
    let mut go = std::process::Command::new("go");
    go.env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GO111MODULE", "off");
    go.args(["build", "-o"]).args([&program, &source]);
    assert!(go.status().unwrap().success());
    let engine = engine::alone(&["lan", "*.lan"]);
    let origin = origin::mirror().await;
    let port = origin.address.port();
    let mut asks = engine.command(program.to_str().unwrap());
    asks.arg(format!("http://{}/", origin.named()));
    asks.arg(format!("http://127.0.0.1:{port}/"))
        .arg("http://a.lan/");
    let (status, told) = output(&mut asks).await;
    assert_eq!((status, told.as_str()), (0, "true\ntrue\nfalse\n"));
    assert_eq!(engine.asked(), [format!("{} env -", origin.named())]);
}

#[tokio::test]
async fn clients_that_are_refused_by_name_do_go_round_the_port() {
    require!(Namespaces, Program("sh"));
    let engine = engine::alone(&[]);
    let host = std::net::Ipv4Addr::from(ALONE);
    let (target, count) = origin::counter((host, 0)).await;
    let (at, port) = (host.to_string(), target.address.port().to_string());
    let both = format!("{at}:{port}");
    let batch = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"];
    let mut tried = 0;
    for (program, arguments) in [
        ("ssh", [&batch[..], &["-p", &port, &at]].concat()),
        ("sftp", [&batch[..], &["-P", &port, &at]].concat()),
        ("nc", vec!["-w", "5", &at, &port]),
        ("ncat", vec!["-w", "5", &at, &port]),
        ("telnet", vec![&at, &port]),
        ("psql", vec!["-h", &at, "-p", &port, "-c", "select 1", "x"]),
        ("pg_isready", vec!["-h", &at, "-p", &port]),
        ("mariadb", vec!["-h", &at, "-P", &port, "-e", "select 1"]),
        ("redis-cli", vec!["-h", &at, "-p", &port, "ping"]),
        ("openssl", vec!["s_client", "-connect", &both]),
    ] {
        let Ok(found) = Program::find(program.as_ref()) else {
            continue;
        };
        let words: Vec<_> = arguments.iter().map(Into::into).collect();
        let slips = steer_env::Env.examine(&found.path, &words);
        assert!(slips.is_err(), "{program} is let through");
        let before = count.load(std::sync::atomic::Ordering::Relaxed);
        let mut command = engine.command(program);
        command.args(arguments).stdin(std::process::Stdio::null());
        output(&mut command).await;
        let after = count.load(std::sync::atomic::Ordering::Relaxed);
        assert!(after > before, "{program} did not connect by itself");
        tried += 1;
    }
    assert!(tried > 0, "none of the programs is here");
    assert_eq!(engine.asked(), [""; 0]);
}

const JAVA: &str = r#"
import java.net.*;
import java.net.http.*;
import java.util.concurrent.Callable;

public class Asks {
    static final byte[] REQUEST = "GET / HTTP/1.0\r\n\r\n".getBytes();

    static void say(String what, Callable<Boolean> ask) {
        boolean asked;
        try { asked = ask.call(); } catch (Exception error) { asked = false; }
        System.out.println(what + " " + asked);
    }

    static boolean bySocket(String host, int port) throws Exception {
        try (Socket socket = new Socket(host, port)) {
            socket.getOutputStream().write(REQUEST);
            return socket.getInputStream().read() == 'H';
        }
    }

    public static void main(String[] args) {
        int port = Integer.parseInt(args[1]);
        String url = "http://" + args[0] + ":" + port + "/";
        say("url", () -> new URL(url).openStream().read() == 'G');
        HttpRequest request = HttpRequest.newBuilder(URI.create(url))
            .version(HttpClient.Version.HTTP_1_1).build();
        say("client", () -> HttpClient.newHttpClient()
            .send(request, HttpResponse.BodyHandlers.ofString()).statusCode() == 200);
        say("socket", () -> bySocket(args[0], port));
        say("loopback", () -> new URL("http://127.0.0.1:" + port + "/").openStream().read() == 'G');
        say("loopback", () -> bySocket("127.0.0.1", port));
        say("lan", () -> bySocket("a.lan", port));
    }
}
"#;

const GO: &str = r#"
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	for _, url := range os.Args[1:] {
		answer, err := http.Get(url)
		fmt.Println(err == nil && answer.StatusCode == 200)
	}
}
"#;
