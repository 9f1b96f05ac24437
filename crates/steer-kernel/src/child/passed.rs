//! Descriptors that a command would be given and that lead out of namespaces of its own.
//!
//! A socket stays in the network namespace in which it was made, and a directory's descriptor with
//! the mounts that it was opened by, whoever holds it. Files, pipes, terminals and unix sockets
//! are no way to the network by themselves: they are not told.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use nix::libc;
use socket2::{Domain, Socket, Type};

use crate::sys;

/// A descriptor of this process that a program which it executes is given, and that leads out of
/// namespaces of that program's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its number.
    pub descriptor: RawFd,
    /// What it leads to.
    pub leads: Leads,
}

/// What a descriptor leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    /// Whoever connects to this socket: connections come in by it, none goes out.
    In {
        /// Where it listens, if that can be told.
        at: Option<SocketAddr>,
    },
    /// The network, by a socket of this kind.
    Out {
        /// The protocol or the family.
        kind: &'static str,
        /// Whom it is connected to.
        peer: Option<SocketAddr>,
    },
    /// The files outside, by a directory or by the path of a socket there.
    Files(PathBuf),
}

impl Passed {
    /// The descriptors of this process.
    ///
    /// ```
    /// use steer_kernel::child::Passed;
    ///
    /// // Rust opens everything for this process alone.
    /// let own = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// let number = std::os::fd::AsRawFd::as_raw_fd(&own);
    /// assert!(Passed::all()?.iter().all(|passed| passed.descriptor != number));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn all() -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc/self/fd")? {
            let name = entry?.file_name();
            let Some(descriptor) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // Another thread may have closed it.
            if is_given(descriptor).unwrap_or(false)
                && let Ok(Some(leads)) = leads(descriptor)
            {
                all.push(Self { descriptor, leads });
            }
        }
        all.sort_by_key(|passed| passed.descriptor);
        Ok(all)
    }
}

/// `3 (udp)`, `9 (/run)`
impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptor, leads } = self;
        write!(f, "{descriptor} (")?;
        match leads {
            Leads::In { at: Some(at) } => write!(f, "listens on {at}"),
            Leads::In { at: None } => f.write_str("listens"),
            Leads::Out {
                kind,
                peer: Some(peer),
            } => write!(f, "{kind} to {peer}"),
            Leads::Out { kind, peer: None } => f.write_str(kind),
            Leads::Files(path) => write!(f, "{}", path.display()),
        }?;
        f.write_str(")")
    }
}

/// Whether it stays open when this process executes a program: `flags` of proc_pid_fdinfo(5).
fn is_given(descriptor: RawFd) -> io::Result<bool> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    let flags = flags.ok_or(io::ErrorKind::InvalidData)?;
    Ok(flags & libc::O_CLOEXEC == 0)
}

fn leads(descriptor: RawFd) -> io::Result<Option<Leads>> {
    let link = format!("/proc/self/fd/{descriptor}");
    let kind = fs::metadata(&link)?.file_type();
    let path = fs::read_link(&link)?;
    if kind.is_dir() {
        return Ok(Some(Leads::Files(path)));
    }
    if !kind.is_socket() {
        return Ok(None);
    }
    // That of a socket itself is `socket:[NUMBER]`.
    match path.is_absolute() {
        true => Ok(Some(Leads::Files(path))),
        false => socket(descriptor),
    }
}

fn socket(descriptor: RawFd) -> io::Result<Option<Leads>> {
    let socket = Socket::from(sys::process::duplicate(descriptor)?);
    let domain = socket.domain()?;
    let inet = domain == Domain::IPV4 || domain == Domain::IPV6;
    if domain == Domain::UNIX {
        return Ok(None);
    }
    let address = |address: io::Result<socket2::SockAddr>| address.ok()?.as_socket();
    if inet && socket.is_listener()? {
        return Ok(Some(Leads::In {
            at: address(socket.local_addr()),
        }));
    }
    let kind = match (inet, socket.r#type()?) {
        (true, Type::STREAM) => "tcp",
        (true, Type::DGRAM) => "udp",
        (true, _) => "raw",
        (false, _) => FAMILIES
            .iter()
            .find_map(|(family, name)| (Domain::from(*family) == domain).then_some(*name))
            .unwrap_or("a socket of another family"),
    };
    Ok(Some(Leads::Out {
        kind,
        peer: address(socket.peer_addr()),
    }))
}

/// Families with a name of their own.
const FAMILIES: [(i32, &str); 3] = [
    (libc::AF_PACKET, "packet"),
    (libc::AF_VSOCK, "vsock"),
    (libc::AF_NETLINK, "netlink"),
];

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
    use nix::sys::stat::Mode;

    use super::*;

    /// What would be told of a descriptor if the command were given it.
    fn told(of: &impl AsRawFd) -> Option<String> {
        let descriptor = of.as_raw_fd();
        let leads = leads(descriptor).unwrap()?;
        let text = Passed { descriptor, leads }.to_string();
        let (number, what) = text.split_once(' ').unwrap();
        assert_eq!(number, descriptor.to_string());
        Some(what.to_owned())
    }

    #[test]
    fn sockets_and_directories_are_told_and_files_pipes_and_unix_sockets_are_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let stream = TcpStream::connect(at).unwrap();
        let datagrams = UdpSocket::bind("[::1]:0").unwrap();
        assert_eq!(told(&listener).unwrap(), format!("(listens on {at})"));
        assert_eq!(told(&stream).unwrap(), format!("(tcp to {at})"));
        assert_eq!(told(&datagrams).unwrap(), "(udp)");
        let directory = open("/usr", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        assert_eq!(told(&directory).unwrap(), "(/usr)");
        let netlink = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, None).unwrap();
        assert_eq!(told(&netlink).unwrap(), "(netlink)");

        let (reader, _writer) = io::pipe().unwrap();
        let (unix, _other) = UnixStream::pair().unwrap();
        let file = fs::File::open("/dev/null").unwrap();
        assert_eq!(
            (told(&reader), told(&unix), told(&file)),
            (None, None, None)
        );
    }

    #[test]
    fn a_path_of_a_socket_that_is_held_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let held = open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        assert_eq!(told(&held).unwrap(), format!("({})", path.display()));
    }

    #[test]
    fn only_what_the_command_is_given_is_told() {
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!is_given(own.as_raw_fd()).unwrap());
        // A copy for programs; another test's command may be given it as well, which is harmless.
        fcntl(&own, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let number = own.as_raw_fd();
        assert!(is_given(number).unwrap());
        let all = Passed::all().unwrap();
        assert!(all.iter().any(|p| p.descriptor == number), "{all:?}");
    }
}
