use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use socket2::{Domain, Socket, Type};

use super::*;

/// Every kind of socket with a destination that it may ask for.
fn kinds() -> Vec<(Domain, SocketAddr)> {
    let mut kinds = vec![(Domain::IPV4, "203.0.113.7:443".parse().unwrap())];
    if std::net::UdpSocket::bind("[::1]:0").is_ok() {
        kinds.push((Domain::IPV6, "[2001:db8::1]:443".parse().unwrap()));
        kinds.push((Domain::IPV6, "[::ffff:203.0.113.7]:443".parse().unwrap()));
    }
    kinds
}

fn nonblocking(domain: Domain) -> Socket {
    Socket::new(domain, Type::STREAM.nonblocking(), None).unwrap()
}

fn blocking(domain: Domain) -> Socket {
    Socket::new(domain, Type::STREAM, None).unwrap()
}

fn begin(takeover: &Takeover, program: &Socket, wanted: SocketAddr) -> Joining {
    assert_eq!(takeover.again(program), Again::New);
    takeover
        .begin(program.try_clone().unwrap().into(), wanted)
        .unwrap()
}

/// What poll(2) says at once.
fn polled(program: &Socket) -> PollFlags {
    let all = PollFlags::POLLIN | PollFlags::POLLOUT;
    let mut wait = [PollFd::new(program.as_fd(), all)];
    poll(&mut wait, PollTimeout::ZERO).unwrap();
    wait[0].revents().unwrap()
}

