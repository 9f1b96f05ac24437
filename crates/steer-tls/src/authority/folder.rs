//! The folder of the authority, and what may be in it.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};
use zeroize::Zeroizing;

use super::error::AuthorityError;
use super::pair::Pair;

/// The folder, held open and locked, so that what is checked is what is read.
pub(super) struct Folder {
    path: PathBuf,
    opened: Flock<File>,
}

/// What the files hold.
pub(super) struct Files {
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
}

impl Folder {
    /// Opens the folder, made where there is none; waits for another one who does so.
    pub(super) fn open(path: &Path) -> Result<Self, AuthorityError> {
        let failed = |source| AuthorityError::Folder {
            path: path.to_owned(),
            source,
        };
        let mut maker = DirBuilder::new();
        match maker.recursive(true).mode(FOLDER_MODE).create(path) {
            Ok(()) => {}
            // Looked at below.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = nix::fcntl::open(path, flags, Mode::empty());
        let opened = opened.map(File::from).map_err(|errno| match errno {
            Errno::ELOOP | Errno::ENOTDIR => AuthorityError::Shape {
                path: path.to_owned(),
                expected: "a folder",
            },
            errno => failed(errno.into()),
        })?;
        check(&opened, path, FOLDER_MODE)?;
        let opened = Flock::lock(opened, FlockArg::LockExclusive)
            .map_err(|(_, errno)| failed(errno.into()))?;
        Ok(Self {
            path: path.to_owned(),
            opened,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.path.join(CERTIFICATE)
    }

    pub(super) fn key(&self) -> PathBuf {
        self.path.join(KEY)
    }

    /// What the files hold; none where there is no certificate. A key alone is what a maker leaves
    /// that was ended half-way, and nobody believes anything by it.
    pub(super) fn load(&self) -> Result<Option<Files>, AuthorityError> {
        let Some(certificate) = self.read(CERTIFICATE, CERTIFICATE_MODE)? else {
            return Ok(None);
        };
        let Some(key) = self.read(KEY, KEY_MODE)? else {
            return Err(AuthorityError::NoKey {
                certificate: self.certificate(),
                key: self.key(),
            });
        };
        Ok(Some(Files {
            certificate: String::clone(&certificate),
            key,
        }))
    }

    /// Writes both; the certificate last, as it is what counts.
    pub(super) fn store(&self, pair: &Pair) -> Result<(), AuthorityError> {
        let key = Zeroizing::new(pair.key.serialize_pem());
        self.write(KEY, KEY_MODE, &key)?;
        self.write(CERTIFICATE, CERTIFICATE_MODE, &pair.pem)?;
        self.opened
            .sync_all()
            .map_err(|source| self.failed(CERTIFICATE, "written", source))
    }

    fn read(&self, name: &str, mode: u32) -> Result<Option<Zeroizing<String>>, AuthorityError> {
        let path = self.path.join(name);
        // A FIFO would have us wait for a writer.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let mut file = match openat(&*self.opened, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => {
                return Err(AuthorityError::Shape {
                    path,
                    expected: "a file",
                });
            }
            Err(errno) => return Err(self.failed(name, "read", errno.into())),
        };
        check(&file, &path, mode)?;
        let mut text = Zeroizing::new(String::with_capacity(FILE_MAX));
        let read = (&mut file)
            .take(FILE_MAX as u64)
            .read_to_string(&mut text)
            .map_err(|source| self.failed(name, "read", source))?;
        if read == FILE_MAX {
            return Err(AuthorityError::Malformed {
                path,
                what: "certificate or key of usual size",
            });
        }
        Ok(Some(text))
    }

    fn write(&self, name: &str, mode: u32, text: &str) -> Result<(), AuthorityError> {
        let temporary = format!(".{name}.new");
        let failed = |source| self.failed(name, "written", source);
        // Left by one that was ended half-way; the lock says that nobody writes it.
        match unlinkat(
            &*self.opened,
            temporary.as_str(),
            UnlinkatFlags::NoRemoveDir,
        ) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(
            &*self.opened,
            temporary.as_str(),
            flags,
            Mode::from_bits_truncate(mode),
        );
        let mut file = File::from(file.map_err(|errno| failed(errno.into()))?);
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        renameat(&*self.opened, temporary.as_str(), &*self.opened, name)
            .map_err(|errno| failed(errno.into()))
    }

    fn failed(&self, name: &str, what: &'static str, source: io::Error) -> AuthorityError {
        AuthorityError::File {
            path: self.path.join(name),
            what,
            source,
        }
    }
}

/// Whether what is open is ours alone; `mode` is the most that it may permit.
fn check(opened: &File, path: &Path, mode: u32) -> Result<(), AuthorityError> {
    let meta = opened.metadata().map_err(|source| AuthorityError::File {
        path: path.to_owned(),
        what: "looked at",
        source,
    })?;
    let folder = mode == FOLDER_MODE;
    if meta.is_dir() != folder || !folder && !meta.is_file() {
        return Err(AuthorityError::Shape {
            path: path.to_owned(),
            expected: if folder { "a folder" } else { "a file" },
        });
    }
    let user = Uid::effective().as_raw();
    if meta.uid() != user {
        return Err(AuthorityError::Owner {
            path: path.to_owned(),
            owner: meta.uid(),
            user,
        });
    }
    let excess = meta.mode() & 0o777 & !mode & 0o077;
    if excess != 0 {
        return Err(AuthorityError::Open {
            path: path.to_owned(),
            mode: meta.mode() & 0o7777,
            could: if excess & 0o022 == 0 { "read" } else { "write" },
            wanted: mode,
        });
    }
    Ok(())
}

pub(super) const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
const FOLDER_MODE: u32 = 0o700;
const CERTIFICATE_MODE: u32 = 0o644;
const KEY_MODE: u32 = 0o600;
/// Far more than a certificate or key takes.
const FILE_MAX: usize = 1 << 16;
