use std::os::unix::fs::MetadataExt;
use std::process::Command;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;

fn authority() -> (TempDir, Authority) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(&folder.path().join("ca")).unwrap();
    (folder, authority)
}

fn believed(trust: &Trust) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(trust.bundle())
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn value(trust: &Trust, name: &str) -> Option<String> {
    trust.settings().iter().find_map(|setting| match setting {
        ChildSetting::Env { name: n, value } | ChildSetting::Append { name: n, value } => {
            (n == name).then(|| value.clone())
        }
        _ => None,
    })
}

#[test]
fn the_authority_is_believed_beside_the_hosts_roots() {
    let (_folder, authority) = authority();
    let trust = Trust::prepare(&authority, |_| None).unwrap();
    let believed = believed(&trust);
    assert!(believed.contains(authority.certificate()));
    let host = rustls_native_certs::load_native_certs().certs;
    assert!(host.iter().all(|root| believed.contains(root)));
    assert_eq!(trust.warnings(), [""; 0]);
}

#[test]
fn the_users_own_certificates_stay_believed() {
    let ((_one, ours), (folder, theirs)) = (authority(), authority());
    let (_two, other) = authority();
    let directory = folder.path().join("certs");
    fs::create_dir(&directory).unwrap();
    fs::copy(other.file(), directory.join("other.pem")).unwrap();
    fs::write(directory.join("README"), "no certificate").unwrap();
    let own = |name: &str| match name {
        "NODE_EXTRA_CA_CERTS" => Some(theirs.file().into_os_string()),
        "REQUESTS_CA_BUNDLE" => Some(directory.clone().into_os_string()),
        "PIP_CERT" => Some(OsString::new()),
        _ => None,
    };
    let trust = Trust::prepare(&ours, own).unwrap();
    let believed = believed(&trust);
    for authority in [&ours, &theirs, &other] {
        assert!(believed.contains(authority.certificate()));
    }
    assert_eq!(trust.warnings(), [""; 0]);
}

#[test]
fn what_cannot_be_kept_is_said() {
    let (_folder, authority) = authority();
    let own = |name: &str| match name {
        "GIT_SSL_CAINFO" => Some("/nowhere/ca.pem".into()),
        "JAVA_TOOL_OPTIONS" => Some("-Djavax.net.ssl.trustStore=/own.jks".into()),
        _ => None,
    };
    let trust = Trust::prepare(&authority, own).unwrap();
    let warnings = trust.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("GIT_SSL_CAINFO names /nowhere/ca.pem"));
    assert!(warnings[1].contains("JAVA_TOOL_OPTIONS"));
    assert_eq!(value(&trust, "JAVA_TOOL_OPTIONS"), None);
}

#[test]
fn everybody_can_read_the_files_and_nobody_else_write_them_and_they_go() {
    let (_folder, authority) = authority();
    let trust = Trust::prepare(&authority, |_| None).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    let folder = trust.bundle().parent().unwrap().to_owned();
    assert_eq!(mode(&folder), 0o755);
    for entry in fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o444);
    }
    drop(trust);
    assert!(!folder.exists());
}

#[test]
fn what_covers_the_systems_files_is_ours() {
    let (_folder, authority) = authority();
    let trust = Trust::prepare(&authority, |_| None).unwrap();
    for cover in trust.covers() {
        let ChildSetting::Cover { path, with } = &cover else {
            panic!("{cover}");
        };
        assert!(path.is_file(), "{cover}");
        let java = path.to_str().unwrap().contains("java");
        let file = if java { &trust.keystore } else { &trust.bundle };
        assert_eq!(with, file, "{cover}");
    }
}

#[test]
fn java_reads_the_store() {
    let (_folder, authority) = authority();
    let trust = Trust::prepare(&authority, |_| None).unwrap();
    let listed = Command::new("keytool")
        .args(["-list", "-storetype", "JKS", "-storepass", "changeit"])
        .arg("-keystore")
        .arg(&trust.keystore)
        .env_remove("JAVA_TOOL_OPTIONS")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.status.success(), "{text}");
    let entries = text.matches("trustedCertEntry").count();
    assert_eq!(entries, believed(&trust).len());
}

#[test]
fn a_path_with_blanks_is_one_word_for_java() {
    let words = keystore::options(Path::new("/tmp/a b/c.jks"));
    assert!(words.contains("trustStore=\"/tmp/a b/c.jks\" "), "{words}");
}

#[test]
fn no_variable_is_listed_twice() {
    let mut names: Vec<_> = TRUST_VARIABLES.iter().map(|v| v.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn the_documentation_has_every_variable_and_who_reads_it() {
    let text = include_str!("../../../../docs/tls.md");
    for variable in TRUST_VARIABLES {
        let row = format!("| `{}` | {} |", variable.name, variable.readers);
        assert!(text.contains(&row), "{row}");
    }
}
