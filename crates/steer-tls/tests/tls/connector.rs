//! Servers that prove who they are, and servers that do not.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use rustls::{ServerConfig, version};
use steer_core::policy::{Certificate, Tls};
use steer_tls::{Alert, ConnectError, Connector, ConnectorError, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::common::{Ca, Issued, PATIENCE, echo};

fn name(text: &str) -> ServerName<'static> {
    ServerName::try_from(text.to_owned()).unwrap()
}

async fn connect(
    connector: &Connector,
    config: ServerConfig,
    server: &str,
) -> Result<steer_tls::client::TlsStream<TcpStream>, ConnectError> {
    let address = echo(config).await;
    let stream = TcpStream::connect(address).await.unwrap();
    connector
        .connect(stream, &name(server), &[], PATIENCE)
        .await
}

/// How a server with this certificate fails.
async fn failure(tls: &Tls, issued: &Issued, server: &str) -> ConnectError {
    let connector = Connector::new(tls).unwrap();
    let error = connect(&connector, issued.server(), server)
        .await
        .unwrap_err();
    assert!(!error.help().is_empty());
    error
}

#[tokio::test]
async fn a_server_of_a_root_that_the_policy_names_is_believed() {
    let ca = Ca::new();
    let connector = Connector::new(&ca.tls()).unwrap();
    for server in ["example.com", "127.0.0.1", "::1"] {
        let issued = ca.issue(server, |_| {});
        let mut stream = connect(&connector, issued.server(), server).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HELLO");
    }
}

