use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

fn folder() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("state/steer");
    (parent, folder)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn name(text: &str) -> ServerName<'static> {
    ServerName::try_from(text.to_owned()).unwrap()
}

fn refusal(folder: &Path) -> AuthorityError {
    let error = Authority::open(folder).unwrap_err();
    assert!(!error.help().is_empty());
    error
}

#[test]
fn the_first_use_makes_an_authority_that_only_its_user_can_read() {
    let (_parent, folder) = folder();
    let authority = Authority::open(&folder).unwrap();
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("ca.key")), 0o600);
    assert_eq!(authority.file(), folder.join("ca.pem"));
    assert_eq!(
        fs::read_to_string(authority.file()).unwrap(),
        authority.pem()
    );
    let (_, parsed) = X509Certificate::from_der(authority.certificate()).unwrap();
    assert!(parsed.is_ca());
    assert!(parsed.subject().to_string().contains("steer local CA"));
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn the_second_use_finds_the_same_authority() {
    let (_parent, folder) = folder();
    let first = Authority::open(&folder).unwrap();
    let second = Authority::open(&folder).unwrap();
    assert_eq!(first.pem(), second.pem());
}

#[test]
fn many_first_uses_at_once_make_one_authority() {
    let (_parent, folder) = folder();
    let opened: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Authority::open(&folder).unwrap().pem().to_owned()))
            .collect();
        started.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(opened.iter().all(|pem| *pem == opened[0]));
    assert_eq!(
        fs::read_to_string(folder.join("ca.pem")).unwrap(),
        opened[0]
    );
}

#[test]
fn what_others_can_read_or_write_is_refused() {
    for (file, given, could) in [
        ("", 0o750, "read"),
        ("", 0o702, "write"),
        ("ca.key", 0o640, "read"),
        ("ca.key", 0o604, "read"),
        ("ca.key", 0o620, "write"),
        ("ca.pem", 0o666, "write"),
    ] {
        let (_parent, folder) = folder();
        drop(Authority::open(&folder).unwrap());
        let path = folder.join(file);
        chmod(&path, given);
        let error = refusal(&folder);
        assert!(
            matches!(&error, AuthorityError::Open { could: found, .. } if *found == could),
            "{file} {given:o}: {error}"
        );
        assert!(error.help().contains("chmod"), "{}", error.help());
        chmod(&path, if file.is_empty() { 0o700 } else { 0o600 });
        Authority::open(&folder).unwrap();
    }
}

#[test]
fn what_another_user_owns_is_refused() {
    if !Uid::effective().is_root() {
        // Only root can give files away.
        return;
    }
    for file in ["", "ca.key", "ca.pem"] {
        let (_parent, folder) = folder();
        drop(Authority::open(&folder).unwrap());
        std::os::unix::fs::chown(folder.join(file), Some(1), None).unwrap();
        let error = refusal(&folder);
        assert!(
            matches!(error, AuthorityError::Owner { owner: 1, .. }),
            "{error}"
        );
    }
}

#[test]
fn a_symbolic_link_is_refused_wherever_it_leads() {
    for file in ["", "ca.key", "ca.pem"] {
        let (parent, folder) = folder();
        drop(Authority::open(&folder).unwrap());
        let (path, elsewhere) = (folder.join(file), parent.path().join("elsewhere"));
        let path = PathBuf::from(path.to_str().unwrap().trim_end_matches('/'));
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let error = refusal(&folder);
        assert!(matches!(error, AuthorityError::Shape { .. }), "{error}");
    }
}

