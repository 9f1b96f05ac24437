//! Proxies that are spoken to in TLS.
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use steer_core::policy::{ClientCertificate, Upstream, UpstreamKind, UpstreamTls};
use steer_core::steered::Refusal;
use steer_proxy::engine::{Engine, EngineError};
use steer_proxy::record::Outcome;
use tokio_rustls::TlsAcceptor;

use super::stage::{Stage, all_through, echo, exchange, upstream};
use crate::bench::{Bench, broken};
use crate::udp::program::{Program, echo as udp_echo};

const KINDS: [UpstreamKind; 2] = [UpstreamKind::Socks5, UpstreamKind::Http];

/// An authority whose certificates are in files.
struct World {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl World {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn roots(&self) -> Vec<PathBuf> {
        vec![self.folder.path().join("ca.pem")]
    }

    fn leaf(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server's side; `Client::Known` must show a certificate of this authority.
    fn server(&self, name: &str, client: Client) -> TlsAcceptor {
        let (leaf, key) = self.leaf(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match client {
            Client::Anybody => builder.with_no_client_auth(),
            Client::Known => {
                let mut roots = RootCertStore::empty();
                roots.add(self.issuer.der().clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
        let config = builder.with_single_cert(chain, key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A certificate of a client in files.
    fn client(&self) -> ClientCertificate {
        let (leaf, key) = self.leaf("me");
        let at = |name: &str| self.folder.path().join(name);
        std::fs::write(at("me.pem"), leaf.pem()).unwrap();
        std::fs::write(at("me.key"), key.serialize_pem()).unwrap();
        ClientCertificate {
            chain: at("me.pem"),
            key: at("me.key"),
        }
    }

    fn sealed(&self, name: &str, upstream: Upstream) -> Upstream {
        Upstream {
            tls: Some(UpstreamTls {
                name: Some(name.parse().unwrap()),
                roots: self.roots(),
                certificate: None,
            }),
            ..upstream
        }
    }
}

#[derive(Clone, Copy)]
enum Client {
    Anybody,
    Known,
}

#[tokio::test]
async fn bytes_pass_whole_through_tls_and_so_does_the_end_of_each_side() {
    let world = World::new();
    let much: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    for kind in KINDS {
        let tls = world.server("proxy.example", Client::Anybody);
        let mut proxy = Stage::new(kind, Some(tls)).await;
        let corp = world.sealed("proxy.example", upstream("corp", kind, proxy.address));
        let mut bench = Bench::new(all_through(vec![corp]));
        let to = echo().await;
        let program = bench.program(to).await;
        assert!(exchange(program, &much).await == much);
        assert_eq!(proxy.asked().await, to.to_string());
        let record = bench.record().await;
        assert_eq!((record.outcome, record.error), (Outcome::Ok, None));
        assert_eq!(record.received, Some(much.len() as u64));
    }
}

#[tokio::test]
async fn tls_goes_within_tls_along_a_chain() {
    let world = World::new();
    let far = Stage::new(
        UpstreamKind::Http,
        Some(world.server("far.example", Client::Anybody)),
    )
    .await;
    let near = Stage::new(
        UpstreamKind::Socks5,
        Some(world.server("near.example", Client::Anybody)),
    )
    .await;
    let mut last = world.sealed(
        "far.example",
        upstream("far", UpstreamKind::Http, far.address),
    );
    last.via = Some("near".to_owned());
    let first = upstream("near", UpstreamKind::Socks5, near.address);
    let first = world.sealed("near.example", first);
    let bench = Bench::new(all_through(vec![last, first]));
    let program = bench.program(echo().await).await;
    let much = vec![7; 200_000];
    assert!(exchange(program, &much).await == much);
}

#[tokio::test]
async fn a_proxy_that_cannot_prove_its_name_gets_nothing() {
    let (world, other) = (World::new(), World::new());
    for (tls, what) in [
        (
            world.server("wrong.example", Client::Anybody),
            "proxy.example",
        ),
        (
            other.server("proxy.example", Client::Anybody),
            "proxy.example",
        ),
    ] {
        for kind in KINDS {
            let mut proxy = Stage::new(kind, Some(tls.clone())).await;
            let corp = world.sealed(what, upstream("corp", kind, proxy.address));
            let mut bench = Bench::new(all_through(vec![corp]));
            let mut program = bench.program(echo().await).await;
            broken(&mut program).await;
            let record = bench.record().await;
            assert_eq!(record.outcome, Outcome::Error);
            let error = record.error.unwrap();
            assert!(error.starts_with("TLS with the proxy failed: "), "{error}");
            assert!(proxy.asked.try_recv().is_err());
        }
    }
}

#[tokio::test]
async fn a_proxy_that_asks_who_we_are_is_shown_our_certificate() {
    let world = World::new();
    let tls = world.server("proxy.example", Client::Known);
    let proxy = Stage::new(UpstreamKind::Http, Some(tls)).await;
    let mut corp = world.sealed(
        "proxy.example",
        upstream("corp", UpstreamKind::Http, proxy.address),
    );
    let bench = Bench::new(all_through(vec![corp.clone()]));
    let mut program = bench.program(echo().await).await;
    broken(&mut program).await;
    corp.tls.as_mut().unwrap().certificate = Some(world.client());
    let bench = Bench::new(all_through(vec![corp]));
    let program = bench.program(echo().await).await;
    assert_eq!(exchange(program, b"x").await, b"x");
}

#[tokio::test]
async fn datagrams_do_not_go_beside_the_tls_of_a_proxy() {
    let world = World::new();
    let tls = world.server("proxy.example", Client::Anybody);
    let proxy = Stage::new(UpstreamKind::Socks5, Some(tls)).await;
    let corp = upstream("corp", UpstreamKind::Socks5, proxy.address);
    let mut bench = Bench::new(all_through(vec![world.sealed("proxy.example", corp)]));
    let mut program = Program::begin(&bench, udp_echo().await, b"x").await;
    assert_eq!(program.refused().await.0, Refusal::Upstream);
    let error = bench.record().await.error.unwrap();
    assert_eq!(error, "a proxy that is spoken to in TLS carries no UDP");
}

#[test]
fn certificates_that_are_not_there_are_found_before_anything_is_dialled() {
    let mut corp = upstream("corp", UpstreamKind::Http, "192.0.2.1:1".parse().unwrap());
    corp.tls = Some(UpstreamTls {
        roots: vec!["/does/not/exist.pem".into()],
        ..UpstreamTls::default()
    });
    let error = Engine::builder(all_through(vec![corp]))
        .build()
        .unwrap_err();
    assert!(matches!(error, EngineError::Sealing { .. }), "{error}");
    assert!(
        error.help().contains("/does/not/exist.pem"),
        "{}",
        error.help()
    );
}
