//! A command that asks a server, under each method and as each kind of user.

use std::net::SocketAddr;

use lab::{Family, Packet, Program, Server, Service};

use crate::site::Site;

/// A method that needs no privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Netns,
    Seccomp,
    Preload,
    Env,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Netns, Self::Seccomp, Self::Preload, Self::Env];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Netns => "netns",
            Self::Seccomp => "seccomp",
            Self::Preload => "preload",
            Self::Env => "env",
        }
    }

    /// Whether programs are steered that know nothing of it.
    pub(crate) fn is_transparent(self) -> bool {
        self != Self::Env
    }
}

/// Who runs `steer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Ordinary,
    Root,
}

/// Two hosts, and a server of HTTP on the second.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) site: Site,
    pub(crate) way: Way,
    pub(crate) user: User,
    /// The server.
    pub(crate) at: SocketAddr,
    _server: Server,
}

impl Scene {
    /// One scene for each of these methods and each user.
    pub(crate) fn each(label: &str, ways: &[Way], test: impl Fn(&Self)) {
        for way in ways {
            for user in [User::Ordinary, User::Root] {
                eprintln!("{} as {user:?}", way.name());
                test(&Self::new(label, *way, user));
            }
        }
    }

    pub(crate) fn new(label: &str, way: Way, user: User) -> Self {
        let site = Site::new(label);
        let server = site.srv.serve(80, Service::Http);
        let at = site.srv.at(Family::V4, 80);
        Self {
            site,
            way,
            user,
            at,
            _server: server,
        }
    }

    /// `steer` as the user, without arguments.
    pub(crate) fn steer(&self) -> Program {
        match self.user {
            User::Ordinary => self.site.unprivileged(),
            User::Root => self.site.steer(),
        }
    }

    /// `steer run`, up to the words of the command.
    pub(crate) fn run(&self, flags: &[&str]) -> Program {
        self.steer()
            .args(["run", "-m", self.way.name(), "--name", &self.site.name])
            .args(flags)
            .arg("--log")
            .arg(self.site.log())
            .arg("--")
    }

    /// What the plan says, in one line.
    pub(crate) fn plan(&self) -> String {
        let plan = self.steer().args(["plan", "--run", "-m", self.way.name()]);
        plan.run().expect_success()
    }

    /// Python code that defines `ask()`, which reads the variables, and `connect()`, which does not.
    pub(crate) fn client(&self) -> String {
        format!(
            "import os, socket, sys, urllib.request\n\
             def ask():\n  return urllib.request.urlopen('http://{at}/x', timeout=20).read().decode()\n\
             def connect():\n  s = socket.create_connection(('{ip}', {port}), 20)\n  \
             s.sendall(b'GET /x HTTP/1.0\\r\\n\\r\\n')\n  return s.recv(99).decode()\n",
            at = self.at,
            ip = self.at.ip(),
            port = self.at.port(),
        )
    }

    /// As [`Self::client`], in a program.
    pub(crate) fn python(&self, code: &str) -> [String; 3] {
        ["python3", "-c", &(self.client() + code)].map(str::to_owned)
    }

    /// Connections to the server that were seen on the wire.
    pub(crate) fn connects(&self, wire: &lab::Capture) -> Vec<Packet> {
        wire.packets(|packet| packet.destination == self.at && packet.is_connect())
    }
}
