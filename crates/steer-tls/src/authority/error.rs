//! What can be wrong with the local authority.

use std::io;
use std::path::PathBuf;

/// An authority that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The user has no home, and no folder is written.
    #[error("there is no folder for the local certificate authority: HOME is not set")]
    NoHome,
    /// The folder could not be made or opened.
    #[error("the folder {path} of the local certificate authority cannot be used", path = .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("{path} could not be {what}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The folder or a file is a symbolic link, or no folder or file at all.
    #[error("{path} is not {expected}", path = .path.display())]
    Shape {
        /// The path.
        path: PathBuf,
        /// What it has to be.
        expected: &'static str,
    },
    /// Another user owns it.
    #[error("{path} belongs to the user {owner}, not to {user}, who runs steer", path = .path.display())]
    Owner {
        /// The path.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who runs this.
        user: u32,
    },
    /// Others may read or write it.
    #[error("{path} has the mode {mode:04o}: others could {could} it", path = .path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What others could do.
        could: &'static str,
        /// The permissions that it must have.
        wanted: u32,
    },
    /// A certificate without its key.
    #[error("{certificate} is there, and its key {key} is not", certificate = .certificate.display(), key = .key.display())]
    NoKey {
        /// The certificate.
        certificate: PathBuf,
        /// The missing key.
        key: PathBuf,
    },
    /// It cannot be read as what it is called.
    #[error("{path} holds no {what}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it has to hold.
        what: &'static str,
    },
    /// The key is another certificate's.
    #[error("{key} is not the key of {certificate}", certificate = .certificate.display(), key = .key.display())]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The certificate is one that may not sign others.
    #[error("{path} is not the certificate of an authority", path = .path.display())]
    NotAuthority {
        /// The certificate.
        path: PathBuf,
    },
    /// The time of the certificate is over.
    #[error("{path} has expired", path = .path.display())]
    Expired {
        /// The certificate.
        path: PathBuf,
    },
    /// The time of the certificate has not come.
    #[error("{path} is not valid yet", path = .path.display())]
    Early {
        /// The certificate.
        path: PathBuf,
    },
    /// No authority could be made.
    #[error("no certificate authority could be made for {folder}", folder = .folder.display())]
    Make {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: rcgen::Error,
    },
    /// Its key signs in no way that is known here.
    #[error("{file} and its key cannot sign", file = .file.display())]
    Unusable {
        /// The certificate.
        file: PathBuf,
        /// Why.
        source: rcgen::Error,
    },
}

impl AuthorityError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::NoHome => "set HOME, or write the folder as `tls.authority`".to_owned(),
            Self::Folder { path, .. } => format!(
                "make it possible for this user to have a folder at {}, or name another one as \
                 `tls.authority`",
                path.display()
            ),
            Self::File { .. } => {
                "look at the disk and at the permissions of the folder, or name another folder as \
                 `tls.authority`"
                    .to_owned()
            }
            Self::Shape { .. } => {
                "name the folder itself as `tls.authority`: nothing here may be a symbolic link"
                    .to_owned()
            }
            Self::Owner { .. } => {
                "run steer as the owner, or name a folder of your own as `tls.authority`".to_owned()
            }
            Self::Open { path, wanted, .. } => format!(
                "if nobody else can have used it, `chmod {wanted:04o} {}`; otherwise remove \
                 ca.pem and ca.key, and have no program believe the old ca.pem",
                path.display()
            ),
            Self::NoKey { certificate, .. } => format!(
                "put the key back, or remove {} to have another authority made",
                certificate.display()
            ),
            Self::Malformed { .. } | Self::Mismatch { .. } | Self::NotAuthority { .. } => {
                ANOTHER.to_owned()
            }
            Self::Expired { .. } => {
                "remove ca.pem and ca.key to have another authority made, and have its ca.pem \
                 believed where the old one was"
                    .to_owned()
            }
            Self::Early { .. } => "set the clock of this host".to_owned(),
            Self::Make { .. } => "look whether this host gives random numbers".to_owned(),
            Self::Unusable { .. } => ANOTHER.to_owned(),
        }
    }
}

const ANOTHER: &str =
    "put the right files back, or remove ca.pem and ca.key to have another authority made";

/// A certificate that could not be made for a server.
#[derive(Debug, thiserror::Error)]
#[error("no certificate could be made for {name}")]
pub struct LeafError {
    /// The server.
    pub name: String,
    /// Why.
    pub source: rcgen::Error,
}

impl LeafError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        format!("write a rule with `tls: pass` for {}", self.name)
    }
}