#[tokio::test]
async fn the_certificate_of_another_server_is_refused() {
    let ca = Ca::new();
    let issued = ca.issue("example.com", |_| {});
    for server in ["example.org", "www.example.com", "127.0.0.1"] {
        let error = failure(&ca.tls(), &issued, server).await;
        assert!(matches!(error, ConnectError::WrongName { .. }), "{error:?}");
        assert!(error.is_unverified());
        assert_eq!(error.alert(), Alert::BadCertificate);
    }
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused() {
    let ca = Ca::new();
    let expired = ca.issue("a.example", |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let error = failure(&ca.tls(), &expired, "a.example").await;
    assert!(matches!(error, ConnectError::Expired { .. }), "{error:?}");
    assert_eq!(error.alert(), Alert::CertificateExpired);
    let early = ca.issue("a.example", |params| {
        params.not_before = date_time_ymd(2900, 1, 1);
    });
    let error = failure(&ca.tls(), &early, "a.example").await;
    assert!(matches!(error, ConnectError::Early { .. }), "{error:?}");
}

#[tokio::test]
async fn a_root_that_nobody_named_is_not_believed() {
    let (known, other) = (Ca::new(), Ca::new());
    let issued = other.issue("a.example", |_| {});
    let error = failure(&known.tls(), &issued, "a.example").await;
    assert!(
        matches!(error, ConnectError::UnknownIssuer { .. }),
        "{error:?}"
    );
    assert_eq!(error.alert(), Alert::UnknownCa);
}

fn self_signed(authority: IsCa) -> Issued {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.is_ca = authority;
    let made = params.self_signed(&key).unwrap();
    Issued {
        chain: vec![made.der().clone()],
        key,
    }
}

/// `openssl req -x509` makes an authority's, many libraries one of no authority.
fn both_kinds() -> [Issued; 2] {
    [
        IsCa::Ca(BasicConstraints::Unconstrained),
        IsCa::ExplicitNoCa,
    ]
    .map(self_signed)
}

#[tokio::test]
async fn a_certificate_that_is_signed_by_itself_is_told_as_that() {
    let ca = Ca::new();
    for issued in both_kinds() {
        let error = failure(&ca.tls(), &issued, "a.example").await;
        assert!(
            matches!(error, ConnectError::UnknownIssuer { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_is_signed_by_itself_is_believed_where_the_policy_names_it() {
    for issued in both_kinds() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, _) = issued.write(folder.path());
        let tls = Tls {
            roots: vec![chain],
            ..Tls::default()
        };
        let connector = Connector::new(&tls).unwrap();
        connect(&connector, issued.server(), "a.example")
            .await
            .unwrap();
        let error = failure(&tls, &issued, "b.example").await;
        assert!(matches!(error, ConnectError::WrongName { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_signature_by_another_key_is_refused() {
    let ca = Ca::new();
    let (shown, other) = (ca.issue("a.example", |_| {}), ca.issue("a.example", |_| {}));
    let config =
        ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(std::sync::Arc::new(rustls::sign::SingleCertAndKey::from(
                rustls::sign::CertifiedKey::new(
                    shown.chain.clone(),
                    rustls::crypto::ring::sign::any_ecdsa_type(&other.private()).unwrap(),
                ),
            )));
    let connector = Connector::new(&ca.tls()).unwrap();
    let error = connect(&connector, config, "a.example").await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Certificate { .. }),
        "{error:?}"
    );
    assert!(error.is_unverified());
}

#[tokio::test]
async fn the_certificate_of_a_name_is_shown_to_its_servers_alone() {
    let (ca, clients) = (Ca::new(), Ca::new());
    let own = clients.issue("client", |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let (chain, key) = own.write(clients.folder.path());
    let tls = Tls {
        certificates: vec![Certificate {
            host: vec!["*.api.example".parse().unwrap()],
            chain,
            key,
        }],
        ..ca.tls()
    };
    let connector = Connector::new(&tls).unwrap();
    for (server, shown) in [("a.api.example", true), ("api.example", false)] {
        let issued = ca.issue(server, |_| {});
        let connected = connect(&connector, issued.demanding(&clients), server).await;
        // In TLS 1.3 the server's answer to it comes after the handshake.
        let answered = match connected {
            Ok(mut stream) => {
                stream.write_all(b"x").await.unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).await.is_ok()
            }
            Err(_) => false,
        };
        assert_eq!(answered, shown, "{server}");
    }
}

#[tokio::test]
async fn older_safe_tls_is_spoken_too() {
    let ca = Ca::new();
    let issued = ca.issue("a.example", |_| {});
    let config =
        ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_protocol_versions(&[&version::TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(issued.chain.clone(), issued.private())
            .unwrap();
    let connector = Connector::new(&ca.tls()).unwrap();
    let stream = connect(&connector, config, "a.example").await.unwrap();
    assert_eq!(
        stream.get_ref().1.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_2)
    );
}

#[tokio::test]
async fn the_server_chooses_among_the_protocols_of_this_connection() {
    let ca = Ca::new();
    let issued = ca.issue("a.example", |_| {});
    let mut config = issued.server();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let address = echo(config).await;
    let connector = Connector::new(&ca.tls()).unwrap();
    let offers = [
        (vec!["h2", "http/1.1"], Some("h2")),
        (vec!["http/1.1"], Some("http/1.1")),
        (vec![], None),
        (vec!["h2"], Some("h2")),
    ];
    // One connector: what one connection agreed on binds no other, resumed or not.
    for (offer, chosen) in offers {
        let stream = TcpStream::connect(address).await.unwrap();
        let offer: Vec<_> = offer.into_iter().map(Vec::from).collect();
        let mut stream = connector
            .connect(stream, &name("a.example"), &offer, PATIENCE)
            .await
            .unwrap();
        assert_eq!(
            stream.get_ref().1.alpn_protocol(),
            chosen.map(str::as_bytes)
        );
        stream.write_all(b"x").await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
    }
    let stream = TcpStream::connect(address).await.unwrap();
    let error = connector
        .connect(stream, &name("a.example"), &[b"other".to_vec()], PATIENCE)
        .await
        .unwrap_err();
    assert_eq!(error.alert(), Alert::NoApplicationProtocol, "{error:?}");
}

/// What becomes of a server that says `text` and closes.
async fn answer(text: &'static [u8]) -> ConnectError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 64];
        stream.read_exact(&mut hello).await.unwrap();
        stream.write_all(text).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let ca = Ca::new();
    let connector = Connector::new(&ca.tls()).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = name("a.example");
    let connected = connector.connect(stream, &name, &[], PATIENCE);
    connected.await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_tls_is_told_apart_from_tls_that_fails() {
    let error = answer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert!(matches!(error, ConnectError::NoTls { .. }), "{error:?}");
    let error = answer(b"").await;
    assert!(matches!(error, ConnectError::Closed { .. }), "{error:?}");
    let error = answer(&[21, 3, 3, 0, 2, 2, 40]).await;
    assert!(matches!(error, ConnectError::Alert { .. }), "{error:?}");
    assert!(!error.is_unverified());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let ca = Ca::new();
    let connector = Connector::new(&ca.tls()).unwrap();
    let patience = std::time::Duration::from_millis(50);
    let name = name("a.example");
    let connected = connector.connect(stream, &name, &[], patience);
    let error = connected.await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (ca, other) = (Ca::new(), Ca::new());
    let folder = ca.folder.path();
    let (chain, key) = ca.issue("client", |_| {}).write(folder);
    let (_, foreign) = other.issue("client", |_| {}).write(other.folder.path());
    let empty = folder.join("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    let missing = folder.join("missing.pem");
    let rooted = |file: &std::path::Path| Tls {
        roots: vec![file.to_owned()],
        ..Tls::default()
    };
    let with = |chain: &std::path::Path, key: &std::path::Path| Tls {
        certificates: vec![Certificate {
            host: vec!["a.example".parse().unwrap()],
            chain: chain.to_owned(),
            key: key.to_owned(),
        }],
        ..ca.tls()
    };
    Connector::new(&with(&chain, &key)).unwrap();
    for (tls, file) in [
        (rooted(&missing), &missing),
        (rooted(&empty), &empty),
        (rooted(folder), &folder.to_owned()),
        (with(&missing, &key), &missing),
        (with(&empty, &key), &empty),
        (with(&chain, &empty), &empty),
        (with(&chain, &foreign), &foreign),
    ] {
        let error: ConnectorError = Connector::new(&tls).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(file.to_str().unwrap()), "{text}");
        assert!(!error.help().is_empty());
    }
}
