//! Sessions of HTTP/2 between programs that others wrote, on loopback.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lab::{DEADLINE, eventually, grpc_python, require};
use steer_http::{Connected, End, Gateway, Limits, Refused, Request, Response, Verdict, http2};
use tokio::runtime::Runtime;

/// Sends every request to one server.
struct Straight {
    server: SocketAddr,
    ended: Sender<End>,
}

impl Gateway for Straight {
    type Way = ();
    type Exchange = ();

    async fn request(&self, request: &mut Request) -> ((), Verdict<()>) {
        request.fields.set("x-passed", "by steer");
        ((), Verdict::Forward(()))
    }

    async fn connect(&self, (): &()) -> Result<Connected, Refused> {
        let stream = tokio::net::TcpStream::connect(self.server).await;
        let stream = stream.map_err(|_| Refused::plain(502, "there is no server"))?;
        stream.set_nodelay(true).expect("an option of TCP");
        Ok(Connected {
            stream: Box::new(stream),
            absolute: false,
        })
    }

    async fn response(&self, (): &mut (), _: &mut Response) {}

    fn ended(&self, (): (), end: &End) {
        let _ = self.ended.send(end.clone());
    }
}

/// Sessions at a port of their own, and how their exchanges ended.
struct Relay {
    _runtime: Runtime,
    address: SocketAddr,
    ended: Receiver<End>,
}

/// Has clients reach a server through sessions.
fn relay(server: SocketAddr) -> Relay {
    let runtime = Runtime::new().expect("a runtime");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("an option");
    let address = listener.local_addr().expect("an address");
    let (ends, ended) = channel();
    let gateway = Arc::new(Straight {
        server,
        ended: ends,
    });
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        loop {
            let (client, _) = listener.accept().await.expect("a client");
            client.set_nodelay(true).expect("an option of TCP");
            let gateway = gateway.clone();
            tokio::spawn(http2::serve(client, Vec::new(), gateway, Limits::default()));
        }
    });
    Relay {
        _runtime: runtime,
        address,
        ended,
    }
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has nghttpd serve a file of a length.
fn nghttpd(length: usize) -> (Running, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), vec![b'f'; length]).expect("a file");
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let mut command = Command::new("nghttpd");
    command.args(["--no-tls", "--address=127.0.0.1", "--htdocs"]);
    command.arg(folder.path()).arg(address.port().to_string());
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().expect("a server"));
    eventually("nghttpd listens", || TcpStream::connect(address).ok());
    (running, address, folder)
}

/// Has h2load load the relay.
fn h2load(relay: &Relay, arguments: &[&str]) -> Output {
    let mut command = Command::new("h2load");
    command
        .args(["--connection-inactivity-timeout=20s"])
        .args(arguments);
    command.arg(format!("http://{}/file", relay.address));
    command.output().expect("h2load")
}

/// Checks that every request of h2load was answered with 2xx.
fn clean(output: &Output, requests: usize) {
    let said = String::from_utf8_lossy(&output.stdout);
    let all = format!(
        "requests: {requests} total, {requests} started, {requests} done, {requests} succeeded, \
         0 failed, 0 errored, 0 timeout"
    );
    assert!(said.contains(&all), "{said}");
    let codes = format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx");
    assert!(said.contains(&codes), "{said}");
}

#[test]
fn h2load_runs_clean() {
    require!(Program("h2load"), Program("nghttpd"));
    const REQUESTS: usize = 2000;
    for (length, streams, windows) in [(100, "1", "16"), (100, "64", "16"), (200_000, "10", "20")] {
        let (_server, address, _folder) = nghttpd(length);
        let relay = relay(address);
        let requests = REQUESTS.to_string();
        let mut arguments = vec!["-n", requests.as_str(), "-c", "4", "-m", streams];
        arguments.extend(["-w", windows, "-W", windows]);
        let output = h2load(&relay, &arguments);
        clean(&output, REQUESTS);
        for _ in 0..REQUESTS {
            let end = relay.ended.recv_timeout(DEADLINE).expect("an end");
            let expected = (Some(200), length as u64, None);
            assert_eq!((end.status, end.received, end.error), expected);
        }
    }
}

#[test]
fn h2load_uploads_clean() {
    require!(Program("h2load"), Program("nghttpd"));
    const REQUESTS: usize = 300;
    const LENGTH: usize = 300_000;
    let (_server, address, folder) = nghttpd(10);
    let upload = folder.path().join("upload");
    std::fs::write(&upload, vec![b'u'; LENGTH]).expect("a file");
    let relay = relay(address);
    let (requests, upload) = (REQUESTS.to_string(), upload.display().to_string());
    let output = h2load(
        &relay,
        &["-n", &requests, "-c", "3", "-m", "10", "-d", &upload],
    );
    clean(&output, REQUESTS);
    for _ in 0..REQUESTS {
        let end = relay.ended.recv_timeout(DEADLINE).expect("an end");
        assert_eq!(
            (end.status, end.sent, end.error),
            (Some(200), LENGTH as u64, None)
        );
    }
}

#[test]
fn every_kind_of_grpc_call_goes_as_without_us() {
    require!(Grpc);
    let python = grpc_python().expect("it is needed");
    let mut command = Command::new(&python);
    command.args(["-u", "-c", include_str!("server.py")]);
    let spawned = command.stdout(Stdio::piped()).spawn();
    let mut server = Running(spawned.expect("a server"));
    let stdout = server.0.stdout.take().expect("it is piped");
    let (lines, said) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    let ready = said.recv_timeout(DEADLINE).expect("a port");
    let port = ready
        .strip_prefix("port ")
        .expect("a port")
        .parse()
        .expect("a number");
    let relay = relay(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));

    let mut client = Command::new(&python);
    client.args(["-u", "-c", include_str!("client.py")]);
    let output = client
        .arg(relay.address.to_string())
        .output()
        .expect("a client");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    let done = stdout.lines().collect::<Vec<_>>().join(", ");
    let expected = "unary, status, large, receive, send, both, early end, fifty at a time, \
                    cancel, deadline";
    assert_eq!(done, expected);

    // The server learned of both calls that their client gave up.
    let gone = (0..2).map(|_| said.recv_timeout(Duration::from_secs(20)).expect("a word"));
    assert!(gone.collect::<Vec<_>>().iter().all(|line| line == "gone"));
}
