//! An intake of one's own: a port that speaks as much of SOCKS5 as curl asks for.
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use steer::core::address::{ClientAddr, Destination};
use steer::core::intake::Intake;
use steer::core::method::Method;
use steer::core::steered::{Answer, Flow, Identity, Refusal, Steered};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A port; its clients are the connections that the engine takes.
#[derive(Debug)]
pub(crate) struct Port(mpsc::Receiver<Steered>);

impl Port {
    /// Listens.
    pub(crate) async fn listen(at: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let (steered_tx, steered) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, client)) = listener.accept().await {
                let steered_tx = steered_tx.clone();
                // A client that says nothing keeps nobody waiting but itself.
                tokio::spawn(async move {
                    let asked = timeout(PATIENCE, asked(stream, client));
                    if let Ok(Ok(steered)) = asked.await {
                        let _ = steered_tx.send(steered).await;
                    }
                });
            }
        });
        Ok(Self(steered))
    }
}

#[async_trait]
impl Intake for Port {
    async fn next(&mut self) -> Option<Steered> {
        self.0.recv().await
    }
}

/// Reads what a client asks for (RFC 1928).
async fn asked(mut stream: TcpStream, client: SocketAddr) -> io::Result<Steered> {
    let _version = stream.read_u8().await?;
    let mut methods = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut methods).await?;
    stream.write_all(&[5, 0]).await?;
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => IpAddr::from(stream.read_u32().await?.to_be_bytes()).to_string(),
        4 => Ipv6Addr::from(stream.read_u128().await?).to_string(),
        _ => {
            let mut name = vec![0; stream.read_u8().await?.into()];
            stream.read_exact(&mut name).await?;
            String::from_utf8(name).map_err(io::Error::other)?
        }
    };
    let port = stream.read_u16().await?;
    Ok(Steered {
        flow: Flow::Tcp(stream),
        client: ClientAddr(client),
        destination: Destination::parse_host(&host, port).map_err(io::Error::other)?,
        identity: Identity::default(),
        via: Method::Explicit,
        upstream: None,
        app: None,
        inside: None,
        answer: Box::new(Reply),
    })
}

/// The answer of the protocol.
#[derive(Debug)]
struct Reply;

impl Reply {
    async fn say(flow: &mut Flow, code: u8) -> io::Result<()> {
        match flow {
            Flow::Tcp(stream) => stream.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await,
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Answer for Reply {
    async fn connected(&mut self, flow: &mut Flow) -> io::Result<()> {
        Self::say(flow, 0).await
    }

    async fn failed(self: Box<Self>, mut flow: Flow, why: Refusal) {
        let code = match why {
            Refusal::Denied => 2,
            Refusal::Refused => 5,
            _ => 1,
        };
        let _ = Self::say(&mut flow, code).await;
    }
}

/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);
