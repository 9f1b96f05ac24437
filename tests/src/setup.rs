//! What an instance is to do, beside its method.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::mount::Mount;
use crate::zone::Zone;

/// What an instance is to do: parts of a config, each in YAML.
///
/// Scope and traffic are written for the methods that have them; the methods that bind only
/// willing clients leave the choice to the client.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The value of `scope`.
    pub scope: String,
    /// The value of `traffic`; empty writes nothing.
    pub traffic: String,
    /// The value of `on_failure`; empty writes nothing.
    pub on_failure: String,
    /// Further keys as they stand in the file: `upstreams`, `rules`.
    pub policy: String,
    /// Where the proxy port is, for the method that has one of its own.
    pub listen: SocketAddr,
    /// Variables of the environment of `steer`.
    pub variables: Vec<(&'static str, PathBuf)>,
    /// Who runs `steer`, where the method needs no privilege.
    pub user: User,
}

/// Who runs `steer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Root.
    Root,
    /// Somebody without privileges.
    Ordinary,
}

impl Default for Setup {
    /// Everything of the whole host, without rules.
    fn default() -> Self {
        Self {
            scope: "{ host: true }".to_owned(),
            traffic: String::new(),
            on_failure: String::new(),
            policy: String::new(),
            listen: PROXY_PORT,
            variables: Vec::new(),
            user: User::Ordinary,
        }
    }
}

impl Setup {
    /// With upstreams and rules.
    pub fn policy(text: impl Into<String>) -> Self {
        Self {
            policy: text.into(),
            ..Self::default()
        }
    }

    /// With a scope.
    pub fn scope(text: impl Into<String>) -> Self {
        Self {
            scope: text.into(),
            ..Self::default()
        }
    }

    /// With a choice of traffic.
    pub fn traffic(text: impl Into<String>) -> Self {
        Self {
            traffic: text.into(),
            ..Self::default()
        }
    }

    /// The config for a mount, as the case means it: what the method cannot honour is left out.
    pub(crate) fn config(&self, mount: Mount) -> String {
        let mut text = String::new();
        let mut key = |key: &str, value: &str| {
            if !value.is_empty() {
                writeln!(text, "{key}: {value}").expect("a String can be written");
            }
        };
        if mount.takes_scope() {
            key("scope", &self.scope);
        }
        if mount.is_transparent() {
            key("traffic", &self.traffic);
            key("on_failure", &self.on_failure);
        }
        if mount == Mount::Dns {
            // Without this line the key `dns` would mean nothing.
            key("method", mount.method());
            key("traffic", &self.traffic);
        }
        key("backend", mount.backend().unwrap_or_default());
        if mount == Mount::ExplicitConnect || mount == Mount::ExplicitSocks5 {
            key("listen", &format!("{{ explicit: \"{}\" }}", self.listen));
        }
        if mount == Mount::Dns && self.traffic.is_empty() {
            text += Zone::CONFIG;
        }
        text + &self.policy
    }
}

/// The proxy port, where a case does not say another.
const PROXY_PORT: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(
    std::net::Ipv4Addr::LOCALHOST,
    15_080,
));
