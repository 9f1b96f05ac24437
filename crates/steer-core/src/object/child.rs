//! Settings of the command that is started.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::policy::{Credentials, SecretError};
use crate::symbol::{Bindings, CgroupRef, ControlRef, PortRef, ProcessRef, Unbound};

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
    /// The namespaces that the command starts in: those of the plan's [`Namespace`](super::Namespace).
    Enter(ProcessRef),
    /// A file that the command finds in the place of another, where it has mounts of its own: it
    /// comes after [`ChildSetting::Enter`].
    Cover {
        /// What is covered.
        path: PathBuf,
        /// What the command finds there.
        with: PathBuf,
    },
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
    /// The socket families of a command in namespaces of its own (`AF_UNIX`, `AF_INET`, `AF_INET6`,
    /// `AF_NETLINK`, `AF_PACKET`).
    ///
    /// None of them leaves the namespaces, but for unix sockets by their path. All others are either
    /// a way out (`AF_VSOCK`, Bluetooth) or of no use to a program.
    #[must_use]
    pub fn confined_families() -> Self {
        Self::Families {
            allowed: vec![1, 2, 10, 16, 17],
        }
    }

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
            | Self::Cover { .. }
            | Self::Families { .. }
            | Self::Supervised { .. } => self,
        })
    }

    /// The setting with every symbol replaced by its value.
    pub(super) fn resolve(&self, bindings: &Bindings) -> Result<Self, Unbound> {
        Ok(match self {
            Self::Env { name, value } => Self::Env {
                name: name.clone(),
                value: bindings.text(value)?,
            },
            Self::Append { name, value } => Self::Append {
                name: name.clone(),
                value: bindings.text(value)?,
            },
            Self::Prepend { name, value } => Self::Prepend {
                name: name.clone(),
                value: bindings.text(value)?,
            },
            Self::ProxyEnv {
                name,
                address,
                port,
                login,
            } => Self::ProxyEnv {
                name: name.clone(),
                address: *address,
                port: bindings.port(port)?,
                login: login.clone(),
            },
            Self::Cgroup(cgroup) => Self::Cgroup(bindings.cgroup(cgroup)?),
            Self::Enter(process) => Self::Enter(bindings.process(*process)?),
            Self::Supervised { control } => Self::Supervised {
                control: bindings.control(control)?,
            },
            Self::Cover { .. } | Self::Families { .. } => self.clone(),
        })
    }
}

impl fmt::Display for ChildSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env { name, value } => write!(f, "variable {name}={value}"),
            Self::Append { name, value } => {
                write!(f, "variable {name} with, at its end, {value}")
            }
            Self::Prepend { name, value } => {
                write!(f, "variable {name} with, at its head, {value}")
            }
            Self::ProxyEnv {
                name,
                address,
                port,
                login,
            } => write!(
                f,
                "variable {name}=http://{}:…@{}:{port}",
                percent_encoded(&login.username),
                in_url(*address),
            ),
            Self::Cgroup(cgroup) => {
                write!(f, "the command starts in cgroup {cgroup}")
            }
            Self::Enter(_) => f.write_str("the command starts in these namespaces"),
            Self::Cover { path, with } => write!(
                f,
                "the command finds {} at {}",
                with.display(),
                path.display()
            ),
            Self::Families { allowed } => {
                f.write_str("the command may use the socket families")?;
                for family in allowed {
                    write!(f, " {family}")?;
                }
                f.write_str(" and no others, and no io_uring")
            }
            Self::Supervised { control } => {
                write!(
                    f,
                    "the command's socket calls come to the supervisor at {control}"
                )
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Object;
    use crate::policy::Secret;
    use crate::symbol::ListenerId;

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
