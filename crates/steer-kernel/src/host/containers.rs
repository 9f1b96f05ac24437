//! Where this user's surroundings say that containers are started.

use std::env;
use std::ffi::OsString;
use std::path::Path;

/// The user's home, as programs find it.
pub(super) fn home() -> Option<String> {
    directory(env::var_os("HOME")?)
}

/// The sockets by path that clients of container services are sent to.
pub(super) fn sockets() -> Vec<String> {
    let named = VARIABLES.iter().filter_map(env::var_os);
    let mut sockets: Vec<String> = named.filter_map(socket).collect();
    sockets.dedup();
    sockets
}

fn directory(value: OsString) -> Option<String> {
    let path = value.into_string().ok()?;
    let path = path.trim_end_matches('/');
    path.starts_with('/').then(|| path.to_owned())
}

/// The path of `unix://PATH`; a directory is no socket, whatever is written.
fn socket(value: OsString) -> Option<String> {
    let value = value.into_string().ok()?;
    let path = value.strip_prefix("unix://")?;
    (path.starts_with('/') && !Path::new(path).is_dir()).then(|| path.to_owned())
}

/// What the clients of docker and podman read.
const VARIABLES: [&str; 2] = ["DOCKER_HOST", "CONTAINER_HOST"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_by_path_are_taken() {
        let socket = |text: &str| socket(text.into());
        let path = "/home/user/engine.sock";
        assert_eq!(socket(&format!("unix://{path}")).as_deref(), Some(path));
        for text in [
            "",
            "unix://",
            "unix://engine.sock",
            "unix:///",
            "unix:///proc",
            "tcp://192.0.2.1:2375",
            "ssh://host/run/podman/podman.sock",
            path,
        ] {
            assert_eq!(socket(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_home_is_a_directory_of_its_own() {
        let directory = |text: &str| directory(text.into());
        assert_eq!(directory("/home/user/").as_deref(), Some("/home/user"));
        assert_eq!(directory("home"), None);
        assert_eq!(directory("/"), None);
        assert_eq!(directory(""), None);
    }
}
