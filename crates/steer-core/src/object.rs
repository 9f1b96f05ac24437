//! Everything that a plan can ask for, as typed data.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::address::{Destination, Family, Protocol};
use crate::method::Method;
use crate::policy::{App, Credentials, SecretError};
use crate::ruleset::Ruleset;
use crate::symbol::{
    Bindings, CgroupRef, ControlRef, ListenerId, MarkRef, PortRef, ProcessRef, TableRef, Unbound,
};

/// A thing that has to exist for traffic to be steered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Object {
    /// A port on which the engine takes connections.
    Listener(Listener),
    /// A control group.
    Cgroup(CgroupRef),
    /// Rules of nf_tables.
    Nft(Ruleset),
    /// Rules of iptables.
    Iptables(Ruleset, IptablesVariant),
    /// A routing table in which every address is this host's.
    Route(LocalRoute),
    /// A rule that sends marked packets to a routing table.
    Rule(PolicyRule),
    /// Namespaces of the command's own.
    Namespace(Namespace),
    /// A setting of the command that is started.
    Child(ChildSetting),
}

/// Namespaces of the command's own: users, network and mounts (namespaces(7)).
///
/// The network has the interface `lo` and nothing else, so that no packet can leave it. Users and
/// groups keep their numbers: a process without privilege maps its own alone, and root all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Addresses of `lo` beside the loopback ones, one a family at most. Every address of such a
    /// family is local there (`local default dev lo src ADDRESS`), so that whatever programs
    /// connect to comes to this host itself, and their source differs from it.
    pub addresses: Vec<IpAddr>,
    /// Sockets of others by which a program would get out without a packet; where they exist they
    /// are covered in the mount namespace.
    pub masked: Vec<String>,
}

/// A routing table in which every address of a family is this host's (`local default dev lo`).
///
/// It carries the routing protocol number [`ROUTE_PROTOCOL`], by which it is known as ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalRoute {
    /// The family.
    pub family: Family,
    /// The table.
    pub table: TableRef,
}

/// A policy routing rule: packets with the mark are looked up in the table.
///
/// It carries the routing protocol number [`ROUTE_PROTOCOL`], by which it is known as ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// The family.
    pub family: Family,
    /// What the packets carry.
    pub mark: MarkRef,
    /// Where the packets come in; `lo` means those that this host made; `None` means anywhere.
    ///
    /// The kernel checks a packet's source by a lookup that has no such interface, so a rule with
    /// one is not found by it: with `src_valid_mark=1` a rule without one makes every forwarded
    /// packet a martian.
    pub interface: Option<String>,
    /// The table; the rule's priority is the table's number minus [`TABLE_ABOVE_PRIORITY`].
    pub table: TableRef,
}

impl PolicyRule {
    /// Its place among the rules of the host, once the table is known: before all that others
    /// use by default, after the table `local`.
    #[must_use]
    pub fn priority(&self) -> Option<u32> {
        self.table
            .number()
            .map(|table| table.saturating_sub(TABLE_ABOVE_PRIORITY))
    }
}

/// The routing protocol number (`rtm_protocol`, see rtnetlink(7)) of every rule and route of ours.
///
/// Numbers above 4 are free for routing daemons; none of iproute2's list has this one.
pub const ROUTE_PROTOCOL: u8 = 0x5e;

/// What a rule's priority is less than its table's number.
pub const TABLE_ABOVE_PRIORITY: u32 = 13_501;

/// Who makes an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Domain {
    /// The engine's process: listening sockets.
    Listener,
    /// The cgroup driver.
    Cgroup,
    /// The nf_tables driver.
    Nft,
    /// The iptables driver.
    Iptables,
    /// The driver of routes and policy rules.
    Route,
    /// Whoever makes namespaces.
    Namespace,
    /// Whoever starts the command.
    Child,
}

/// Which kernel tables an iptables program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IptablesVariant {
    /// iptables over nf_tables.
    Nft,
    /// The x_tables of old.
    Legacy,
}

