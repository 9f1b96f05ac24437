//! A web server that proves its name, and whoever is in its place.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lab::{Client, Host, Proc, Program, eventually};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tempfile::TempDir;

/// The name of the server: one that needs no resolver.
pub(crate) const NAME: &str = "localhost";

/// What the server is to get, and nobody else.
pub(crate) const TOKEN: &str = "hunter2-9d1f40c7";

/// nginx by HTTPS, beside the engine.
#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
    _nginx: Proc,
}

impl Site {
    /// Serves on a host what was asked for by the [`NAME`].
    pub(crate) fn serve(host: &Host) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        // Whoever runs `steer` keeps its authority here.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).expect("our own");
        certify(folder.path());
        fs::write(folder.path().join("token"), format!("{TOKEN}\n")).expect("our folder");
        let config = include_str!("nginx.conf").replace("{dir}", &folder.path().to_string_lossy());
        fs::write(folder.path().join("nginx.conf"), config).expect("our folder");
        let nginx = host
            .program("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .spawn();
        eventually("nginx listens", || {
            let answers = host.connect(([127, 0, 0, 1], 443).into()).is_ok();
            assert!(nginx.is_running(), "nginx ended: {nginx:#?}");
            answers.then_some(())
        });
        Self {
            folder,
            _nginx: nginx,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A policy by which the server gets the token.
    pub(crate) fn policy(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "tls: {{ authority: \"{folder}/ca\", roots: [\"{folder}/root.pem\"] }}\n\
             rules:\n\
             \x20 - name: api\n\
             \x20   match: {{ host: [{NAME}] }}\n\
             \x20   tls: intercept\n\
             \x20   http: {{ request: {{ set: {{ authorization: {{ file: \"{folder}/token\", \
             prefix: \"Bearer \" }} }} }} }}\n"
        )
    }

    /// What nginx has noted of so many requests: scheme, path and credentials.
    pub(crate) fn wait_noted(&self, count: usize) -> Vec<String> {
        eventually("nginx notes a request", || {
            let text = fs::read_to_string(self.path("access.log")).unwrap_or_default();
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// What a client says by TLS to whoever proves the name by the local authority.
    pub(crate) fn by_tls(&self, client: &Client, said: &str) -> String {
        let pem = self.path("ca/ca.pem");
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(pem).expect("the authority is made") {
            let root = root.expect("a certificate");
            roots.add(root).expect("a certificate of an authority");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the usual versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(NAME).expect("a name");
        let mut tls = ClientConnection::new(Arc::new(config), name).expect("a usual config");
        let mut socket = client.stream();
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        std::io::Write::write_all(&mut stream, said.as_bytes()).expect("the client believes it");
        let mut answer = Vec::new();
        // The end is nginx's: `connection: close` was asked for.
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        String::from_utf8(answer).expect("text")
    }
}

/// A request of which the response ends the connection.
pub(crate) fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n")
}

/// Writes an authority and a certificate of the [`NAME`] into a folder.
fn certify(folder: &Path) {
    let script = "cd \"$1\"\n\
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
          -subj /CN=lab -keyout root.key -out root.pem\n\
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
          -subj /CN=web -keyout web.key -out web.csr\n\
        printf 'subjectAltName=DNS:%s\\n' \"$2\" > extensions\n\
        openssl x509 -req -in web.csr -CA root.pem -CAkey root.key -CAcreateserial -days 2 \
          -extfile extensions -out web.pem\n";
    Program::new("sh")
        .args(["-ec", script, "sh"])
        .arg(folder)
        .arg(NAME)
        .run()
        .expect_success();
}
