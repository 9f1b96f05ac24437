//! A steering of a whole host whose configuration is read again.

use std::net::SocketAddr;

use lab::{Failure, Proc, Signal, eventually};

use crate::site::{Means, Site, echoes};

/// The means of which each has a way of its own to change what is in force.
pub(crate) const MEANS: [Means; 5] = [
    Means::RedirectNft,
    Means::RedirectIptables,
    Means::TproxyNft,
    Means::TproxyIptables,
    Means::Ebpf,
];

/// `steer up` for a whole host.
pub(crate) struct Up<'a> {
    pub(crate) site: &'a Site,
    pub(crate) proc: Proc,
    means: Means,
}

impl<'a> Up<'a> {
    /// Starts with these lines of a configuration beside method and scope.
    pub(crate) fn start(site: &'a Site, means: Means, lines: &str) -> Self {
        let proc = site.up(&config(means, lines)).spawn();
        proc.wait_line(|line| line.contains("in force"));
        Self { site, proc, means }
    }

    /// Writes another configuration and has it read, which works.
    #[track_caller]
    pub(crate) fn reload(&self, lines: &str) {
        let said = self.reload_text(&config(self.means, lines));
        assert!(said.contains("as the config says"), "{said}");
    }

    /// Writes another configuration and has it read, which does not; gives what is said of it.
    #[track_caller]
    pub(crate) fn reload_in_vain(&self, lines: &str) -> String {
        let said = self.reload_text(&config(self.means, lines));
        assert!(said.contains("as it was before"), "{said}");
        said
    }

    /// Writes another file and has it read; gives all that is said of it.
    pub(crate) fn reload_text(&self, text: &str) -> String {
        self.site
            .write("config.yaml", &format!("name: {}\n{text}", self.site.name));
        self.again()
    }

    /// Has the file read again; gives all that is said of it.
    pub(crate) fn again(&self) -> String {
        let before = self.proc.stderr().len();
        self.proc.signal(Signal::SIGHUP);
        eventually("the configuration is read", || {
            assert!(self.proc.is_running(), "{}", self.proc.stderr());
            let said = self.proc.stderr().split_off(before);
            let end = said.rfind(" is in force as ")?;
            said[end..].contains('\n').then_some(said)
        })
    }

    /// Ends it in order; nothing is left.
    pub(crate) fn stop(self) {
        self.proc.signal(Signal::SIGTERM);
        assert_eq!(self.proc.wait(), lab::Status::Exited(0));
        self.site.assert_untouched();
    }
}

fn config(means: Means, lines: &str) -> String {
    let scope = match lines.contains("scope:") {
        true => "",
        false => "scope: { host: true }\n",
    };
    format!("{means}{scope}{lines}\n")
}

/// What became of a connect to an echo server, where a rule rejects whatever is steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Went {
    /// To the server.
    Direct,
    /// To the engine, which rejected it, or to nobody.
    Steered,
}

/// Connects, and tells which way it went.
pub(crate) fn went(connected: Result<lab::Client, Failure>) -> Went {
    match connected {
        Ok(mut client) => match echoes(&mut client, b"which way") {
            true => Went::Direct,
            false => Went::Steered,
        },
        Err(Failure::Refused | Failure::Reset) => Went::Steered,
        Err(failure) => panic!("neither direct nor rejected: {failure:?}"),
    }
}

/// The lines of a rule that rejects whatever is steered.
pub(crate) const REJECT: &str = "rules: [{ name: all, action: reject }]";

/// The way to a server that is asked for from the host.
pub(crate) fn way(site: &Site, to: SocketAddr) -> Went {
    went(site.connect(to))
}
