//! Clients that believe our certificate, and clients that do not.

use std::process::Stdio;
use std::sync::Arc;

use proptest::prelude::*;
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use steer_tls::{AcceptError, Alert, Authority, Opening, Prefixed, ServerName, refuse};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsConnector;

use super::common::{Ca, PATIENCE};

fn authority() -> (TempDir, Authority) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(&folder.path().join("ca")).unwrap();
    (folder, authority)
}

fn name(text: &str) -> ServerName<'static> {
    ServerName::try_from(text.to_owned()).unwrap()
}

/// A client that believes one certificate.
fn client(root: rustls::pki_types::CertificateDer<'static>, alpn: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn a_client_that_believes_the_authority_is_let_in() {
    let (_folder, authority) = authority();
    let (ours, theirs) = duplex(1 << 16);
    let connector = client(authority.certificate().clone(), &[b"h2", b"http/1.1"]);
    let connected = connector.connect(name("example.com"), theirs);
    let served = async {
        let opening = Opening::read(ours, PATIENCE).await.unwrap();
        assert_eq!(opening.server_name(), Some("example.com"));
        assert_eq!(opening.alpn(), [b"h2".to_vec(), b"http/1.1".to_vec()]);
        let leaf = authority.leaf(&name("example.com")).unwrap();
        opening
            .accept(leaf, Some(b"http/1.1"), PATIENCE)
            .await
            .unwrap()
    };
    let (connected, mut served) = tokio::join!(connected, served);
    let mut connected = connected.unwrap();
    assert_eq!(
        connected.get_ref().1.alpn_protocol(),
        Some(&b"http/1.1"[..])
    );
    connected.write_all(b"ping").await.unwrap();
    connected.flush().await.unwrap();
    let mut text = [0; 4];
    served.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"ping");
}

#[tokio::test]
async fn a_client_is_told_no_protocol_where_there_is_none() {
    let (_folder, authority) = authority();
    let (ours, theirs) = duplex(1 << 16);
    let connector = client(authority.certificate().clone(), &[b"h2"]);
    let connected = connector.connect(name("example.com"), theirs);
    let served = async {
        let opening = Opening::read(ours, PATIENCE).await.unwrap();
        let leaf = authority.leaf(&name("example.com")).unwrap();
        opening.accept(leaf, None, PATIENCE).await.unwrap()
    };
    let (connected, _served) = tokio::join!(connected, served);
    assert_eq!(connected.unwrap().get_ref().1.alpn_protocol(), None);
}

/// How a handshake ends with a client that believes somebody else.
async fn distrusted(connector: TlsConnector) -> AcceptError {
    let (_folder, authority) = authority();
    let (ours, theirs) = duplex(1 << 16);
    let connected = async {
        let connected = connector.connect(name("example.com"), theirs).await;
        assert!(connected.is_err());
    };
    let served = async {
        let opening = Opening::read(ours, PATIENCE).await.unwrap();
        let leaf = authority.leaf(&name("example.com")).unwrap();
        opening.accept(leaf, None, PATIENCE).await.unwrap_err()
    };
    tokio::join!(connected, served).1
}

#[tokio::test]
async fn a_client_that_does_not_believe_the_authority_is_told_apart() {
    let error = distrusted(client(Ca::new().certificate, &[])).await;
    assert!(
        matches!(
            error,
            AcceptError::Distrusted {
                alert: Some(AlertDescription::UnknownCA)
            }
        ),
        "{error:?}"
    );
    assert!(error.is_distrust());
    assert!(error.help().contains("tls: pass"));
}

