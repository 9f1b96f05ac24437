//! A proxy beyond the engine, that tells what it was asked for.

mod associate;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use lab::{Family, Host, eventually};

/// One request as the proxy understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `socks5`, `http`, or `socks5 udp` for the first datagram to a destination.
    pub protocol: &'static str,
    /// The destination, as it stood in the request: a name stays a name.
    pub target: String,
    /// What the client gave to be let in: `USER:PASSWORD`, in HTTP still as base64.
    pub login: Option<String>,
}

/// A proxy that speaks SOCKS5 and CONNECT on one port; it ends with the process.
#[derive(Debug)]
pub struct UpstreamProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: Host,
    /// Whether it wants to be given a login; any will do, the test looks at it.
    login: Login,
    names: HashMap<String, SocketAddr>,
    asked: Mutex<Vec<Request>>,
}

/// Whether a proxy wants a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// It lets everybody in.
    None,
    /// It refuses whoever gives none.
    Required,
}

impl UpstreamProxy {
    /// Listens on a port of the host; `names` is all that it can resolve.
    pub fn start(host: &Host, port: u16, login: Login, names: &[(&str, SocketAddr)]) -> Self {
        let address = host.at(Family::V4, port);
        let listener = host.enter(|| TcpListener::bind(address));
        let listener = listener.unwrap_or_else(|error| panic!("listen on {address}: {error}"));
        let names = names.iter().map(|(name, to)| ((*name).to_owned(), *to));
        let shared = Arc::new(Shared {
            host: host.clone(),
            login,
            names: names.collect(),
            asked: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                // A client that breaks off is its own test's business.
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Request> {
        self.shared.lock().clone()
    }

    /// Waits for so many requests, and gives them.
    pub fn wait_asked(&self, count: usize) -> Vec<Request> {
        eventually("the proxy is asked", || {
            Some(self.asked()).filter(|asked| asked.len() >= count)
        })
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let mut first = [0];
        client.peek(&mut first)?;
        let (asked, refused, granted) = match first[0] {
            5 => (self.socks5(&mut client)?, SOCKS_REFUSED, SOCKS_GRANTED),
            _ => (self.connect(&mut client)?, HTTP_REFUSED, HTTP_GRANTED),
        };
        let Some(asked) = asked else { return Ok(()) };
        let to = self.resolved(&asked.target);
        self.lock().push(asked);
        let server = to.map(|to| self.host.enter(|| TcpStream::connect(to)));
        match server {
            Some(Ok(server)) => {
                client.write_all(granted)?;
                splice(client, server)
            }
            _ => client.write_all(refused),
        }
    }

    /// Reads a SOCKS5 handshake up to the request.
    fn socks5(&self, client: &mut TcpStream) -> io::Result<Option<Request>> {
        let [_, count] = exactly(client)?;
        let mut methods = vec![0; usize::from(count)];
        client.read_exact(&mut methods)?;
        let wanted = match self.login {
            Login::None => 0,
            Login::Required => 2,
        };
        if !methods.contains(&wanted) {
            client.write_all(&[5, 0xff])?;
            return Ok(None);
        }
        client.write_all(&[5, wanted])?;
        let mut login = None;
        if wanted == 2 {
            let [_] = exactly(client)?;
            let (user, password) = (counted(client)?, counted(client)?);
            login = Some(format!("{user}:{password}"));
            client.write_all(&[1, 0])?;
        }
        let [_, command, _, kind] = exactly(client)?;
        let host = match kind {
            1 => Ipv4Addr::from(exactly::<4>(client)?).to_string(),
            3 => counted(client)?,
            _ => format!("[{}]", Ipv6Addr::from(exactly::<16>(client)?)),
        };
        let port = u16::from_be_bytes(exactly(client)?);
        if command == 3 {
            self.associate(client, login.as_deref())?;
            return Ok(None);
        }
        Ok(Some(Request {
            protocol: "socks5",
            target: format!("{host}:{port}"),
            login,
        }))
    }

    /// Reads the head of a CONNECT.
    fn connect(&self, client: &mut TcpStream) -> io::Result<Option<Request>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(exactly::<1>(client)?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head
            .strip_prefix("CONNECT ")
            .and_then(|rest| rest.split(' ').next());
        let login = head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            let basic = value.strip_prefix("Basic ")?;
            key.eq_ignore_ascii_case("proxy-authorization")
                .then(|| basic.to_owned())
        });
        let Some(target) = target else {
            client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
            return Ok(None);
        };
        if self.login == Login::Required && login.is_none() {
            client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")?;
            return Ok(None);
        }
        Ok(Some(Request {
            protocol: "http",
            target: target.to_owned(),
            login,
        }))
    }

    /// The address of a target: a name that it was told of, or an address as it stands.
    fn resolved(&self, target: &str) -> Option<SocketAddr> {
        let known = self.names.get(target).copied();
        known.or_else(|| target.parse().ok())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Request>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies both ways, each direction to its own end.
fn splice(client: TcpStream, server: TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || {
        let copied = io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Write).and(copied)
    });
    let (mut from, mut to) = (server, client);
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)?;
    up.join().expect("copying does not panic").map(drop)
}

fn exactly<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// As much text as the byte before it says.
fn counted(stream: &mut TcpStream) -> io::Result<String> {
    let [count] = exactly(stream)?;
    let mut bytes = vec![0; usize::from(count)];
    stream.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const SOCKS_GRANTED: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
const SOCKS_REFUSED: &[u8] = &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0];
const HTTP_GRANTED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
const HTTP_REFUSED: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\n\r\n";
