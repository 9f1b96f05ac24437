//! What an agent does as it is told.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::VARIABLE;
use super::message::Message;
use crate::client::Failure;
use crate::datagrams::UdpClient;
use crate::proc::Status;
use crate::program::Program;

/// Is the agent, where [`Agent::start`](super::Agent::start) has started this process; does
/// nothing otherwise.
pub fn serve_agent() {
    let Some(path) = std::env::var_os(VARIABLE) else {
        return;
    };
    let link = UnixStream::connect(path).expect("the test listens");
    let mut agent = Errands::default();
    while let Some(request) = Message::read(&link).expect("the test asks or ends") {
        let answer = agent.obey(&request).unwrap_or_else(|failure| {
            let errno = failure.errno() as i32;
            Message::of_words(format!("failed {errno}"))
        });
        answer.write(&link).expect("the test listens");
    }
}

/// The sockets that the agent keeps, each by its place.
#[derive(Default)]
struct Errands {
    datagrams: Vec<UdpClient>,
}

impl Errands {
    fn obey(&mut self, request: &Message) -> Result<Message, Failure> {
        let words: Vec<&str> = request.words.split(' ').collect();
        let address = |word: &str| word.parse::<SocketAddr>().expect("an address");
        match words[..] {
            ["tcp", to, within] => tcp(address(to), milliseconds(within)),
            ["udp", at] => {
                let socket = UdpSocket::bind(address(at))?;
                let words = socket.local_addr()?.to_string();
                let socket = Some(socket.into());
                Ok(Message {
                    socket,
                    ..Message::of_words(words)
                })
            }
            ["open", at] => self.keep(UdpClient::bind(address(at))),
            ["open-to", to] => self.keep(UdpClient::bind_to(address(to))?),
            ["local", id] => Ok(Message::of_words(self.kept(id).local().to_string())),
            ["connect", id, to] => done(self.kept(id).connect(address(to))),
            ["send", id] => done(self.kept(id).send(&request.bytes)),
            ["send-to", id, to] => done(self.kept(id).send_to(address(to), &request.bytes)),
            ["send-segmented", id, size] => {
                let size = size.parse().expect("a size");
                done(self.kept(id).send_segmented(&request.bytes, size))
            }
            ["receive", id, within] => {
                let socket = self.kept(id);
                socket.patience(milliseconds(within));
                let (bytes, from) = socket.receive()?;
                Ok(Message::of_words(from.to_string()).with_bytes(bytes))
            }
            ["run", within] => Ok(run(&request.bytes, milliseconds(within))),
            _ => panic!("not a request: {}", request.words),
        }
    }

    fn keep(&mut self, socket: UdpClient) -> Result<Message, Failure> {
        self.datagrams.push(socket);
        Ok(Message::of_words((self.datagrams.len() - 1).to_string()))
    }

    fn kept(&self, id: &str) -> &UdpClient {
        &self.datagrams[id.parse::<usize>().expect("a place")]
    }
}

fn done(result: Result<(), Failure>) -> Result<Message, Failure> {
    result.map(|()| Message::of_words("done"))
}

fn tcp(to: SocketAddr, within: Duration) -> Result<Message, Failure> {
    let stream = TcpStream::connect_timeout(&to, within)?;
    let peer = stream.peer_addr().unwrap_or(to);
    let words = format!("{} {peer}", stream.local_addr()?);
    let socket = Some(stream.into());
    Ok(Message {
        socket,
        ..Message::of_words(words)
    })
}

/// Runs a program, whose words are separated by NUL, to its end.
fn run(words: &[u8], within: Duration) -> Message {
    let words = String::from_utf8(words.to_vec()).expect("the test writes text");
    let mut words = words.split('\0');
    let program = Program::new(words.next().expect("a program's name"));
    let output = program.args(words).deadline(within).run();
    let status = match output.status {
        Status::Exited(status) => format!("exited {status}"),
        Status::Killed(signal) => format!("killed {signal}"),
        Status::Overran => "overran 0".to_owned(),
    };
    let length = output.stdout.len();
    Message::of_words(format!("{status} {length}")).with_bytes(output.stdout + &output.stderr)
}

fn milliseconds(word: &str) -> Duration {
    Duration::from_millis(word.parse().expect("a number"))
}