/// A port on which the engine takes connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name in the plan.
    pub id: ListenerId,
    /// The method that tells where its connections wanted to go.
    pub method: Method,
    /// The transport.
    pub protocol: Protocol,
    /// The addresses to listen on, all with one port.
    pub addresses: Vec<IpAddr>,
    /// The port; `None` lets the kernel choose.
    pub port: Option<u16>,
    /// A fixed destination of everything that connects here.
    pub to: Option<Destination>,
    /// Whose addresses its sockets may have.
    pub binding: Binding,
    /// What is spoken on its connections, whatever their port.
    pub app: Option<App>,
}

/// Whose addresses a listener's sockets may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Binding {
    /// Its own.
    #[default]
    Own,
    /// Any: packets come with the destination that the program asked for (IP_TRANSPARENT).
    Transparent,
    /// None of the network: a unix socket (SOCK_STREAM) in the abstract namespace of its network
    /// namespace, by which code of ours in the program's processes speaks to the engine. Its name
    /// is nobody else's, and no secret (/proc/net/unix): both ends ask for the other's user
    /// (SO_PEERCRED).
    Control,
}

impl Listener {
    /// The socket addresses, with the given port.
    pub fn sockets(&self, port: u16) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses
            .iter()
            .map(move |ip| SocketAddr::new(*ip, port))
    }
}

/// A setting of the command that is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChildSetting {
    /// An environment variable; each `{listener}` in the value stands for that listener's port.
    Env {
        /// The variable's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Words for an environment variable that holds a list of options: they follow what the caller
    /// of `run` has there, after a blank. Each `{listener}` stands for that listener's port.
    Append {
        /// The variable's name.
        name: String,
        /// The words.
        value: String,
    },
    /// A path for an environment variable that holds a list of them: it goes before what the caller
    /// of `run` has there, with a colon between. Each `{listener}` stands for that listener's port,
    /// or its socket's name where it is a control listener.
    Prepend {
        /// The variable's name.
        name: String,
        /// The path.
        value: String,
    },
    /// An environment variable with the `http://` URL of a listener that asks for a login.
    ///
    /// A plan shows no secret: the login is read when the plan is put in force, and only then
    /// [`ChildSetting::reveal`] makes it a [`ChildSetting::Env`].
    ProxyEnv {
        /// The variable's name.
        name: String,
        /// The address of the listener as the command reaches it.
        address: IpAddr,
        /// The port of the listener.
        port: PortRef,
        /// What the listener asks for.
        login: Credentials,
    },
    /// The cgroup that the command starts in.
    Cgroup(CgroupRef),
    /// The namespaces that the command starts in: those of the plan's [`Namespace`].
    Enter(ProcessRef),
    /// Socket families that the command may use; others are refused with EAFNOSUPPORT, and
    /// io_uring, by which they could be opened unseen, with EPERM.
    Families {
        /// AF_* numbers.
        allowed: Vec<u16>,
    },
    /// The command's socket calls come to a supervisor (seccomp_unotify(2)), which gets the
    /// notification descriptor by this control listener.
    Supervised {
        /// The listener.
        control: ControlRef,
    },
}

impl ChildSetting {
    /// The setting with its secret in clear, for whoever starts the command.
    pub fn reveal(self) -> Result<Self, SecretError> {
        Ok(match self {
            Self::ProxyEnv {
                name,
                address,
                port,
                login,
            } => {
                let username = percent_encoded(&login.username);
                let password = percent_encoded(&login.password.reveal()?);
                let address = in_url(address);
                let value = format!("http://{username}:{password}@{address}:{port}");
                Self::Env { name, value }
            }
            Self::Env { .. }
            | Self::Append { .. }
            | Self::Prepend { .. }
            | Self::Cgroup(_)
            | Self::Enter(_)
            | Self::Families { .. }
            | Self::Supervised { .. } => self,
        })
    }
}

impl Object {
    /// Who makes it.
    #[must_use]
    pub const fn domain(&self) -> Domain {
        match self {
            Self::Listener(_) => Domain::Listener,
            Self::Cgroup(_) => Domain::Cgroup,
            Self::Nft(_) => Domain::Nft,
            Self::Iptables(..) => Domain::Iptables,
            Self::Route(_) | Self::Rule(_) => Domain::Route,
            Self::Namespace(_) => Domain::Namespace,
            Self::Child(_) => Domain::Child,
        }
    }

