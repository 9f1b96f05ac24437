//! The processes in namespaces of a command's own.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::Entrance;

/// Finds the processes in the namespaces that a holder made.
///
/// It holds the namespaces, so that they are no others' while it lives.
#[derive(Debug)]
pub struct Residents {
    entrance: Arc<Entrance>,
    /// It may still be about to end when its namespaces are looked into.
    holder: u32,
}

impl Residents {
    /// Of this holder's namespaces, also when it is gone by then.
    ///
    /// # Errors
    /// They cannot be found.
    pub fn of(holder: u32) -> io::Result<Self> {
        let entrance = Entrance::of(holder)?;
        Ok(Self { entrance, holder })
    }

    /// Who is in the network of the namespaces beside the holder: whoever made the namespaces may
    /// look at every one of his processes there.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn list(&self) -> io::Result<Vec<u32>> {
        let network = self.entrance.network().as_raw_fd();
        let identity = |path: String| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
        let ours = identity(format!("/proc/self/fd/{network}"))?;
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // One that has ended is in none.
            if pid != self.holder
                && identity(format!("/proc/{pid}/ns/net")).is_ok_and(|theirs| theirs == ours)
            {
                all.push(pid);
            }
        }
        all.sort_unstable();
        Ok(all)
    }
}