/// Both ends carry bytes, and an orderly end.
fn talk(program: Socket, mut engine: std::net::TcpStream) {
    program.set_nonblocking(false).unwrap();
    engine.set_nonblocking(false).unwrap();
    SockRef::from(&engine).set_linger(None).unwrap();
    let mut program = std::net::TcpStream::from(program);
    for round in 0..3_u8 {
        program.write_all(&[round; 100]).unwrap();
        let mut heard = [9; 100];
        engine.read_exact(&mut heard).unwrap();
        engine.write_all(&heard).unwrap();
        program.read_exact(&mut heard).unwrap();
        assert_eq!(heard, [round; 100]);
    }
    drop(engine);
    assert_eq!(program.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_nonblocking_socket_waits_in_silence_until_the_engine_is_there() {
    let takeover = Takeover::open().unwrap();
    for (domain, wanted) in kinds() {
        let program = nonblocking(domain);
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let event = EpollEvent::new(EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, 7);
        epoll.add(&program, event).unwrap();
        let mut events = [EpollEvent::empty()];
        // A socket that was never connected hangs up; this has been seen and is over.
        epoll.wait(&mut events, 0_u16).unwrap();
        let joining = begin(&takeover, &program, wanted);
        assert!(joining.is_held());
        assert_eq!(polled(&program), PollFlags::empty());
        assert_eq!(epoll.wait(&mut events, 0_u16).unwrap(), 0);
        assert_eq!(
            takeover.again(&program),
            Again::Answer(Err(Errno::EALREADY))
        );
        assert_eq!(takeover.error(&program), Told::Kernel);
        assert_eq!(takeover.peer(&program), None);
        let local = joining.local();
        let engine = joining.complete().unwrap();
        assert_eq!(engine.peer_addr().unwrap(), local);
        assert_eq!(polled(&program), PollFlags::POLLOUT);
        assert_eq!(epoll.wait(&mut events, 1000_u16).unwrap(), 1);
        assert_eq!(events[0].events(), EpollFlags::EPOLLOUT);
        assert!(program.take_error().unwrap().is_none());
        assert_eq!(takeover.peer(&program), Some(wanted));
        talk(program, engine);
    }
}

#[test]
fn connecting_again_gets_what_the_kernel_itself_says() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    let real = nonblocking(Domain::IPV4);
    let connect = |socket: &Socket| socket.connect(&to.into()).map_err(|e| errno(&e));
    let first = connect(&real);
    let (_peer, _) = server.accept().unwrap();
    let expected = [connect(&real), connect(&real), connect(&real)];
    // Over loopback the first may be through at once, which then is not told again.
    let expected = match first {
        Ok(()) => [Ok(()), Err(Errno::EISCONN), Err(Errno::EISCONN)],
        Err(_) => expected,
    };
    let takeover = Takeover::open().unwrap();
    for (domain, wanted) in kinds() {
        let program = nonblocking(domain);
        let joining = begin(&takeover, &program, wanted);
        let _engine = joining.complete().unwrap();
        let said = [(); 3].map(|()| match takeover.again(&program) {
            Again::Answer(answer) => answer,
            other => panic!("{other:?}"),
        });
        assert_eq!(said, expected);
    }
}

#[test]
fn a_failed_connect_wakes_the_program_and_tells_the_true_errno_once() {
    let takeover = Takeover::open().unwrap();
    for (domain, wanted) in kinds() {
        for errno in [Errno::ECONNREFUSED, Errno::ETIMEDOUT, Errno::EHOSTUNREACH] {
            let program = nonblocking(domain);
            begin(&takeover, &program, wanted).fail(errno);
            let woken = polled(&program);
            assert!(woken.contains(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLOUT));
            assert_eq!(takeover.error(&program), Told::Error(errno));
            assert_eq!(takeover.error(&program), Told::Kernel);
            assert!(program.take_error().unwrap().is_none());
            let aborted = Again::Answer(Err(Errno::ECONNABORTED));
            assert_eq!(takeover.again(&program), aborted);
            assert_eq!(takeover.again(&program), Again::New);
            assert_eq!(takeover.peer(&program), None);

            let program = nonblocking(domain);
            begin(&takeover, &program, wanted).fail(errno);
            assert_eq!(takeover.again(&program), Again::Answer(Err(errno)));
            assert!(program.take_error().unwrap().is_none());
            // It can be used once more, as a socket whose connect failed can.
            let engine = begin(&takeover, &program, wanted).complete().unwrap();
            talk(program, engine);
        }
    }
}

#[test]
fn a_blocking_socket_is_as_it_was_until_the_engine_is_there() {
    let takeover = Takeover::open().unwrap();
    for (domain, wanted) in kinds() {
        let program = blocking(domain);
        let before = (program.local_addr().unwrap(), polled(&program));
        let joining = begin(&takeover, &program, wanted);
        assert!(!joining.is_held());
        assert_eq!(takeover.again(&program), Again::Wait);
        assert_eq!(takeover.error(&program), Told::Wait);
        joining.fail(Errno::ECONNREFUSED);
        let after = (program.local_addr().unwrap(), polled(&program));
        assert!(before == after);
        assert!(program.take_error().unwrap().is_none());
        let engine = begin(&takeover, &program, wanted).complete().unwrap();
        let connected = Again::Answer(Err(Errno::EISCONN));
        assert_eq!(takeover.again(&program), connected);
        assert_eq!(takeover.peer(&program), Some(wanted));
        talk(program, engine);
    }
}

#[test]
fn strangers_at_the_ports_change_nothing() {
    let takeover = Takeover::open().unwrap();
    let mut strangers = Vec::new();
    for place in &takeover.0.places {
        let at = SocketAddr::new(place.family.loopback(), place.hold.port());
        let domain = Domain::for_address(at);
        for _ in 0..140 {
            let stranger = nonblocking(domain);
            let told = stranger.connect(&at.into()).unwrap_err();
            assert_eq!(errno(&told), Errno::EINPROGRESS);
            strangers.push(stranger);
        }
    }
    for (domain, wanted) in kinds() {
        for program in [nonblocking(domain), blocking(domain)] {
            let joining = begin(&takeover, &program, wanted);
            let engine = joining.complete().unwrap();
            talk(program, engine);
        }
    }
    assert!(strangers.iter().all(|s| s.peer_addr().is_err()));
}

#[test]
fn a_blocking_socket_of_multipath_tcp_is_joined_whoever_else_comes() {
    let mptcp = Some(socket2::Protocol::MPTCP);
    let Ok(program) = Socket::new(Domain::IPV4, Type::STREAM, mptcp) else {
        return eprintln!("SKIPPED: needs a kernel with Multipath TCP");
    };
    let takeover = Takeover::open().unwrap();
    let wanted = "203.0.113.7:443".parse().unwrap();
    let joining = begin(&takeover, &program, wanted);
    talk(program, joining.complete().unwrap());

    let desk = desk::Desk::open(&Maker(None), Family::V4).unwrap();
    let at = SocketAddr::from(([127, 0, 0, 1], desk.port()));
    let mut stranger = std::net::TcpStream::connect(at).unwrap();
    let program = std::net::TcpStream::connect(at).unwrap();
    let engine = desk.accept(&SockRef::from(&program)).unwrap();
    assert_eq!(engine.peer_addr().unwrap(), program.local_addr().unwrap());
    let reset = stranger.read(&mut [0]).unwrap_err();
    assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_call_that_ends_in_time_leaves_its_connect_to_go_on() {
    let takeover = Takeover::open().unwrap();
    for (domain, wanted) in kinds() {
        let program = blocking(domain);
        let mut joining = begin(&takeover, &program, wanted);
        joining.hold().unwrap();
        assert!(joining.is_held() && !program.nonblocking().unwrap());
        assert_eq!(polled(&program), PollFlags::empty());
        assert_eq!(takeover.error(&program), Told::Kernel);
        assert_eq!(takeover.again(&program), Again::Wait);
        let engine = joining.complete().unwrap();
        assert_eq!(polled(&program), PollFlags::POLLOUT);
        assert_eq!(takeover.again(&program), Again::Answer(Ok(())));
        talk(program, engine);

        let program = blocking(domain);
        let mut joining = begin(&takeover, &program, wanted);
        joining.hold().unwrap();
        joining.fail(Errno::EHOSTUNREACH);
        assert!(polled(&program).contains(PollFlags::POLLERR));
        assert_eq!(takeover.error(&program), Told::Error(Errno::EHOSTUNREACH));
    }
}

#[test]
fn a_held_socket_that_is_forgotten_is_not_left_waiting() {
    let takeover = Takeover::open().unwrap();
    for (domain, wanted) in kinds() {
        let program = nonblocking(domain);
        let first = begin(&takeover, &program, wanted);
        takeover.forget(&program);
        assert!(polled(&program).contains(PollFlags::POLLHUP));
        let _ = program.take_error();
        // The end of the first does not touch the second.
        let second = begin(&takeover, &program, wanted);
        first.fail(Errno::ECONNREFUSED);
        assert_eq!(polled(&program), PollFlags::empty());
        talk(program, second.complete().unwrap());
    }
}

#[test]
fn fast_open_is_switched_off_for_what_is_steered() {
    let takeover = Takeover::open().unwrap();
    for (domain, wanted) in kinds() {
        for program in [nonblocking(domain), blocking(domain)] {
            if setsockopt(&program, sockopt::TcpFastOpenConnect, &true).is_err() {
                return eprintln!("SKIPPED: needs net.ipv4.tcp_fastopen");
            }
            let joining = begin(&takeover, &program, wanted);
            let asked = nix::sys::socket::getsockopt(&program, sockopt::TcpFastOpenConnect);
            assert_eq!(asked, Ok(false));
            talk(program, joining.complete().unwrap());
        }
    }
}

#[test]
fn what_the_program_undoes_is_not_connected() {
    let takeover = Takeover::open().unwrap();
    for (domain, wanted) in kinds() {
        for program in [nonblocking(domain), blocking(domain)] {
            let joining = begin(&takeover, &program, wanted);
            takeover.forget(&program);
            crate::sys::socket::disconnect(program.as_fd()).unwrap();
            let error = joining.complete().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::ECANCELED as i32));
            assert!(program.peer_addr().is_err());
            assert_eq!(takeover.again(&program), Again::New);
        }
    }
}

