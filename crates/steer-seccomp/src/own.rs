//! Connecting a program's blocking socket for it, without keeping a thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use socket2::SockRef;

use crate::name::Name;
use crate::sys;

/// Connects the socket to the first of the addresses that takes it. Its program waits meanwhile.
///
/// It takes as long as the kernel says, or as the program has set it (SO_SNDTIMEO): then it goes
/// on without anybody waiting, as connect(2) has it, and this gives EINPROGRESS.
pub(crate) async fn connect(socket: OwnedFd, names: &[Name]) -> Result<(), Errno> {
    let limit = SockRef::from(&socket).write_timeout().unwrap_or(None);
    let connecting = async {
        let mut socket = socket;
        let mut result = Err(Errno::ECONNREFUSED);
        for name in names {
            (socket, result) = one(socket, name).await?;
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
///
/// The runtime is told of the socket when its connect has begun, and anew for each wait: one that
/// is on no way to anywhere hangs up (EPOLLHUP), which the runtime keeps for as long as it knows
/// the socket, and would call it ready from then on.
async fn one(mut socket: OwnedFd, name: &Name) -> Result<(OwnedFd, Result<(), Errno>), Errno> {
    let mut waited = false;
    loop {
        match at_once(socket.as_fd(), name) {
            Err(Errno::EINPROGRESS | Errno::EALREADY) => {}
            // A call that was made again has been told before this one.
            Err(Errno::EISCONN) if waited => return Ok((socket, Ok(()))),
            result => return Ok((socket, result)),
        }
        if waited {
            // Ready, and not done: a program that shuts its socket down has it hang up while it
            // goes on to connect. Whoever waits beside this gets their turn.
            tokio::time::sleep(PAUSE).await;
        }
        waited = true;
        let watched = sys::watch(socket).map_err(|e| errno(&e))?;
        let ready = watched.writable().await;
        ready.map_err(|e| errno(&e))?.retain_ready();
        socket = watched.into_inner();
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

/// Before a socket is asked again that was ready and is not connected.
const PAUSE: Duration = Duration::from_millis(10);

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

    #[test]
    fn a_socket_that_says_it_is_ready_keeps_nobody_from_their_turn() {
        let (_silence, silent) = silence();
        let program = blocking();
        // It is noted where the socket has no peer, too: on its way it hangs up all the while.
        let unconnected = program.shutdown(std::net::Shutdown::Both).unwrap_err();
        assert_eq!(unconnected.raw_os_error(), Some(Errno::ENOTCONN as i32));
        let (over_tx, over) = std::sync::mpsc::channel();
        // A thread that never gives way is left behind by a failing test.
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(async {
                let names = [Name::of(silent)];
                let connecting = connect(program.into(), &names);
                let limit = Duration::from_millis(50);
                let over = tokio::time::timeout(limit, connecting).await;
                over_tx.send(over.is_err()).unwrap();
            });
        });
        assert_eq!(over.recv_timeout(Duration::from_secs(20)), Ok(true));
    }

    #[tokio::test]
    async fn the_program_s_time_limit_holds_and_the_connect_goes_on() {
        let (_silence, silent) = silence();
        let program = blocking();
        let limit = Duration::from_millis(30);
        program.set_write_timeout(Some(limit)).unwrap();
        let result = connect(program.try_clone().unwrap().into(), &[Name::of(silent)]).await;
        assert_eq!(result, Err(Errno::EINPROGRESS));
        program.set_nonblocking(true).unwrap();
        let again = program.connect(&silent.into()).unwrap_err();
        assert_eq!(again.raw_os_error(), Some(Errno::EALREADY as i32));
    }

    /// A port that answers nobody: a connect that is held by ours leads to it.
    fn silence() -> (impl Drop, SocketAddr) {
        let takeover = steer_kernel::takeover::Takeover::open().unwrap();
        let held = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
        let wanted = "203.0.113.7:443".parse().unwrap();
        let joining = takeover.begin(held.try_clone().unwrap().into(), wanted);
        (joining.unwrap(), silent_port(&held))
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
