//! The local certificate authority.

mod error;
mod folder;
mod leaf;
mod pair;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use nix::unistd::Uid;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use steer_core::policy::Tls;

pub use error::{AuthorityError, LeafError};
use folder::Folder;
use leaf::{Leaf, Press};
use pair::Pair;

use crate::home::expand;

/// A certificate authority whose key never leaves its folder on this host.
///
/// The folder (mode 0700) holds `ca.pem`, which clients have to believe, and `ca.key` (mode 0600).
///
/// ```
/// use steer_tls::{Authority, ServerName};
///
/// let folder = tempfile::tempdir().unwrap();
/// let authority = Authority::open(&folder.path().join("ca")).unwrap();
/// let leaf = authority.leaf(&ServerName::try_from("example.com").unwrap()).unwrap();
/// assert_eq!(leaf.cert.len(), 1);
/// assert!(authority.pem().starts_with("-----BEGIN CERTIFICATE-----"));
/// ```
pub struct Authority {
    folder: PathBuf,
    pem: String,
    certificate: CertificateDer<'static>,
    press: Press,
    leaves: Mutex<Leaves>,
}

/// The leaves that were made, with the turn of their last use.
#[derive(Default)]
struct Leaves {
    turn: u64,
    made: HashMap<ServerName<'static>, (Leaf, u64)>,
}

impl Authority {
    /// Opens the authority of a folder; on first use both are made.
    ///
    /// Two that do so at the same time get the same one.
    ///
    /// # Errors
    /// The folder or what is in it is not as it has to be: readable by others, owned by another
    /// user, a symbolic link, expired, damaged. Nothing is repaired, because what others could read
    /// or write may be theirs by then.
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let folder = Folder::open(folder)?;
        let now = SystemTime::now();
        let pair = match folder.load()? {
            Some(files) => Pair::read(&folder, files, now)?,
            None => {
                let made = Pair::make(now).map_err(|source| AuthorityError::Make {
                    folder: folder.path().to_owned(),
                    source,
                })?;
                folder.store(&made)?;
                made
            }
        };
        let broken = |source| AuthorityError::Unusable {
            file: folder.certificate(),
            source,
        };
        let (pem, certificate) = (pair.pem.clone(), pair.certificate.clone());
        Ok(Self {
            folder: folder.path().to_owned(),
            pem,
            certificate,
            press: Press::new(pair).map_err(broken)?,
            leaves: Mutex::default(),
        })
    }

    /// The folder that a policy means: its own, or the usual one of the user.
    ///
    /// # Errors
    /// There is no usual one, because the user has no home.
    pub fn folder_of(tls: &Tls) -> Result<PathBuf, AuthorityError> {
        if let Some(folder) = &tls.authority {
            return Ok(expand(folder).into_owned());
        }
        if Uid::effective().is_root() {
            return Ok(PathBuf::from("/var/lib/steer"));
        }
        let absolute = |name| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        absolute("XDG_STATE_HOME")
            .or_else(|| Some(absolute("HOME")?.join(".local/state")))
            .map(|state| state.join("steer"))
            .ok_or(AuthorityError::NoHome)
    }

    /// The certificate for a server's name or address.
    ///
    /// It is valid for a day; one that has passed half of it is made again. It costs some tens of
    /// microseconds to make, so that no other thread has to.
    ///
    /// # Errors
    /// The name cannot be written into a certificate.
    pub fn leaf(&self, name: &ServerName<'_>) -> Result<Arc<CertifiedKey>, LeafError> {
        self.leaf_at(name, SystemTime::now())
    }

    fn leaf_at(
        &self,
        name: &ServerName<'_>,
        now: SystemTime,
    ) -> Result<Arc<CertifiedKey>, LeafError> {
        let name = name.to_owned();
        if let Some(key) = self.leaves().find(&name, now) {
            return Ok(key);
        }
        // Two may make the same one; the lock is not worth their waiting.
        let leaf = self.press.leaf(&name, now)?;
        let key = Arc::clone(&leaf.key);
        self.leaves().keep(name, leaf);
        Ok(key)
    }

    /// The certificate of the authority, PEM: what a client has to believe.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate of the authority, DER.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Where the certificate of the authority lies.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join(folder::CERTIFICATE)
    }

    fn leaves(&self) -> std::sync::MutexGuard<'_, Leaves> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leaves {
    fn find(&mut self, name: &ServerName<'static>, now: SystemTime) -> Option<Arc<CertifiedKey>> {
        self.turn += 1;
        let (leaf, used) = self.made.get_mut(name)?;
        // Also where the clock was set back: it would not be valid yet.
        if !leaf.fresh(now) {
            return None;
        }
        *used = self.turn;
        Some(Arc::clone(&leaf.key))
    }

    fn keep(&mut self, name: ServerName<'static>, leaf: Leaf) {
        if self.made.len() >= CAPACITY && !self.made.contains_key(&name) {
            // A scan, once for a name that is seen for the first time beyond a thousand.
            let oldest = self.made.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.made.remove(&oldest);
            }
        }
        self.made.insert(name, (leaf, self.turn));
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// How many leaves are kept.
const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests;