#[test]
fn what_is_no_file_is_refused_without_waiting_for_a_writer() {
    let (_parent, folder) = folder();
    drop(Authority::open(&folder).unwrap());
    let key = folder.join("ca.key");
    fs::remove_file(&key).unwrap();
    nix::unistd::mkfifo(&key, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(matches!(refusal(&folder), AuthorityError::Shape { .. }));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ((_one, first), (_two, second)) = (folder(), folder());
    drop(Authority::open(&first).unwrap());
    drop(Authority::open(&second).unwrap());
    fs::copy(second.join("ca.key"), first.join("ca.key")).unwrap();
    assert!(matches!(refusal(&first), AuthorityError::Mismatch { .. }));
}

#[test]
fn a_certificate_without_its_key_is_refused_and_stays() {
    let (_parent, folder) = folder();
    drop(Authority::open(&folder).unwrap());
    fs::remove_file(folder.join("ca.key")).unwrap();
    assert!(matches!(refusal(&folder), AuthorityError::NoKey { .. }));
    assert!(folder.join("ca.pem").exists());
}

#[test]
fn a_maker_that_was_ended_half_way_is_no_obstacle() {
    let (_parent, folder) = folder();
    drop(Authority::open(&folder).unwrap());
    fs::remove_file(folder.join("ca.pem")).unwrap();
    fs::write(folder.join(".ca.pem.new"), "-----BEG").unwrap();
    let made = Authority::open(&folder).unwrap();
    assert_eq!(Authority::open(&folder).unwrap().pem(), made.pem());
}

#[test]
fn damage_is_refused() {
    for (file, text) in [
        ("ca.pem", ""),
        (
            "ca.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
        ("ca.key", ""),
        (
            "ca.key",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ),
    ] {
        let (_parent, folder) = folder();
        drop(Authority::open(&folder).unwrap());
        fs::write(folder.join(file), text).unwrap();
        let error = refusal(&folder);
        assert!(matches!(error, AuthorityError::Malformed { .. }), "{error}");
    }
}

/// Puts a certificate that we would not make into a folder.
fn put(folder: &Path, change: impl FnOnce(&mut CertificateParams)) {
    drop(Authority::open(folder).unwrap());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let made = params.self_signed(&key).unwrap();
    fs::write(folder.join("ca.pem"), made.pem()).unwrap();
    fs::write(folder.join("ca.key"), key.serialize_pem()).unwrap();
}

#[test]
fn an_authority_out_of_its_time_is_refused() {
    let (_parent, folder) = folder();
    put(&folder, |params| {
        params.not_after = date_time_ymd(2020, 1, 1)
    });
    assert!(matches!(refusal(&folder), AuthorityError::Expired { .. }));
    put_again(&folder, |params| {
        params.not_before = date_time_ymd(2900, 1, 1)
    });
    assert!(matches!(refusal(&folder), AuthorityError::Early { .. }));
}

fn put_again(folder: &Path, change: impl FnOnce(&mut CertificateParams)) {
    fs::remove_file(folder.join("ca.pem")).unwrap();
    put(folder, change);
}

#[test]
fn a_certificate_that_may_not_sign_is_refused() {
    let (_parent, folder) = folder();
    put(&folder, |params| params.is_ca = IsCa::NoCa);
    assert!(matches!(
        refusal(&folder),
        AuthorityError::NotAuthority { .. }
    ));
}

#[test]
fn an_authority_of_the_users_own_making_signs() {
    let (_parent, folder) = folder();
    put(&folder, |_| {});
    let authority = Authority::open(&folder).unwrap();
    authority.leaf(&name("example.com")).unwrap();
}

#[test]
fn a_leaf_is_made_once_and_again_after_half_its_time() {
    let (_parent, folder) = folder();
    let authority = Authority::open(&folder).unwrap();
    let (now, name) = (SystemTime::now(), name("example.com"));
    let at = |hours: u64| {
        let then = now + Duration::from_secs(hours * 3600);
        authority.leaf_at(&name, then).unwrap()
    };
    let first = at(0);
    assert!(Arc::ptr_eq(&first, &at(11)));
    assert!(!Arc::ptr_eq(&first, &at(12)));
    // A clock that was set back further than what the certificate allows for.
    let earlier = now - Duration::from_secs(2 * 3600);
    let leaf = authority.leaf_at(&name, earlier).unwrap();
    let (_, parsed) = X509Certificate::from_der(&leaf.cert[0]).unwrap();
    let begin = parsed.validity().not_before.timestamp();
    let earlier = earlier.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert!(begin < i64::try_from(earlier.as_secs()).unwrap());
}

#[test]
fn no_two_leaves_have_the_same_number() {
    let (_parent, folder) = folder();
    let authority = Authority::open(&folder).unwrap();
    let mut numbers: Vec<_> = (0..50)
        .map(|n| {
            let leaf = authority.leaf(&name(&format!("h{n}.example"))).unwrap();
            let (_, parsed) = X509Certificate::from_der(&leaf.cert[0]).unwrap();
            parsed.raw_serial().to_vec()
        })
        .collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 50);
}

#[test]
fn a_thousand_names_are_remembered_and_the_least_used_goes_first() {
    let (_parent, folder) = folder();
    let authority = Authority::open(&folder).unwrap();
    let first = authority.leaf(&name("first.example")).unwrap();
    for n in 0..CAPACITY + 10 {
        authority.leaf(&name(&format!("h{n}.example"))).unwrap();
        let again = authority.leaf(&name("first.example")).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
    }
    assert_eq!(authority.leaves().made.len(), CAPACITY);
}

#[test]
fn no_output_shows_the_key() {
    let (_parent, folder) = folder();
    let authority = Authority::open(&folder).unwrap();
    let key = fs::read_to_string(folder.join("ca.key")).unwrap();
    let line = key.lines().nth(1).unwrap();
    assert!(!format!("{authority:?}").contains(line));
}

#[test]
fn the_policys_folder_goes_before_the_usual_one() {
    let tls = Tls {
        authority: Some("/srv/ca".into()),
        ..Tls::default()
    };
    assert_eq!(Authority::folder_of(&tls).unwrap(), Path::new("/srv/ca"));
}
