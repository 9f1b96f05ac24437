//! Descendants of the command whose parents have ended.
//!
//! Where the security module Yama lets a process be looked at by its ancestors alone
//! (`kernel.yama.ptrace_scope=1`), a daemon would get out of the supervisor's sight with its
//! parent's end: it would become init's child. This process adopts it instead
//! (PR_SET_CHILD_SUBREAPER), and waits for it as init would.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::task::AbortHandle;

use crate::office::lock;
use crate::sys;

/// Adopts orphans until it is dropped, where that is needed.
#[derive(Debug)]
pub(crate) struct Orphans {
    /// The first processes of commands: whoever started them waits for them.
    commands: Arc<Mutex<BTreeSet<u32>>>,
    reaper: Option<AbortHandle>,
}

impl Orphans {
    /// Starts, where Yama asks for it.
    pub(crate) fn adopt() -> Self {
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
        Self::where_needed(scope.is_ok_and(|scope| scope.trim() == "1"))
    }

    fn where_needed(needed: bool) -> Self {
        let commands = Arc::default();
        let reaper = (needed && sys::adopt_orphans().is_ok())
            .then(|| tokio::spawn(reap(Arc::clone(&commands))).abort_handle());
        Self { commands, reaper }
    }

    /// Leaves a command to whoever started it.
    pub(crate) fn spare(&self, command: u32) {
        lock(&self.commands).insert(command);
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        if let Some(reaper) = &self.reaper {
            reaper.abort();
        }
    }
}

async fn reap(commands: Arc<Mutex<BTreeSet<u32>>>) {
    let own = filters("self").unwrap_or(0);
    loop {
        tokio::time::sleep(EVERY).await;
        for child in children() {
            let ours = lock(&commands).contains(&child);
            // Only what came under our filters; other children of this process are others' to wait
            // for.
            if !ours && filters(&child.to_string()).is_some_and(|count| count > own) {
                let pid = Pid::from_raw(i32::try_from(child).unwrap_or(0));
                // One that lives is not waited for.
                let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
            }
        }
    }
}

/// The children of every thread of this process (CONFIG_PROC_CHILDREN).
fn children() -> Vec<u32> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|list| {
            let each = list.split_whitespace().filter_map(|pid| pid.parse().ok());
            each.collect::<Vec<_>>()
        })
        .collect()
}

/// How many filters of system calls a process has; a process that has ended still says it.
fn filters(process: &str) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("Seccomp_filters:"))?;
    line.trim().parse().ok()
}

/// How long an orphan that has ended is left lying.
const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[tokio::test(flavor = "multi_thread")]
    async fn orphans_are_waited_for_and_other_children_are_not() {
        let orphans = Orphans::where_needed(true);
        // Under a filter of its own the thread starts what leaves an orphan behind, which ends.
        let left = std::thread::spawn(|| {
            let program = steer_kernel::seccomp::Program::families(&[1, 2, 10]);
            steer_kernel::seccomp::install(&program).unwrap();
            let output = Command::new("sh")
                .args(["-c", "sleep 0 & echo $!"])
                .output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        });
        let orphan: u32 = left.join().unwrap().trim().parse().unwrap();
        let mut ours = Command::new("true").spawn().unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while fs::exists(format!("/proc/{orphan}")).unwrap() {
            assert!(tokio::time::Instant::now() < deadline, "it was left lying");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(ours.wait().unwrap().success());
        drop(orphans);
    }
}
