//! Whom a port serves that asks for no login.

use std::net::IpAddr;

use nix::unistd::{geteuid, getuid};
use steer_core::intent::Intent;
use steer_core::method::Method;

/// Whom a port serves: on loopback every user of the host reaches it, and whoever it serves acts
/// with the engine's rights and its upstreams' logins.
#[derive(Debug, Default)]
pub(crate) enum Gate {
    /// Whoever reaches it, or has the login that it asks for.
    #[default]
    Open,
    /// These users of this host.
    Users(Vec<u32>),
}

/// What a client is to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    /// Somebody it serves.
    Admitted,
    /// Another user of this host, or somebody here who cannot be told.
    Stranger,
}

impl Gate {
    /// The port of a command serves the users that command and engine run as, and root; one that
    /// asks for a login, and one that is made to be shared, do not look.
    pub(crate) fn new(intent: &Intent, via: Method) -> Self {
        if via != Method::Env || intent.listen.auth.is_some() {
            return Self::Open;
        }
        Self::Users(vec![0, getuid().as_raw(), geteuid().as_raw()])
    }

    /// Whether owners have to be asked for.
    pub(crate) fn asks(&self) -> bool {
        matches!(self, Self::Users(_))
    }

    /// What a client is, by its address and its user where that is known.
    ///
    /// A client on loopback that is not known has left already, or hides.
    pub(crate) fn meets(&self, client: IpAddr, uid: Option<u32>) -> Guest {
        let admitted = match (self, uid) {
            (Self::Open, _) => true,
            (Self::Users(users), Some(uid)) => users.contains(&uid),
            (Self::Users(_), None) => !client.to_canonical().is_loopback(),
        };
        if admitted {
            Guest::Admitted
        } else {
            Guest::Stranger
        }
    }
}

#[cfg(test)]
mod tests {
    use steer_core::instance::Instance;
    use steer_core::intent::Scope;
    use steer_core::policy::{Credentials, Secret};

    use super::*;

    #[test]
    fn the_port_of_a_command_serves_its_user_and_root_and_nobody_else_of_this_host() {
        let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
        let here = "127.0.0.1".parse().unwrap();
        let there = "192.0.2.1".parse().unwrap();
        let me = geteuid().as_raw();
        let gate = Gate::new(&intent, Method::Env);
        for (client, uid, guest) in [
            (here, Some(0), Guest::Admitted),
            (here, Some(me), Guest::Admitted),
            (here, Some(me + 1), Guest::Stranger),
            (here, None, Guest::Stranger),
            ("::ffff:127.0.0.1".parse().unwrap(), None, Guest::Stranger),
            (there, Some(me + 1), Guest::Stranger),
            (there, None, Guest::Admitted),
        ] {
            assert_eq!(gate.meets(client, uid), guest, "{client} {uid:?}");
        }
        assert!(!Gate::new(&intent, Method::Explicit).asks());
        intent.listen.auth = Some(Credentials {
            username: "ann".to_owned(),
            password: Secret::Literal("pw".to_owned()),
        });
        let gate = Gate::new(&intent, Method::Env);
        assert!(!gate.asks());
        assert_eq!(gate.meets(here, Some(me + 1)), Guest::Admitted);
    }
}
