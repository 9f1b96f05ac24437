//! What makes the programs of a command believe the authority.

mod bundle;
mod keystore;
mod variables;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use steer_core::object::ChildSetting;
use tempfile::TempDir;

use crate::Authority;
use bundle::Bundle;
pub use variables::{TRUST_VARIABLES, TrustValue, TrustVariable};

/// Files by which the programs of one command believe the authority, beside all that they would
/// believe without; they are removed when this is dropped.
///
/// ```
/// use steer_tls::{Authority, Trust};
///
/// let folder = tempfile::tempdir().unwrap();
/// let authority = Authority::open(&folder.path().join("ca")).unwrap();
/// let trust = Trust::prepare(&authority, |_| None).unwrap();
/// assert!(std::fs::read_to_string(trust.bundle()).unwrap().contains(authority.pem()));
/// assert!(trust.settings().iter().any(|s| s.to_string().contains("SSL_CERT_FILE")));
/// ```
#[derive(Debug)]
pub struct Trust {
    bundle: PathBuf,
    keystore: PathBuf,
    settings: Vec<ChildSetting>,
    warnings: Vec<String>,
    _folder: TempDir,
}

/// The files that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the command's certificates could not be written to {path}", path = .path.display())]
pub struct TrustError {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl TrustError {
    /// What to do next.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        "set TMPDIR to a directory in which this user may write"
    }
}

impl Trust {
    /// Writes the files. `own` is the caller's environment: what it names is believed too.
    ///
    /// # Errors
    /// There is no directory for temporary files to write them in.
    pub fn prepare(
        authority: &Authority,
        own: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, TrustError> {
        let mut bundle = Bundle::of_host();
        let mut warnings = Vec::new();
        let mut read = BTreeSet::new();
        for (name, value) in named(&own) {
            // Several variables name the same file, as ours do.
            if read.insert(value.clone())
                && let Err(error) = bundle.add_path(&value)
            {
                warnings.push(format!(
                    "{name} names {}, which cannot be read ({error}): the command believes what \
                     this host believes instead",
                    value.display()
                ));
            }
        }
        bundle.add(authority.certificate().clone());
        let folder = folder()?;
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            write(&path, bytes).map_err(|source| TrustError {
                path: path.clone(),
                source,
            })?;
            Ok(path)
        };
        let bundle_file = write("ca-bundle.pem", bundle.pem().as_bytes())?;
        let keystore = write("ca-bundle.jks", &keystore::jks(bundle.certificates()))?;
        let mut trust = Self {
            bundle: bundle_file,
            keystore,
            settings: Vec::new(),
            warnings,
            _folder: folder,
        };
        trust.set(own);
        Ok(trust)
    }

    /// The variables by which programs find the files.
    #[must_use]
    pub fn settings(&self) -> &[ChildSetting] {
        &self.settings
    }

    /// The files in the place of those of the system, for a command with mounts of its own:
    /// programs that read no variable, or whose variables are taken from them.
    #[must_use]
    pub fn covers(&self) -> Vec<ChildSetting> {
        let mut seen = BTreeSet::new();
        let bundles = SYSTEM_BUNDLES.iter().map(|path| (path, &self.bundle));
        let keystores = SYSTEM_KEYSTORES.iter().map(|path| (path, &self.keystore));
        bundles
            .chain(keystores)
            .filter_map(|(path, with)| {
                // Many of them are links to one.
                let path = fs::canonicalize(path).ok()?;
                (path.is_file() && seen.insert(path.clone())).then(|| ChildSetting::Cover {
                    path,
                    with: with.clone(),
                })
            })
            .collect()
    }

    /// What the user should know: certificates of his that the command does not believe.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// All certificates that are believed, PEM.
    #[must_use]
    pub fn bundle(&self) -> &Path {
        &self.bundle
    }

    fn set(&mut self, own: impl Fn(&str) -> Option<OsString>) {
        let bundle = self.bundle.to_string_lossy().into_owned();
        for variable in TRUST_VARIABLES {
            let name = variable.name.to_owned();
            match variable.value {
                TrustValue::Bundle => self.settings.push(ChildSetting::Env {
                    name,
                    value: bundle.clone(),
                }),
                TrustValue::Java => {
                    let words = own(&name).unwrap_or_default();
                    if words.to_string_lossy().contains("javax.net.ssl.trustStore") {
                        self.warnings.push(format!(
                            "{name} names a trust store, so Java programs do not believe the local \
                             authority: import ca.pem into it, or remove it"
                        ));
                        continue;
                    }
                    let value = keystore::options(&self.keystore);
                    self.settings.push(ChildSetting::Append { name, value });
                }
            }
        }
    }
}

/// The files and directories of certificates that the caller's variables name.
fn named(own: &impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, PathBuf)> {
    TRUST_VARIABLES
        .iter()
        .filter(|variable| variable.value == TrustValue::Bundle)
        .filter_map(|variable| Some((variable.name, own(variable.name)?)))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name, PathBuf::from(value)))
        .collect()
}

/// A folder that everybody may look into: what is in it is no secret, and a program that gives up
/// its privileges has to verify certificates too. Nobody else may write there.
fn folder() -> Result<TempDir, TrustError> {
    let failed = |source| TrustError {
        path: std::env::temp_dir(),
        source,
    };
    tempfile::Builder::new()
        .prefix("steer-ca-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .and_then(|folder| {
            // Whatever the umask of the caller.
            fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
            Ok(folder)
        })
        .map_err(failed)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(0o444))
}

/// Where systems keep what their programs believe.
const SYSTEM_BUNDLES: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/cert.pem",
];
const SYSTEM_KEYSTORES: [&str; 2] = [
    "/etc/ssl/certs/java/cacerts",
    "/etc/pki/ca-trust/extracted/java/cacerts",
];

#[cfg(test)]
mod tests;
