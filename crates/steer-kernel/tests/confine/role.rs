//! An engine in little: namespaces, transparent listeners, and a command in it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::exit;
use std::sync::Arc;

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use steer_core::address::{Family, Protocol};
use steer_core::instance::Instance;
use steer_core::intake::Sockets;
use steer_core::intent::{OnFailure, Scope};
use steer_core::keeper::{EngageError, Job, Keeper, KeeperError};
use steer_core::mark::Mark;
use steer_core::method::Method;
use steer_core::netns::{MakeSockets, SocketKind, SocketWish};
use steer_core::object::{Binding, ChildSetting, Listener, Namespace, Object};
use steer_core::plan::{Life, Netns, Planned};
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_core::symbol::{Bindings, ListenerId, MarkRef, PortRef, ProcessRef};
use steer_kernel::child::{Inherited, Spawner};
use steer_kernel::confine;

/// What `[mask=PATH]… [cover=PATH:WITH]… [families=A,B] [wait] PROGRAM ARGS…` asks for.
struct Asked {
    masked: Vec<String>,
    covers: Vec<ChildSetting>,
    families: Option<Vec<u16>>,
    /// Kill the holder, and have another one take over, before the command starts.
    replace: bool,
    command: Vec<OsString>,
}

pub(crate) fn engine() -> ! {
    let inherited = Inherited::capture().unwrap();
    let asked = asked();
    let mut keeper = confine::spawn().unwrap();
    let namespace = Namespace {
        addresses: addresses(),
        masked: asked.masked,
    };
    let holder = keeper.make(&namespace).unwrap_or_else(|e| fail(&e));
    println!("holder {holder}");
    let ports = [Protocol::Tcp, Protocol::Udp].map(|protocol| {
        let listener = listener(protocol);
        let (port, sockets) = match keeper.listen(&listener) {
            Ok(done) => done,
            Err(EngageError::Keeper(error)) => fail(&error),
            Err(error) => panic!("{error}"),
        };
        serve(sockets, &keeper.sockets().unwrap());
        (protocol, port)
    });
    keeper.commit(&job(&ports)).unwrap_or_else(|e| fail(&e));
    if asked.replace {
        replace(&mut *keeper, holder);
        keeper.commit(&job(&ports)).unwrap_or_else(|e| fail(&e));
    }
    let mut settings = vec![ChildSetting::Enter(ProcessRef::Pid(holder))];
    settings.extend(asked.covers);
    settings.extend(
        asked
            .families
            .map(|allowed| ChildSetting::Families { allowed }),
    );
    let (program, arguments) = asked.command.split_first().unwrap();
    let exit_as = match Spawner::new(inherited).spawn(program, arguments, &settings) {
        Ok(running) => running.wait().unwrap(),
        Err(error) => {
            println!("error {error}; {}", error.help());
            exit(error.status())
        }
    };
    keeper.release().unwrap();
    exit_as.pass_on()
}