#[test]
fn a_socket_keeps_what_it_was_bound_to() {
    let takeover = Takeover::open().unwrap();
    for program in [nonblocking(Domain::IPV4), blocking(Domain::IPV4)] {
        let bound: SocketAddr = "127.0.0.9:0".parse().unwrap();
        program.bind(&bound.into()).unwrap();
        let bound = program.local_addr().unwrap().as_socket().unwrap();
        let wanted = "203.0.113.7:443".parse().unwrap();
        let engine = begin(&takeover, &program, wanted).complete().unwrap();
        assert_eq!(engine.peer_addr().unwrap(), bound);
        talk(program, engine);
    }
}

#[test]
fn sockets_that_cannot_be_joined_are_refused_as_the_kernel_would() {
    let takeover = Takeover::open().unwrap();
    let wanted: SocketAddr = "[::ffff:203.0.113.7]:443".parse().unwrap();
    let refused = |program: &Socket| {
        takeover
            .begin(program.try_clone().unwrap().into(), wanted)
            .unwrap_err()
    };
    if let Ok(program) = Socket::new(Domain::IPV6, Type::STREAM, None) {
        program.set_only_v6(true).unwrap();
        assert_eq!(refused(&program), Errno::ENETUNREACH);
    }
    let listening = Socket::from(TcpListener::bind("127.0.0.1:0").unwrap());
    assert_eq!(refused(&listening), Errno::EISCONN);
    let connected = nonblocking(Domain::IPV4);
    let to = listening.local_addr().unwrap();
    let _ = connected.connect(&to);
    let _accepted = listening.accept().unwrap();
    assert_eq!(refused(&connected), Errno::EISCONN);
    let mptcp = Some(socket2::Protocol::MPTCP);
    if let Ok(multipath) = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), mptcp) {
        assert_eq!(refused(&multipath), Errno::EACCES);
    }
    let on_loopback = blocking(Domain::IPV4);
    on_loopback.bind_device(Some(b"lo")).unwrap();
    let engine = begin(&takeover, &on_loopback, "203.0.113.7:443".parse().unwrap());
    talk(on_loopback, engine.complete().unwrap());
}

#[test]
fn two_hundred_at_once_get_each_its_own() {
    let takeover = Takeover::open().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u16 {
            let takeover = &takeover;
            scope.spawn(move || {
                for n in 0..25 {
                    let port = 1000 + thread * 100 + n;
                    let wanted = SocketAddr::from(([203, 0, 113, 7], port));
                    let program = match n % 2 {
                        0 => nonblocking(Domain::IPV4),
                        _ => blocking(Domain::IPV4),
                    };
                    let joining = begin(takeover, &program, wanted);
                    let mut engine = joining.complete().unwrap();
                    engine.write_all(&port.to_be_bytes()).unwrap();
                    program.set_nonblocking(false).unwrap();
                    program
                        .set_read_timeout(Some(Duration::from_secs(10)))
                        .unwrap();
                    let mut said = [0; 2];
                    (&program).read_exact(&mut said).unwrap();
                    assert_eq!(u16::from_be_bytes(said), port);
                    assert_eq!(takeover.peer(&program), Some(wanted));
                }
            });
        }
    });
}