    /// The object with every symbol replaced by its value.
    pub fn resolve(&self, bindings: &Bindings) -> Result<Self, Unbound> {
        Ok(match self {
            Self::Listener(listener) if listener.binding == Binding::Control => self.clone(),
            Self::Listener(listener) => {
                let port = bindings.port(&PortRef::Listener(listener.id.clone()))?;
                Self::Listener(Listener {
                    port: port.number(),
                    ..listener.clone()
                })
            }
            Self::Cgroup(cgroup) => Self::Cgroup(bindings.cgroup(cgroup)?),
            Self::Nft(rules) => Self::Nft(rules.resolve(bindings)?),
            Self::Iptables(rules, variant) => Self::Iptables(rules.resolve(bindings)?, *variant),
            Self::Route(LocalRoute { family, table }) => Self::Route(LocalRoute {
                family: *family,
                table: bindings.table(*table)?,
            }),
            Self::Rule(rule) => Self::Rule(PolicyRule {
                mark: bindings.mark(rule.mark)?,
                table: bindings.table(rule.table)?,
                ..rule.clone()
            }),
            Self::Child(ChildSetting::Env { name, value }) => Self::Child(ChildSetting::Env {
                name: name.clone(),
                value: bindings.text(value)?,
            }),
            Self::Child(ChildSetting::Append { name, value }) => {
                Self::Child(ChildSetting::Append {
                    name: name.clone(),
                    value: bindings.text(value)?,
                })
            }
            Self::Child(ChildSetting::Prepend { name, value }) => {
                Self::Child(ChildSetting::Prepend {
                    name: name.clone(),
                    value: bindings.text(value)?,
                })
            }
            Self::Child(ChildSetting::ProxyEnv {
                name,
                address,
                port,
                login,
            }) => Self::Child(ChildSetting::ProxyEnv {
                name: name.clone(),
                address: *address,
                port: bindings.port(port)?,
                login: login.clone(),
            }),
            Self::Child(ChildSetting::Cgroup(cgroup)) => {
                Self::Child(ChildSetting::Cgroup(bindings.cgroup(cgroup)?))
            }
            Self::Child(ChildSetting::Enter(process)) => {
                Self::Child(ChildSetting::Enter(bindings.process(*process)?))
            }
            Self::Child(ChildSetting::Supervised { control }) => {
                Self::Child(ChildSetting::Supervised {
                    control: bindings.control(control)?,
                })
            }
            Self::Namespace(_) | Self::Child(ChildSetting::Families { .. }) => self.clone(),
        })
    }

    /// The object while it lets flows that it took go on and takes no further one.
    #[must_use]
    pub fn retired(&self) -> Self {
        match self {
            Self::Nft(rules) => Self::Nft(rules.retired()),
            Self::Iptables(rules, variant) => Self::Iptables(rules.retired(), *variant),
            Self::Listener(_)
            | Self::Cgroup(_)
            | Self::Route(_)
            | Self::Rule(_)
            | Self::Namespace(_)
            | Self::Child(_) => self.clone(),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listener => "listener",
            Self::Cgroup => "cgroup",
            Self::Nft => "nft",
            Self::Iptables => "iptables",
            Self::Route => "route",
            Self::Namespace => "namespace",
            Self::Child => "child",
        })
    }
}

