//! Who opened a connection, by what the hook wrote into its token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steer_core::steered::Identity;
use steer_kernel::cgroup::CgroupTree;

use super::{container, process};
use crate::abi::Token;

/// Tells who is behind tokens.
#[derive(Clone, Debug)]
pub(super) struct Identities {
    /// Whether process ids mean here what they mean to the kernel's programs.
    initial: bool,
    /// Whether to ask for what is not in the token.
    further: bool,
    cgroups: Arc<Mutex<Cgroups>>,
}

/// Paths of cgroups by their ids, which are never used again.
#[derive(Debug, Default)]
struct Cgroups {
    tree: Option<CgroupTree>,
    paths: HashMap<u64, Option<String>>,
    walked: Option<Instant>,
}

impl Identities {
    /// `further` asks for program files, names and cgroups, which costs system calls.
    pub(super) fn new(further: bool) -> Self {
        let tree = match further {
            true => CgroupTree::open().ok(),
            false => None,
        };
        let cgroups = Cgroups {
            tree,
            ..Cgroups::default()
        };
        Self {
            initial: process::is_initial(),
            further,
            cgroups: Arc::new(Mutex::new(cgroups)),
        }
    }

    /// Who got a token.
    pub(super) fn of(&self, token: &Token) -> Identity {
        let pid = self.initial.then_some(token.pid);
        let known = pid.filter(|_| self.further);
        let cgroup = self.further.then(|| self.cgroup(token, pid)).flatten();
        Identity {
            pid,
            uid: Some(token.uid),
            gid: Some(token.gid),
            exe: known.and_then(|pid| process::exe(pid, token.made)),
            // A hook that may not read the kernel's memory tells the name of the thread that called.
            command: known
                .and_then(|pid| process::command(pid, token.made))
                .or_else(|| name(&token.command)),
            container: cgroup.as_deref().and_then(container::of),
            cgroup,
        }
    }

    fn cgroup(&self, token: &Token, pid: Option<u32>) -> Option<String> {
        let mut cgroups = self.cgroups.lock().unwrap_or_else(PoisonError::into_inner);
        cgroups.path(token.cgroup, pid)
    }
}

impl Cgroups {
    /// The path of a cgroup; none where it is gone or cannot be seen from here.
    fn path(&mut self, id: u64, pid: Option<u32>) -> Option<String> {
        if let Some(known) = self.paths.get(&id) {
            return known.clone();
        }
        if self.paths.len() >= PATHS_MOST {
            self.paths.clear();
        }
        // The process itself names it, where it still runs.
        let named = pid.and_then(process::cgroup);
        if let Some(path) = named.filter(|path| self.id(path) == Some(id)) {
            self.paths.insert(id, Some(path.clone()));
            return Some(path);
        }
        // By its number, where we may; else by a look at all.
        if let Some(Ok(found)) = self.tree.as_ref().map(|tree| tree.path_of(id)) {
            self.paths.insert(id, found.clone());
            return found;
        }
        let now = Instant::now();
        if self.walked.is_none_or(|last| now - last >= WALK_EVERY) {
            self.walked = Some(now);
            self.walk();
            // What is not there by now will not come back.
            self.paths.entry(id).or_insert(None);
        }
        self.paths.get(&id).cloned().flatten()
    }

    fn id(&self, path: &str) -> Option<u64> {
        self.tree.as_ref()?.cgroup(path).ok()?.id().ok()
    }

    fn walk(&mut self) {
        let Some(tree) = &self.tree else { return };
        let below = tree.find("").unwrap_or_default();
        for path in below.into_iter().chain([String::new()]) {
            if let Some(id) = self.id(&path) {
                self.paths.insert(id, Some(path));
            }
        }
    }
}

/// A name, up to the first zero.
fn name(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    (end > 0).then(|| String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// The least time between two looks at the whole hierarchy.
const WALK_EVERY: Duration = Duration::from_secs(1);

/// How many paths are remembered.
const PATHS_MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::super::tokens::tests::token;
    use super::*;

    #[test]
    fn a_token_tells_who_got_it_also_where_the_process_is_gone() {
        let who = Identities::new(false).of(&token("203.0.113.7:443", "127.0.0.1:40000"));
        assert_eq!((who.uid, who.gid), (Some(5), Some(6)));
        assert_eq!(who.command.as_deref(), Some("demo"));
        assert_eq!((who.exe, who.cgroup, who.container), (None, None, None));
        assert_eq!(name(&[0; 16]), None);
        assert_eq!(
            name(b"sixteen bytes it").as_deref(),
            Some("sixteen bytes it")
        );
    }
}