#[tokio::test]
async fn every_program_that_does_not_believe_the_authority_is_told_apart() {
    let (_folder, authority) = authority();
    let leaf = authority.leaf(&name("localhost")).unwrap();
    let programs: [(&str, &[&str]); 4] = [
        ("curl", &["-s", "-m", "20", "https://localhost:PORT/"]),
        (
            "curl",
            &[
                "-s",
                "-m",
                "20",
                "--tls-max",
                "1.2",
                "https://localhost:PORT/",
            ],
        ),
        (
            "openssl",
            &[
                "s_client",
                "-connect",
                "localhost:PORT",
                "-servername",
                "localhost",
                "-verify_return_error",
            ],
        ),
        (
            "python3",
            &[
                "-c",
                "import urllib.request; urllib.request.urlopen('https://localhost:PORT/', timeout=20)",
            ],
        ),
    ];
    for (program, args) in programs {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let mut child = Command::new(program)
            .args(args.iter().map(|arg| arg.replace("PORT", &port)))
            .env_remove("SSL_CERT_FILE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let opening = Opening::read(stream, PATIENCE).await.unwrap();
        let error = opening
            .accept(Arc::clone(&leaf), None, PATIENCE)
            .await
            .unwrap_err();
        assert!(error.is_distrust(), "{program} {args:?}: {error:?}");
        assert!(!child.wait().await.unwrap().success());
    }
}

/// The bytes of a ClientHello.
async fn hello() -> Vec<u8> {
    let (ours, theirs) = duplex(1 << 16);
    let connector = client(Ca::new().certificate, &[b"h2"]);
    let connecting =
        tokio::spawn(async move { connector.connect(name("a.example"), theirs).await });
    let mut ours: DuplexStream = ours;
    let mut head = [0; 5];
    ours.read_exact(&mut head).await.unwrap();
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    ours.read_exact(&mut body).await.unwrap();
    connecting.abort();
    [&head[..], &body].concat()
}

#[tokio::test]
async fn a_client_that_closes_on_seeing_our_certificate_does_not_believe_it() {
    let (_folder, authority) = authority();
    let (ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(&hello().await).await.unwrap();
    let client = async {
        // Our certificate, or at least the beginning of what goes with it.
        let mut byte = [0];
        theirs.read_exact(&mut byte).await.unwrap();
        drop(theirs);
    };
    let served = async {
        let opening = Opening::read(ours, PATIENCE).await.unwrap();
        let leaf = authority.leaf(&name("a.example")).unwrap();
        opening.accept(leaf, None, PATIENCE).await.unwrap_err()
    };
    let error = tokio::join!(client, served).1;
    assert!(
        matches!(error, AcceptError::Distrusted { alert: None }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_hello_that_ends_early_is_no_distrust() {
    let hello = hello().await;
    for cut in [0, 1, 4, 5, 9, hello.len() / 2, hello.len() - 1] {
        let (ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(&hello[..cut]).await.unwrap();
        drop(theirs);
        let error = Opening::read(ours, PATIENCE).await.unwrap_err();
        assert!(matches!(error, AcceptError::Truncated), "{cut}: {error:?}");
        assert!(!error.is_distrust());
    }
}

#[tokio::test]
async fn a_hello_in_pieces_is_read_whole() {
    let hello = hello().await;
    let (ours, mut theirs) = duplex(1);
    let (first, rest) = hello.split_at(7);
    let rest = rest.to_vec();
    let writing = tokio::spawn(async move {
        theirs.write_all(&rest).await.unwrap();
        theirs
    });
    let opening = Opening::read(Prefixed::new(first.to_vec(), ours), PATIENCE)
        .await
        .unwrap();
    assert_eq!(opening.server_name(), Some("a.example"));
    writing.await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_finishes_is_not_waited_for() {
    let hello = hello().await;
    let patience = std::time::Duration::from_millis(50);
    let (ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(&hello[..20]).await.unwrap();
    let error = Opening::read(ours, patience).await.unwrap_err();
    assert!(matches!(error, AcceptError::Slow), "{error:?}");
    let (_folder, authority) = authority();
    let (ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(&hello).await.unwrap();
    let opening = Opening::read(ours, PATIENCE).await.unwrap();
    let leaf = authority.leaf(&name("a.example")).unwrap();
    let error = opening.accept(leaf, None, patience).await.unwrap_err();
    assert!(matches!(error, AcceptError::Slow), "{error:?}");
}

#[tokio::test]
async fn a_refused_client_learns_why() {
    for (alert, said) in [
        (Alert::UnknownCa, AlertDescription::UnknownCA),
        (Alert::BadCertificate, AlertDescription::BadCertificate),
        (
            Alert::CertificateExpired,
            AlertDescription::CertificateExpired,
        ),
        (Alert::AccessDenied, AlertDescription::AccessDenied),
        (Alert::InternalError, AlertDescription::InternalError),
        (Alert::UnrecognizedName, AlertDescription::UnrecognisedName),
        (
            Alert::NoApplicationProtocol,
            AlertDescription::NoApplicationProtocol,
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let connector = client(Ca::new().certificate, &[]);
        let refused = async {
            let (stream, _) = listener.accept().await.unwrap();
            let opening = Opening::read(stream, PATIENCE).await.unwrap();
            opening.refuse(alert).await;
        };
        let (connected, ()) = tokio::join!(connector.connect(name("a.example"), stream), refused);
        let error = connected.unwrap_err().downcast::<rustls::Error>().unwrap();
        assert_eq!(error, rustls::Error::AlertReceived(said));
    }
}

#[tokio::test]
async fn refusing_a_client_that_is_gone_ends() {
    let (ours, theirs) = duplex(64);
    drop(theirs);
    refuse(ours, Alert::InternalError).await;
}

proptest! {
    #[test]
    fn no_bytes_of_a_client_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut bytes = hello().await;
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            let (ours, mut theirs) = duplex(1 << 16);
            theirs.write_all(&bytes).await.unwrap();
            drop(theirs);
            if let Ok(opening) = Opening::read(ours, PATIENCE).await {
                let _ = (opening.server_name(), opening.alpn());
            }
        });
    }
}
