//! Connecting a program's blocking socket for it, without keeping a thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;

use crate::name::Name;
use crate::sys;

/// Connects the socket to the first of the addresses that takes it. Its program waits meanwhile.
///
/// It takes as long as the kernel says, or as the program has set it (SO_SNDTIMEO): then it goes
/// on without anybody waiting, as connect(2) has it, and this gives EINPROGRESS.
pub(crate) async fn connect(socket: OwnedFd, names: &[Name]) -> Result<(), Errno> {
    let limit = SockRef::from(&socket).write_timeout().unwrap_or(None);
    let connecting = async {
        let socket = sys::watch(socket).map_err(|e| errno(&e))?;
        let mut result = Err(Errno::ECONNREFUSED);
        for name in names {
            result = one(&socket, name).await;
            if result.is_ok() {
                break;
            }
        }
        result
    };
    match limit {
        None => connecting.await,
        Some(limit) => match tokio::time::timeout(limit, connecting).await {
            Ok(result) => result,
            Err(_) => Err(Errno::EINPROGRESS),
        },
    }
}

/// The kernel is asked again when the socket is ready: it then says how it went, and the socket is
/// as after a blocking connect.
async fn one(socket: &AsyncFd<OwnedFd>, name: &Name) -> Result<(), Errno> {
    let mut waited = false;
    loop {
        match at_once(socket.get_ref().as_fd(), name) {
            Err(Errno::EINPROGRESS | Errno::EALREADY) => {}
            // A call that was made again has been told before this one.
            Err(Errno::EISCONN) if waited => return Ok(()),
            result => return result,
        }
        waited = true;
        let ready = socket.writable().await;
        ready.map_err(|e| errno(&e))?.clear_ready();
    }
}

/// connect(2) that does not wait.
///
/// The flag is of the open socket, which the program has as well; it is set for this one call, in
/// which the program waits.
fn at_once(socket: BorrowedFd<'_>, name: &Name) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    fcntl(socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    let result = sys::connect(socket, name.bytes());
    fcntl(socket, FcntlArg::F_SETFL(flags))?;
    result
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::{SocketAddr, TcpListener};

    fn blocking() -> Socket {
        Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
    }

    #[tokio::test]
    async fn a_socket_is_as_after_a_blocking_connect() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        // Bound and not listening: it refuses.
        let closed = blocking();
        closed
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        let refusing = closed.local_addr().unwrap().as_socket().unwrap();
        let program = blocking();
        let names = [Name::of(refusing)];
        let duplicate = || OwnedFd::from(program.try_clone().unwrap());
        for _ in 0..2 {
            let result = connect(duplicate(), &names).await;
            assert_eq!(result, Err(Errno::ECONNREFUSED));
            assert!(program.take_error().unwrap().is_none());
        }
        let names = [Name::of(refusing), Name::of(to)];
        assert_eq!(connect(duplicate(), &names).await, Ok(()));
        assert_eq!(program.peer_addr().unwrap().as_socket(), Some(to));
        assert!(!program.nonblocking().unwrap());
        let again = program.connect(&to.into()).unwrap_err();
        assert_eq!(again.raw_os_error(), Some(Errno::EISCONN as i32));
        let names = [Name::of(to)];
        assert_eq!(connect(duplicate(), &names).await, Err(Errno::EISCONN));
    }

    #[tokio::test]
    async fn the_program_s_time_limit_holds_and_the_connect_goes_on() {
        let takeover = steer_kernel::takeover::Takeover::open().unwrap();
        // A port that answers nobody: a connect that is held by ours leads to it.
        let held = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
        let wanted = "203.0.113.7:443".parse().unwrap();
        let _joining = takeover.begin(held.try_clone().unwrap().into(), wanted);
        let silent = silent_port(&held);
        let program = blocking();
        let limit = std::time::Duration::from_millis(30);
        program.set_write_timeout(Some(limit)).unwrap();
        let result = connect(program.try_clone().unwrap().into(), &[Name::of(silent)]).await;
        assert_eq!(result, Err(Errno::EINPROGRESS));
        program.set_nonblocking(true).unwrap();
        let again = program.connect(&silent.into()).unwrap_err();
        assert_eq!(again.raw_os_error(), Some(Errno::EALREADY as i32));
    }

    /// Where a socket in SYN_SENT leads, proc_net_tcp(5).
    fn silent_port(held: &Socket) -> SocketAddr {
        let own = held.local_addr().unwrap().as_socket().unwrap().port();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let line = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            let (local, remote) = (words.next()?, words.next()?);
            let port = |end: &str| u16::from_str_radix(end.rsplit(':').next()?, 16).ok();
            (port(local)? == own && words.next()? == "02").then(|| port(remote))?
        };
        let port = table.lines().find_map(line).unwrap();
        SocketAddr::from(([127, 0, 0, 1], port))
    }
}
