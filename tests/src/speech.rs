//! What a client says to a proxy port before its own bytes.

use std::net::{IpAddr, SocketAddr};

use lab::{Client, End};

use crate::refused::Refused;

/// What a client says before its own bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Nothing: it does not know of the proxy.
    Unaware,
    /// `CONNECT HOST:PORT`.
    Connect,
    /// SOCKS5 without a login.
    Socks5,
}

impl Speech {
    /// Asks for an address on a connection to the proxy port.
    ///
    /// # Errors
    /// What the proxy answered instead.
    pub fn ask(self, client: &mut Client, to: SocketAddr) -> Result<(), Refused> {
        match self {
            Self::Unaware => Ok(()),
            Self::Connect => connect(client, &to.to_string(), ""),
            Self::Socks5 => {
                let mut address = match to.ip() {
                    IpAddr::V4(ip) => [&[1][..], &ip.octets()].concat(),
                    IpAddr::V6(ip) => [&[4][..], &ip.octets()].concat(),
                };
                address.extend(to.port().to_be_bytes());
                socks5(client, &address)
            }
        }
    }

    /// Asks for a name, which the proxy resolves.
    ///
    /// # Errors
    /// What the proxy answered instead.
    pub fn ask_name(self, client: &mut Client, name: &str, port: u16) -> Result<(), Refused> {
        match self {
            Self::Unaware => panic!("a client that knows of no proxy has no name to give it"),
            Self::Connect => connect(client, &format!("{name}:{port}"), ""),
            Self::Socks5 => {
                let length = u8::try_from(name.len()).expect("a short name");
                let mut address = [&[3, length][..], name.as_bytes()].concat();
                address.extend(port.to_be_bytes());
                socks5(client, &address)
            }
        }
    }
}

/// Asks by CONNECT with a login, given as the base64 of `name:password`.
///
/// # Errors
/// What the proxy answered instead.
pub fn connect_with_login(client: &mut Client, to: SocketAddr, login: &str) -> Result<(), Refused> {
    let field = format!("Proxy-Authorization: Basic {login}\r\n");
    connect(client, &to.to_string(), &field)
}

/// Asks a SOCKS5 port to carry datagrams, and gives the address that does.
///
/// # Errors
/// What the proxy answered instead.
pub(crate) fn associate(client: &mut Client) -> Result<SocketAddr, Refused> {
    let any = [1, 0, 0, 0, 0, 0, 0];
    let bound = socks5_request(client, 3, &any)?;
    // An unspecified address stands for the one that was dialled.
    let ip = if bound.ip().is_unspecified() {
        client.peer().ip()
    } else {
        bound.ip()
    };
    Ok(SocketAddr::new(ip, bound.port()))
}

fn connect(client: &mut Client, target: &str, fields: &str) -> Result<(), Refused> {
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n");
    client.send(request.as_bytes()).map_err(Refused::Ended)?;
    let mut head = Vec::new();
    // Byte by byte: what comes behind the head is the server's.
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.receive(1).map_err(Refused::Ended)?);
    }
    let head = String::from_utf8_lossy(&head);
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    match status {
        Some(200) => Ok(()),
        Some(status) => Err(Refused::Http(status)),
        None => panic!("no HTTP answer: {head:?}"),
    }
}

fn socks5(client: &mut Client, address: &[u8]) -> Result<(), Refused> {
    socks5_request(client, 1, address).map(drop)
}

/// Makes a request of RFC 1928 and gives the address in the answer.
fn socks5_request(client: &mut Client, what: u8, address: &[u8]) -> Result<SocketAddr, Refused> {
    let ended = |end: End| Refused::Ended(end);
    client.send(&[5, 1, 0]).map_err(ended)?;
    assert_eq!(client.receive(2).map_err(ended)?, [5, 0]);
    let request = [&[5, what, 0][..], address].concat();
    client.send(&request).map_err(ended)?;
    let answer = client.receive(4).map_err(ended)?;
    assert_eq!(answer[0], 5, "no SOCKS5 answer: {answer:?}");
    let ip: IpAddr = match answer[3] {
        1 => bytes::<4>(client)?.into(),
        4 => bytes::<16>(client)?.into(),
        kind => panic!("no address of SOCKS5: {kind}"),
    };
    let port = u16::from_be_bytes(bytes(client)?);
    match answer[1] {
        0 => Ok(SocketAddr::new(ip, port)),
        code => Err(Refused::Socks5(code)),
    }
}

fn bytes<const N: usize>(client: &mut Client) -> Result<[u8; N], Refused> {
    let bytes = client.receive(N).map_err(Refused::Ended)?;
    Ok(bytes.try_into().expect("so many were received"))
}
