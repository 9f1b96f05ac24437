//! Which connections and requests a rule is about.

use serde::{Deserialize, Serialize};

use super::{App, ExePattern, RequestCondition};
use crate::address::{Cidr, HostPattern, IdRange, PortRange, Protocol};

/// Which connections: every key that is not empty must hold, its values are alternatives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The name of the destination.
    pub host: Vec<HostPattern>,
    /// The address of the destination.
    pub cidr: Vec<Cidr>,
    /// The port of the destination.
    pub port: Vec<PortRange>,
    /// The transport protocol.
    pub protocol: Vec<Protocol>,
    /// The user id of the program.
    pub uid: Vec<IdRange>,
    /// The group id of the program.
    #[serde(default)]
    pub gid: Vec<IdRange>,
    /// The program file.
    #[serde(default)]
    pub exe: Vec<ExePattern>,
    /// The name of the process (`/proc/PID/comm`, 15 bytes at most).
    #[serde(default)]
    pub command: Vec<String>,
    /// Its cgroup or one above it, as paths below the root of the unified hierarchy; the name of a
    /// unit of systemd's alone means its cgroup wherever it is.
    #[serde(default)]
    pub cgroup: Vec<String>,
    /// The application protocol that was sniffed.
    pub app: Vec<App>,
    /// What of a request must hold; a rule that asks this is asked for each request.
    #[serde(default)]
    pub request: RequestCondition,
}

impl Condition {
    /// Whether it asks who the program is, which methods find out on request alone.
    ///
    /// ```
    /// use steer_core::policy::Condition;
    ///
    /// let nobody = Condition::default();
    /// assert!(!nobody.asks_for_identity());
    /// let curl = Condition { exe: vec!["curl".parse().unwrap()], ..nobody };
    /// assert!(curl.asks_for_identity());
    /// ```
    #[must_use]
    pub const fn asks_for_identity(&self) -> bool {
        let Self {
            host: _,
            cidr: _,
            port: _,
            protocol: _,
            uid,
            gid,
            exe,
            command,
            cgroup,
            app: _,
            request: _,
        } = self;
        !(uid.is_empty()
            && gid.is_empty()
            && exe.is_empty()
            && command.is_empty()
            && cgroup.is_empty())
    }
}