fn replace(keeper: &mut dyn Keeper, holder: u32) {
    let lost = keeper.lost().unwrap().unwrap();
    let pid = nix::unistd::Pid::from_raw(holder.try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let (mut lost, mut end) = (lost, Vec::new());
    io::Read::read_to_end(&mut lost, &mut end).unwrap();
    keeper.restore().unwrap_or_else(|e| fail(&e));
}

fn fail(error: &KeeperError) -> ! {
    println!("error {error}; {}", error.help());
    exit(1)
}

fn asked() -> Asked {
    let mut command: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut asked = Asked {
        masked: Vec::new(),
        covers: Vec::new(),
        families: None,
        replace: false,
        command: Vec::new(),
    };
    while let Some((name, value)) = command[0].to_str().and_then(|a| a.split_once('=')) {
        match name {
            "mask" => asked.masked.push(value.to_owned()),
            "cover" => {
                let (path, with) = value.split_once(':').unwrap();
                let (path, with) = (path.into(), with.into());
                asked.covers.push(ChildSetting::Cover { path, with });
            }
            "replace" => asked.replace = true,
            _ => {
                let numbers = value.split(',').map(|n| n.parse().unwrap());
                asked.families = Some(numbers.collect());
            }
        }
        command.remove(0);
    }
    asked.command = command;
    asked
}

pub(crate) fn addresses() -> Vec<IpAddr> {
    ["198.18.0.1", "fd5e:7ee2::1"]
        .map(|a| a.parse().unwrap())
        .to_vec()
}

fn listener(protocol: Protocol) -> Listener {
    Listener {
        id: ListenerId(format!("{protocol:?}").to_lowercase()),
        method: Method::Tproxy,
        protocol,
        addresses: Family::ALL.map(Family::loopback).to_vec(),
        port: None,
        to: None,
        binding: Binding::Transparent,
        app: None,
    }
}

fn job(ports: &[(Protocol, u16)]) -> Job {
    let loopback = Family::ALL.map(|family| {
        let to = Test::To(vec![family.loopback_net()]);
        Rule::new([to], Verdict::Return, "the command's own")
    });
    let own = Test::Marked(MarkRef::Fixed(Mark::BYPASS));
    let mut rules = vec![Rule::new([own], Verdict::Return, "the engine's answers")];
    rules.extend(loopback);
    rules.extend(ports.iter().map(|(protocol, port)| {
        let verdict = Verdict::Tproxy {
            to: PortRef::Fixed(*port),
            mark: MarkRef::Fixed(Mark::STEER),
            dead: OnFailure::Closed,
        };
        Rule::new([Test::Protocol(*protocol)], verdict, "to the engine")
    }));
    let base = Base {
        kind: ChainKind::Filter,
        hook: Hook::Prerouting,
        priority: -150,
    };
    Job {
        method: Method::Tproxy,
        bindings: Bindings::new(Instance::new("inside").unwrap()),
        on_failure: OnFailure::Closed,
        scope: Scope::command(),
        objects: vec![Planned {
            netns: Netns::New,
            life: Life::Steer,
            object: Object::Nft(Ruleset {
                role: Role::Steer,
                families: Family::ALL.to_vec(),
                chains: vec![Chain {
                    name: "arrive".to_owned(),
                    base: Some(base),
                    rules,
                }],
            }),
        }],
    }
}

/// Answers whatever comes with the destination that it came with.
fn serve(sockets: Sockets, makers: &Arc<dyn MakeSockets>) {
    match sockets {
        Sockets::Tcp(sockets) => {
            for socket in sockets {
                std::thread::spawn(move || streams(&socket));
            }
        }
        Sockets::Udp(sockets) => {
            for socket in sockets {
                let makers = Arc::clone(makers);
                std::thread::spawn(move || datagrams(&socket, &*makers));
            }
        }
        Sockets::Control(_) => unreachable!("none was asked for"),
    }
}

fn streams(listener: &TcpListener) {
    listener.set_nonblocking(false).unwrap();
    while let Ok((mut stream, client)) = listener.accept() {
        // What was written shall arrive: listeners have theirs reset.
        let gently = nix::libc::linger {
            l_onoff: 0,
            l_linger: 0,
        };
        setsockopt(&stream, sockopt::Linger, &gently).unwrap();
        let to = stream.local_addr().unwrap();
        let said = format!("tcp {to} from {}\n", client.ip());
        // A client that is gone already has no use for it.
        let _ = stream.write_all(said.as_bytes());
    }
}

fn datagrams(socket: &UdpSocket, makers: &dyn MakeSockets) {
    socket.set_nonblocking(false).unwrap();
    let mut bytes = [0; 100];
    loop {
        let mut space = nix::cmsg_space!(nix::libc::sockaddr_in6);
        let mut into = [io::IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut into,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .unwrap();
        let to: SocketAddr = message
            .cmsgs()
            .unwrap()
            .find_map(|beside| match beside {
                ControlMessageOwned::Ipv4OrigDstAddr(at) => Some(SocketAddr::from((
                    u32::from_be(at.sin_addr.s_addr).to_be_bytes(),
                    u16::from_be(at.sin_port),
                ))),
                ControlMessageOwned::Ipv6OrigDstAddr(at) => Some(SocketAddr::from((
                    at.sin6_addr.s6_addr,
                    u16::from_be(at.sin6_port),
                ))),
                _ => None,
            })
            .unwrap();
        let client = message.address.unwrap();
        let client: SocketAddr = match (client.as_sockaddr_in(), client.as_sockaddr_in6()) {
            (Some(at), _) => SocketAddr::from((at.ip(), at.port())),
            (_, Some(at)) => SocketAddr::from((at.ip(), at.port())),
            _ => unreachable!("an address of the internet"),
        };
        let wanted = SocketWish {
            family: Family::of(to.ip()),
            kind: SocketKind::Datagram,
            binding: Binding::Transparent,
            mark: Some(Mark::BYPASS),
            bind: Some(to),
        };
        let answer = UdpSocket::from(makers.make(&wanted).unwrap());
        answer
            .send_to(
                format!("udp {to} from {}\n", client.ip()).as_bytes(),
                client,
            )
            .unwrap();
    }
}

/// Says what the host's facts are about namespaces.
pub(crate) fn facts() -> ! {
    println!("{:?}", steer_kernel::host::observe().user_namespaces);
    exit(0)
}
