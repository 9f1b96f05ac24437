//! Certificates of the authority as programs of others see them.

use std::process::Stdio;
use std::sync::Arc;

use steer_tls::{Authority, Opening, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::common::{PATIENCE, pem};

#[tokio::test]
async fn openssl_verifies_leaves_strictly() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(&folder.path().join("ca")).unwrap();
    let long = format!("{}.example.com", "a".repeat(63));
    for (server, option) in [
        ("example.com", "-verify_hostname"),
        ("under_score.example.com", "-verify_hostname"),
        (long.as_str(), "-verify_hostname"),
        ("192.0.2.1", "-verify_ip"),
        ("2001:db8::1", "-verify_ip"),
    ] {
        let name = ServerName::try_from(server.to_owned()).unwrap();
        let leaf = authority.leaf(&name).unwrap();
        let file = folder.path().join("leaf.pem");
        std::fs::write(&file, pem(&leaf.cert[0])).unwrap();
        let verified = Command::new("openssl")
            .args([
                "verify",
                "-x509_strict",
                "-purpose",
                "sslserver",
                "-no-CApath",
            ])
            .arg("-CAfile")
            .arg(authority.file())
            .args([option, server])
            .arg(&file)
            .output()
            .await
            .unwrap();
        assert!(verified.status.success(), "{server}: {verified:?}");
        let other = Command::new("openssl")
            .args(["verify", "-no-CApath", "-CAfile"])
            .arg(authority.file())
            .args(["-verify_hostname", "other.example"])
            .arg(&file)
            .output()
            .await
            .unwrap();
        assert!(!other.status.success(), "{server}");
    }
}

#[tokio::test]
async fn curl_talks_to_a_leaf() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(&folder.path().join("ca")).unwrap();
    for host in ["example.com", "127.0.0.1"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut child = Command::new("curl")
            .args(["-sS", "-m", "20", "--noproxy", "*", "--cacert"])
            .arg(authority.file())
            .arg("--resolve")
            .arg(format!("example.com:{port}:127.0.0.1"))
            .arg(format!("https://{host}:{port}/"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let opening = Opening::read(stream, PATIENCE).await.unwrap();
        assert_eq!(
            opening.server_name(),
            (host == "example.com").then_some(host)
        );
        let leaf = authority
            .leaf(&ServerName::try_from(host.to_owned()).unwrap())
            .unwrap();
        let mut stream = opening
            .accept(Arc::clone(&leaf), Some(b"http/1.1"), PATIENCE)
            .await
            .unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine")
            .await
            .unwrap();
        stream.flush().await.unwrap();
        let mut said = String::new();
        let mut output = child.stdout.take().unwrap();
        output.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "fine");
        assert!(child.wait().await.unwrap().success());
    }
}
