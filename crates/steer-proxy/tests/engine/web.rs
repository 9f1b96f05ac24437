//! Web servers with names, and programs that ask them.
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use steer_core::address::HostName;
use steer_core::policy::{Edits, Http, Policy, Rule, Tls, Value, ValueSource};
use steer_proxy::upstream::Resolver;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use crate::bench::{rule, server, soon};

/// The authority of the servers, and the folder of ours.
pub(crate) struct World {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl World {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.pem"), made.pem()).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    /// What believes the servers' authority, and keeps ours in a folder of the test's.
    pub(crate) fn tls(&self) -> Tls {
        Tls {
            authority: Some(self.authority()),
            roots: vec![self.folder.path().join("root.pem")],
            ..Tls::default()
        }
    }

    /// A policy with these rules.
    pub(crate) fn policy(&self, rules: Vec<Rule>) -> Policy {
        Policy {
            rules,
            tls: self.tls(),
            ..Policy::default()
        }
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("authority")
    }

    /// A file of the test's own.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// How a server of this name speaks TLS.
    pub(crate) fn server(&self, name: &str, alpn: &[&[u8]]) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config
    }

    /// What a program says that believes our authority.
    pub(crate) fn client(&self, alpn: &[&[u8]]) -> ClientConfig {
        Self::of(&self.authority().join("ca.pem"), alpn)
    }

    /// What a program says that believes the servers' authority, and not ours.
    pub(crate) fn believing(&self) -> ClientConfig {
        Self::of(&self.folder.path().join("root.pem"), &[])
    }

    fn of(roots: &Path, alpn: &[&[u8]]) -> ClientConfig {
        let pem = std::fs::read(roots).unwrap();
        let mut roots = RootCertStore::empty();
        for certificate in rustls_pem(&pem) {
            roots.add(certificate).unwrap();
        }
        client_of(roots, alpn)
    }
}

/// What a program says that believes these roots.
pub(crate) fn client_of(roots: RootCertStore, alpn: &[&[u8]]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

fn rustls_pem(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(pem)
        .map(Result::unwrap)
        .collect()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A program that speaks TLS over a connection of its own.
pub(crate) async fn speak_tls<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    name: &str,
    config: ClientConfig,
) -> io::Result<client::TlsStream<S>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// The addresses of names, whatever the port; any other name has none.
#[derive(Debug)]
pub(crate) struct Zone(HashMap<String, SocketAddr>);

impl Zone {
    pub(crate) fn of(names: &[(&str, SocketAddr)]) -> Self {
        let owned = names.iter().map(|(name, at)| ((*name).to_owned(), *at));
        Self(owned.collect())
    }
}

#[async_trait]
impl Resolver for Zone {
    async fn resolve(&self, host: &HostName, _port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = self.0.get(host.as_str());
        found
            .map(|address| vec![*address])
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A server of HTTP/1 that answers each request with 200 and tells what it got.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    heads: mpsc::UnboundedReceiver<String>,
}

impl Web {
    /// One that speaks plain text.
    pub(crate) async fn plain() -> Self {
        Self::start(None).await
    }

    /// One that speaks TLS.
    pub(crate) async fn tls(config: ServerConfig) -> Self {
        Self::start(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let (listener, address) = server().await;
        let (head_tx, heads) = mpsc::unbounded_channel();
        tokio::spawn(accept(listener, tls, head_tx));
        Self { address, heads }
    }

    /// The head of the next request, once it has come.
    pub(crate) async fn head(&mut self) -> String {
        soon(self.heads.recv()).await.unwrap()
    }

    /// Whether nothing came that was not asked for yet.
    pub(crate) fn is_quiet(&self) -> bool {
        self.heads.is_empty()
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    head_tx: mpsc::UnboundedSender<String>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, head_tx) = (tls.clone(), head_tx.clone());
        tokio::spawn(async move {
            match tls {
                None => answer(stream, &head_tx).await,
                Some(tls) => {
                    // A client that does not believe it is its own test's business.
                    if let Ok(stream) = tls.accept(stream).await {
                        answer(stream, &head_tx).await;
                    }
                }
            }
        });
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    head_tx: &mpsc::UnboundedSender<String>,
) {
    while let Ok(head) = head_of(&mut stream).await {
        let _ = head_tx.send(head);
        if stream.write_all(ANSWER).await.is_err() {
            return;
        }
    }
}

/// Reads a head without a body behind it.
pub(crate) async fn head_of<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await?);
    }
    Ok(String::from_utf8(head).unwrap())
}

/// Asks, and gives the head and the body of the response, whose length is told.
pub(crate) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &str,
) -> (String, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    response(stream).await
}

/// Reads a response, whose length is told.
pub(crate) async fn response<S: AsyncRead + Unpin>(stream: &mut S) -> (String, String) {
    let head = head_of(stream).await.unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is = name.eq_ignore_ascii_case("content-length");
        is.then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    soon(stream.read_exact(&mut body)).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// A request for a path of a host.
pub(crate) fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A rule for a host with what it does to requests.
pub(crate) fn about(host: &str, http: Http) -> Rule {
    let mut rule = rule(
        host,
        steer_core::policy::Condition {
            host: vec![host.parse().unwrap()],
            ..Default::default()
        },
        steer_core::policy::Action::Direct,
    );
    rule.http = http;
    rule
}

/// A field set from somewhere.
pub(crate) fn sets(name: &str, source: ValueSource) -> Http {
    let value = Value {
        source,
        prefix: String::new(),
        suffix: String::new(),
    };
    Http {
        request: Edits {
            set: vec![(name.to_owned(), value)],
            ..Edits::default()
        },
        ..Http::default()
    }
}

/// What the servers answer.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: lab\r\nContent-Length: 5\r\n\r\nhello";
