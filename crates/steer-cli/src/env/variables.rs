//! The variables of a plan, with the values that they get.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use steer::core::intent::Scope;
use steer::core::method::Method;
use steer::core::object::{ChildSetting, Object};
use steer::core::symbol::Bindings;

use super::port::{self, Port};
use super::shell::Change;
use crate::failure::Failure;

/// The settings of a command of the method `env` at a port.
#[derive(Debug)]
pub(super) struct Variables {
    settings: Vec<ChildSetting>,
}

impl Variables {
    /// The settings for a port.
    pub(super) fn new(port: &Port) -> Result<Self, Failure> {
        let intent = port::intent(Scope::command(), port.listen.clone());
        let plan = port::method(Method::Env)?
            .plan(&intent, &port::any_host())
            .map_err(|error| Failure::new(&error, error.help()))?;
        let mut bindings = Bindings::new(intent.instance.clone());
        let number = port.listen.explicit.map_or(0, |address| address.port());
        let mut settings = Vec::new();
        for planned in &plan.objects {
            match &planned.object {
                Object::Listener(listener) => {
                    bindings.ports.insert(listener.id.clone(), number);
                }
                Object::Child(_) => {}
                _ => continue,
            }
            let resolved = planned.object.resolve(&bindings);
            if let Object::Child(setting) = resolved.expect("a plan names its own listener") {
                settings.push(setting);
            }
        }
        Ok(Self { settings })
    }

    /// What makes programs come to the port.
    pub(super) fn set(self) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        for setting in self.settings {
            let revealed = setting.reveal();
            changes.push(
                match revealed.map_err(|error| Failure::new(&error, error.help()))? {
                    ChildSetting::Append { name, value } => {
                        let mut all = others(&own(&name), &value);
                        if !all.is_empty() {
                            all.push(" ");
                        }
                        all.push(&value);
                        Change::Set { name, value: all }
                    }
                    ChildSetting::Env { name, value } => {
                        let value = value.into();
                        Change::Set { name, value }
                    }
                    _ => continue,
                },
            );
        }
        Ok(changes)
    }

    /// What takes all of that back.
    pub(super) fn unset(self) -> Vec<Change> {
        let change = |setting| match setting {
            ChildSetting::Append { name, value } => {
                let value = others(&own(&name), &value);
                Some(match value.is_empty() {
                    true => Change::Unset { name },
                    false => Change::Set { name, value },
                })
            }
            ChildSetting::Env { name, .. } | ChildSetting::ProxyEnv { name, .. } => {
                Some(Change::Unset { name })
            }
            _ => None,
        };
        self.settings.into_iter().filter_map(change).collect()
    }
}

/// The value that this process was started with.
fn own(name: &str) -> OsString {
    std::env::var_os(name).unwrap_or_default()
}

/// The words of a list of options without those that set what ours set, so that ours are there
/// once however often they are added. A list with quotes is left as it is: its blanks may be part
/// of a word, and ours win as the last.
fn others(own: &OsStr, ours: &str) -> OsString {
    let bytes = own.as_bytes();
    if bytes.iter().any(|byte| matches!(byte, b'\'' | b'"')) {
        return own.to_owned();
    }
    let keys: Vec<_> = ours
        .split(' ')
        .filter_map(|word| word.split_once('='))
        .map(|(key, _)| format!("{key}=").into_bytes())
        .collect();
    let words: Vec<_> = bytes
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty() && !keys.iter().any(|key| word.starts_with(key)))
        .collect();
    OsString::from_vec(words.join(&b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(own: &str) -> String {
        let ours = "-Dhttp.proxyHost=::1 -Dhttp.proxyPort=1";
        others(own.as_ref(), ours).into_string().unwrap()
    }

    #[test]
    fn options_of_the_user_stay_and_ours_are_there_once() {
        assert_eq!(without(""), "");
        assert_eq!(without("-Xmx1g  -Da=b"), "-Xmx1g -Da=b");
        assert_eq!(
            without("-Dhttp.proxyHost=a -Xmx1g -Dhttp.proxyPort=2"),
            "-Xmx1g"
        );
        let quoted = "-Da='x -Dhttp.proxyHost=y'";
        assert_eq!(without(quoted), quoted);
    }

    #[test]
    fn the_variables_name_the_port_and_can_be_taken_back() {
        let mut port = Port::default();
        port.listen.explicit = Some("127.0.0.1:8080".parse().unwrap());
        let set = Variables::new(&port).unwrap().set().unwrap();
        let value = |name: &str| {
            set.iter().find_map(|change| match change {
                Change::Set { name: other, value } if other == name => {
                    Some(value.to_str().unwrap().to_owned())
                }
                _ => None,
            })
        };
        assert_eq!(value("https_proxy").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(value("RSYNC_PROXY").unwrap(), "127.0.0.1:8080");
        let java = value("JAVA_TOOL_OPTIONS").unwrap();
        assert!(java.contains("-Dhttps.proxyPort=8080 "), "{java}");
        let unset = Variables::new(&Port::default()).unwrap().unset();
        let names = |changes: &[Change]| -> Vec<String> {
            changes
                .iter()
                .map(|change| change.name().to_owned())
                .collect()
        };
        assert_eq!(names(&unset), names(&set));
    }
}
