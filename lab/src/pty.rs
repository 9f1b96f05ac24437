//! A program on a real terminal, in a session of its own.

use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use nix::pty::{Winsize, openpty};

use crate::proc::{Proc, spawn};
use crate::program::Program;
use crate::sys::Step;

/// A program that leads its own session on a pseudo-terminal, with what a user would do to it.
///
/// What it writes is its [`Proc::stdout`], with the terminal's echo and `\r\n` line ends. The
/// terminal hangs up on drop.
#[derive(Debug)]
pub struct Pty {
    proc: Proc,
    master: OwnedFd,
}

impl Pty {
    pub(crate) fn start(program: Program) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(&size, None).expect("the machine has pseudo-terminals");
        let duplicate = |fd: &OwnedFd| fd.try_clone().expect("a descriptor can be duplicated");
        let mut command = program.into_command_with(Some(Step::OwnTerminal));
        command.stdin(Stdio::from(duplicate(&pair.slave)));
        command.stdout(Stdio::from(duplicate(&pair.slave)));
        command.stderr(Stdio::from(pair.slave));
        let child = spawn(command);
        let proc = Proc::watch(
            child,
            Some(duplicate(&pair.master)),
            None,
            Some(duplicate(&pair.master)),
        );
        Self {
            proc,
            master: pair.master,
        }
    }

    /// Types these characters; a control key is its code, such as [`Self::CTRL_C`].
    pub fn type_keys(&self, keys: &str) {
        self.proc.write(keys.as_bytes());
    }

    /// The process group in the foreground of the terminal.
    pub fn foreground_group(&self) -> i32 {
        nix::unistd::tcgetpgrp(&self.master)
            .expect("the terminal has a session")
            .as_raw()
    }

    /// What Ctrl-C sends.
    pub const CTRL_C: &str = "\x03";
    /// What Ctrl-Z sends.
    pub const CTRL_Z: &str = "\x1a";
    /// What Ctrl-D sends.
    pub const CTRL_D: &str = "\x04";
    /// What Ctrl-\ sends.
    pub const CTRL_BACKSLASH: &str = "\x1c";
}

impl Deref for Pty {
    type Target = Proc;

    fn deref(&self) -> &Proc {
        &self.proc
    }
}