impl fmt::Display for IptablesVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "iptables-nft",
            Self::Legacy => "iptables-legacy",
        })
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(listener) => listener.fmt(f),
            Self::Cgroup(cgroup) => write!(f, "cgroup {cgroup}"),
            Self::Nft(rules) => write!(f, "nft table {}\n{}", table_name(rules), indent(rules)),
            Self::Iptables(rules, variant) => {
                write!(f, "{variant} chains, {} part", rules.role)?;
                for family in &rules.families {
                    write!(f, ", {family}")?;
                }
                write!(f, "\n{}", indent(rules))
            }
            Self::Route(LocalRoute { family, table }) => {
                write!(f, "route {family} local default dev lo table {table}")
            }
            Self::Rule(rule) => rule.fmt(f),
            Self::Child(ChildSetting::Env { name, value }) => write!(f, "variable {name}={value}"),
            Self::Child(ChildSetting::Append { name, value }) => {
                write!(f, "variable {name} with, at its end, {value}")
            }
            Self::Child(ChildSetting::Prepend { name, value }) => {
                write!(f, "variable {name} with, at its head, {value}")
            }
            Self::Child(ChildSetting::ProxyEnv {
                name,
                address,
                port,
                login,
            }) => write!(
                f,
                "variable {name}=http://{}:…@{}:{port}",
                percent_encoded(&login.username),
                in_url(*address),
            ),
            Self::Child(ChildSetting::Cgroup(cgroup)) => {
                write!(f, "the command starts in cgroup {cgroup}")
            }
            Self::Namespace(namespace) => namespace.fmt(f),
            Self::Child(ChildSetting::Enter(_)) => {
                f.write_str("the command starts in these namespaces")
            }
            Self::Child(ChildSetting::Families { allowed }) => {
                f.write_str("the command may use the socket families")?;
                for family in allowed {
                    write!(f, " {family}")?;
                }
                f.write_str(" and no others, and no io_uring")
            }
            Self::Child(ChildSetting::Supervised { control }) => {
                write!(
                    f,
                    "the command's socket calls come to the supervisor at {control}"
                )
            }
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addresses, masked } = self;
        f.write_str("namespaces of users, network and mounts; lo")?;
        for address in addresses {
            write!(f, " {address}")?;
        }
        for path in masked {
            write!(f, "\n  covers {path}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.binding == Binding::Control {
            return write!(f, "control listener {} for {}", self.id, self.method);
        }
        write!(f, "listener {} {}", self.id, self.protocol)?;
        for ip in &self.addresses {
            match (self.port, ip) {
                (Some(port), ip) => write!(f, " {}", SocketAddr::new(*ip, port))?,
                (None, IpAddr::V4(ip)) => write!(f, " {ip}:{{{}}}", self.id)?,
                (None, IpAddr::V6(ip)) => write!(f, " [{ip}]:{{{}}}", self.id)?,
            }
        }
        write!(f, " for {}", self.method)?;
        if self.binding == Binding::Transparent {
            write!(f, ", transparent")?;
        }
        if let Some(to) = &self.to {
            write!(f, ", to {to}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            mark,
            interface,
            table,
        } = self;
        write!(f, "rule {family}")?;
        if let Some(priority) = self.priority() {
            write!(f, " priority {priority}")?;
        }
        if let Some(interface) = interface {
            write!(f, " iif {interface}")?;
        }
        write!(f, " fwmark {mark} lookup {table}")
    }
}

/// An address as the host part of a URL.
fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// A text in which only RFC 3986's unreserved characters stand for themselves.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

fn table_name(rules: &Ruleset) -> &'static str {
    match rules.role {
        crate::ruleset::Role::Steer => "inet steer_{instance}, gone with its owner",
        crate::ruleset::Role::Guard => "inet steer_{instance}_guard",
    }
}

fn indent(rules: &Ruleset) -> String {
    let text = rules.to_string();
    let mut out = String::with_capacity(text.len());
    for (i, line) in text.lines().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        out.push_str("  ");
        out.push_str(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Secret;

    #[test]
    fn a_login_is_shown_without_its_password_and_revealed_with_it_escaped() {
        let explicit = ListenerId("explicit".to_owned());
        let setting = Object::Child(ChildSetting::ProxyEnv {
            name: "http_proxy".to_owned(),
            address: "127.0.0.1".parse().unwrap(),
            port: PortRef::Listener(explicit.clone()),
            login: Credentials {
                username: "a b".to_owned(),
                password: Secret::Literal("p@ss:/%é".to_owned()),
            },
        });
        assert_eq!(
            setting.to_string(),
            "variable http_proxy=http://a%20b:…@127.0.0.1:{explicit}"
        );
        let mut bindings = Bindings::new(crate::instance::Instance::new("main").unwrap());
        bindings.ports.insert(explicit, 1080);
        let Object::Child(setting) = setting.resolve(&bindings).unwrap() else {
            panic!("resolved to another kind of object");
        };
        assert_eq!(
            setting.reveal().unwrap(),
            ChildSetting::Env {
                name: "http_proxy".to_owned(),
                value: "http://a%20b:p%40ss%3A%2F%25%C3%A9@127.0.0.1:1080".to_owned(),
            }
        );
    }
}
