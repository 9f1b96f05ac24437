//! A client that acts inside another process, such as a child of the program under test.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, sendmsg, sockopt};

use crate::client::{Client, Failure};
use crate::family::Family;
use crate::proc::{Proc, Status};
use crate::program::Program;
use crate::sys::receive_descriptor;
use crate::watched::DEADLINE;

/// The process that makes sockets where it stands and passes them to the test.
///
/// A socket keeps the namespace, the cgroup and the user of the process that made it, and the
/// connect is that process's own system call; so whatever steers by any of these steers the
/// connection, while the test holds it as an ordinary [`Client`]. The agent is the test binary
/// itself, which has a test that does nothing unless asked to be the agent:
///
/// ```no_run
/// #[test]
/// fn agent() {
///     lab::serve_agent();
/// }
///
/// # let host = lab::Lab::new("x").host("app");
/// let wrapped = host.program("env").args(lab::Agent::command_line("agent"));
/// let agent = lab::Agent::start(wrapped);
/// let client = agent.connect("203.0.113.7:80".parse().expect("an address"));
/// ```
#[derive(Debug)]
pub struct Agent {
    link: Mutex<Option<UnixStream>>,
    pid: i32,
    proc: Proc,
}

impl Agent {
    /// The words that start this test binary as an agent; `test` is the path of the test that serves it.
    pub fn command_line(test: &str) -> Vec<String> {
        let exe = std::env::current_exe().expect("a test knows its own program");
        let exe = exe.into_os_string().into_string().expect("a path of text");
        [exe.as_str(), "--exact", test, "--nocapture"]
            .map(str::to_owned)
            .to_vec()
    }

    /// Starts a program that ends in the words of [`Self::command_line`] and waits for the agent to report.
    pub fn start(program: Program) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("agent");
        let listener = UnixListener::bind(&path).expect("a socket in a new directory");
        // The agent may run as any user.
        for (path, mode) in [(directory.path(), 0o755), (&path, 0o777)] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("our own file");
        }
        let proc = program.env(VARIABLE, &path).spawn();
        let link = accept(&listener, &proc);
        let pid = getsockopt(&link, sockopt::PeerCredentials)
            .expect("a unix socket knows its peer")
            .pid();
        Self {
            link: Mutex::new(Some(link)),
            pid,
            proc,
        }
    }

    /// The process that was started, which need not be the agent itself.
    pub fn proc(&self) -> &Proc {
        &self.proc
    }

    /// The process id of the agent itself.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Connects from the agent, within the [`DEADLINE`].
    ///
    /// # Errors
    /// How the connection failed, in the agent's own terms.
    pub fn connect(&self, destination: SocketAddr) -> Result<Client, Failure> {
        self.connect_within(destination, DEADLINE)
    }

    /// As [`Self::connect`], for destinations that are expected not to answer.
    ///
    /// # Errors
    /// How the connection failed, in the agent's own terms.
    pub fn connect_within(
        &self,
        destination: SocketAddr,
        within: Duration,
    ) -> Result<Client, Failure> {
        let (answer, socket) = self.ask(&format!("tcp {destination} {}", within.as_millis()))?;
        let mut addresses = answer
            .split(' ')
            .map(|word| word.parse().expect("an address"));
        let mut address = || addresses.next().expect("two addresses");
        Ok(Client::adopt(TcpStream::from(socket), address(), address()))
    }

    /// A UDP socket of the agent's, bound to a free port.
    pub fn udp(&self, family: Family) -> UdpSocket {
        let any = SocketAddr::new(family.any(), 0);
        let (_, socket) = self.ask(&format!("udp {any} 0")).expect("a port is free");
        socket.into()
    }

    /// Lets the agent end, with status 0, and waits for the program that was started.
    pub fn finish(self) -> Status {
        self.link
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.proc.close_input();
        self.proc.wait()
    }

    fn ask(&self, request: &str) -> Result<(String, OwnedFd), Failure> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let mut link = link.as_ref().expect("open until the end");
        link.write_all(request.as_bytes()).expect("the agent runs");
        let mut buffer = [0; 256];
        let (count, socket) = receive_descriptor(link.as_fd(), &mut IoSliceMut::new(&mut buffer))
            .expect("the agent answers");
        let answer = String::from_utf8_lossy(&buffer[..count]).into_owned();
        assert!(count > 0, "the agent ended: {:?}", self.proc);
        match socket {
            Some(socket) => Ok((answer, socket)),
            None => Err(Failure::from(&io::Error::from_raw_os_error(
                answer.parse().expect("an errno"),
            ))),
        }
    }
}

/// Is the agent, where [`Agent::start`] has started this process; does nothing otherwise.
pub fn serve_agent() {
    let Some(path) = std::env::var_os(VARIABLE) else {
        return;
    };
    let mut link = UnixStream::connect(path).expect("the test listens");
    let mut buffer = [0; 256];
    loop {
        let count = link.read(&mut buffer).expect("the test asks or ends");
        if count == 0 {
            return;
        }
        let request = String::from_utf8_lossy(&buffer[..count]).into_owned();
        match obey(&request) {
            Ok((answer, socket)) => {
                let passed = [socket.as_raw_fd()];
                let control = [ControlMessage::ScmRights(&passed)];
                let data = [IoSlice::new(answer.as_bytes())];
                sendmsg::<()>(link.as_raw_fd(), &data, &control, MsgFlags::empty(), None)
                    .expect("the test listens");
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(Errno::ETIMEDOUT as i32);
                link.write_all(errno.to_string().as_bytes())
                    .expect("the test listens");
            }
        }
    }
}

/// Makes the socket that a request of the form `KIND ADDRESS MILLISECONDS` asks for.
fn obey(request: &str) -> io::Result<(String, OwnedFd)> {
    let words: Vec<&str> = request.split(' ').collect();
    let [kind, address, milliseconds] = words[..] else {
        panic!("not a request: {request}")
    };
    let address: SocketAddr = address.parse().expect("an address");
    let within = Duration::from_millis(milliseconds.parse().expect("a number"));
    match kind {
        "tcp" => {
            let stream = TcpStream::connect_timeout(&address, within)?;
            let answer = format!(
                "{} {}",
                stream.local_addr()?,
                stream.peer_addr().unwrap_or(address)
            );
            Ok((answer, stream.into()))
        }
        "udp" => {
            let socket = UdpSocket::bind(address)?;
            Ok((socket.local_addr()?.to_string(), socket.into()))
        }
        _ => panic!("not a request: {request}"),
    }
}

fn accept(listener: &UnixListener, proc: &Proc) -> UnixStream {
    let end = Instant::now() + DEADLINE;
    loop {
        let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, 50_u16) == Ok(1) {
            return listener.accept().expect("the agent connects").0;
        }
        assert!(
            proc.is_running() && Instant::now() < end,
            "no agent came: {proc:?}"
        );
    }
}

const VARIABLE: &str = "LAB_AGENT";
