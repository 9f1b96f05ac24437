//! The resolvers that programs here are told to ask.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;

/// The addresses in a resolv.conf, in its order; none where it cannot be read.
pub(super) fn of(file: &Path) -> Vec<IpAddr> {
    named_in(&read(file).unwrap_or_default())
}

/// The text of a file that a container may have put there: no pipe that never ends, no disk full.
fn read(path: &Path) -> io::Result<String> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// The `nameserver` lines of resolv.conf(5).
///
/// An address with a zone (`fe80::1%eth0`) is left out: outside its interface it means nothing.
fn named_in(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
        })
        .collect()
}

/// Far more than anybody writes.
const LONGEST: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_name_a_server_count() {
        let text = "# nameserver 192.0.2.1\nsearch lan\nnameserver 192.0.2.2 # near\n\
                    nameserver\t2001:db8::3\nnameserver fe80::1%eth0\nnameservers 192.0.2.4\n";
        let expected: [IpAddr; 2] = ["192.0.2.2".parse().unwrap(), "2001:db8::3".parse().unwrap()];
        assert_eq!(named_in(text), expected);
    }

    #[test]
    fn a_pipe_in_the_place_of_the_file_names_nobody_and_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(of(&path), Vec::<IpAddr>::new());
    }
}
