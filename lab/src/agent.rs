//! A client that acts inside another process, such as a child of the program under test.

mod errand;
mod message;

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{getsockopt, sockopt};

use self::message::Message;

use crate::client::{Client, Failure};
use crate::datagrams::UdpClient;
use crate::family::Family;
use crate::proc::{Proc, Status};
use crate::program::{Output, Program};
use crate::watched::DEADLINE;

pub use self::errand::serve_agent;

/// The process that makes sockets where it stands and passes them to the test.
///
/// A socket keeps the namespace, the cgroup and the user of the process that made it, and the
/// connect is that process's own system call; so whatever steers by any of these steers the
/// connection, while the test holds it as an ordinary [`Client`]. Where each call of a socket's
/// life must be the agent's own, it keeps the socket ([`Self::udp_client`]); and it runs programs
/// ([`Self::run`]). The agent is the test binary itself, which has a test that does nothing unless asked to be the agent:
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
    link: Arc<Link>,
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
            link: Arc::new(Link(Mutex::new(Some(link)))),
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
        let request = format!("tcp {destination} {}", within.as_millis());
        let Message { words, socket, .. } = self.link.ask(Message::of_words(request))?;
        let mut addresses = words
            .split(' ')
            .map(|word| word.parse().expect("an address"));
        let mut address = || addresses.next().expect("two addresses");
        let socket = socket.expect("the agent passes what it has made");
        Ok(Client::adopt(TcpStream::from(socket), address(), address()))
    }

    /// A UDP socket of the agent's, bound to a free port.
    pub fn udp(&self, family: Family) -> UdpSocket {
        let any = SocketAddr::new(family.any(), 0);
        let answer = self.link.ask(Message::of_words(format!("udp {any}")));
        let socket = answer.expect("a port is free").socket;
        socket.expect("the agent passes what it has made").into()
    }

    /// A UDP socket that stays with the agent, bound to a free port and not connected: each of its
    /// calls is the agent's own.
    pub fn udp_client(&self, family: Family) -> UdpClient {
        let any = SocketAddr::new(family.any(), 0);
        let opened = self.open(&format!("open {any}"));
        opened.expect("a port is free")
    }

    /// As [`Self::udp_client`], connected.
    ///
    /// # Errors
    /// Why the kernel would not connect it.
    pub fn udp_client_to(&self, to: SocketAddr) -> Result<UdpClient, Failure> {
        self.open(&format!("open-to {to}"))
    }

    fn open(&self, request: &str) -> Result<UdpClient, Failure> {
        let Message { words, .. } = self.link.ask(Message::of_words(request))?;
        Ok(UdpClient::kept(Kept {
            link: Arc::clone(&self.link),
            id: words,
        }))
    }

    /// Runs a program as a child of the agent, to its end, with nothing as its input; but for its
    /// words, all that was said of the program is the agent's own.
    pub fn run(&self, program: Program) -> Output {
        let words = program.into_words().join("\0");
        let request = Message::of_words(format!("run {}", DEADLINE.as_millis()));
        let answer = self.link.ask(request.with_bytes(words));
        let Message { words, bytes, .. } = answer.expect("running is no failure");
        let words: Vec<&str> = words.split(' ').collect();
        let [how, number, length] = words[..] else {
            panic!("not an end of a program: {words:?}")
        };
        let number: i32 = number.parse().expect("a number");
        let (stdout, stderr) = bytes.split_at(length.parse().expect("a length"));
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Output {
            status: match how {
                "exited" => Status::Exited(number),
                "killed" => Status::Killed(number),
                _ => Status::Overran,
            },
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }

    /// Lets the agent end, with status 0, while its program may have more to do.
    pub fn dismiss(&self) {
        self.link.close();
        self.proc.close_input();
    }

    /// Lets the agent end, with status 0, and waits for the program that was started.
    pub fn finish(self) -> Status {
        self.dismiss();
        self.proc.wait()
    }
}

/// A UDP socket that stays with an agent.
#[derive(Debug)]
pub(crate) struct Kept {
    link: Arc<Link>,
    id: String,
}

impl Kept {
    pub(crate) fn local(&self) -> SocketAddr {
        let answer = self.ask("local", "", &[]);
        let (words, _) = answer.expect("a bound socket");
        words.parse().expect("an address")
    }

    pub(crate) fn connect(&self, to: SocketAddr) -> Result<(), Failure> {
        self.ask("connect", &format!(" {to}"), &[]).map(drop)
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.ask("send", "", bytes).map(drop)
    }

    pub(crate) fn send_to(&self, to: SocketAddr, bytes: &[u8]) -> Result<(), Failure> {
        self.ask("send-to", &format!(" {to}"), bytes).map(drop)
    }

    pub(crate) fn send_segmented(&self, bytes: &[u8], size: u16) -> Result<(), Failure> {
        self.ask("send-segmented", &format!(" {size}"), bytes)
            .map(drop)
    }

    pub(crate) fn receive(&self, patience: Duration) -> Result<(Vec<u8>, SocketAddr), Failure> {
        let within = format!(" {}", patience.as_millis());
        let (words, bytes) = self.ask("receive", &within, &[])?;
        Ok((bytes, words.parse().expect("an address")))
    }

    fn ask(&self, verb: &str, rest: &str, bytes: &[u8]) -> Result<(String, Vec<u8>), Failure> {
        let request = Message::of_words(format!("{verb} {}{rest}", self.id)).with_bytes(bytes);
        let Message { words, bytes, .. } = self.link.ask(request)?;
        Ok((words, bytes))
    }
}

/// The test's end of the line to an agent.
#[derive(Debug)]
struct Link(Mutex<Option<UnixStream>>);

impl Link {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a request is made to be sent"
    )]
    fn ask(&self, request: Message) -> Result<Message, Failure> {
        let link = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let link = link.as_ref().expect("open until the end");
        request.write(link).expect("the agent runs");
        let answer = Message::read(link).expect("the agent answers");
        let answer = answer.unwrap_or_else(|| panic!("the agent ended: {}", request.words));
        match answer.words.strip_prefix("failed ") {
            None => Ok(answer),
            Some(errno) => Err(Failure::of(Errno::from_raw(
                errno.parse().expect("an errno"),
            ))),
        }
    }

    fn close(&self) {
        let mut link = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        link.take();
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
