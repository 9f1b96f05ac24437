use std::future::poll_fn;
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};

use steer_core::address::Protocol;
use steer_core::datagram::Batch;
use steer_core::instance::Instance;
use steer_core::intent::Scope;
use steer_core::method::Method;
use steer_core::object::Binding;
use steer_core::plan::Netns;
use steer_core::steered::{Flow, Steered};
use steer_core::symbol::ListenerId;

use super::*;

fn intent() -> Intent {
    let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::default());
    intent.identify = true;
    intent
}

const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(127, 83, 0, 2)),
    IpAddr::V4(std::net::Ipv4Addr::new(127, 83, 0, 3)),
];

fn intake(protocol: Protocol, to: Option<&str>, sockets: Sockets) -> Box<dyn Intake> {
    let listener = Listener {
        id: ListenerId("dns".to_owned()),
        method: Method::Dns,
        protocol,
        addresses: ADDRESSES.to_vec(),
        port: None,
        to: to.map(|to| to.parse().unwrap()),
        binding: Binding::Own,
        app: to.map(|_| App::Dns),
    };
    let bound = Bound {
        listener,
        netns: Netns::Here,
        inside: None,
        shared: Vec::new(),
        sockets,
    };
    of(&intent(), bound).unwrap()
}

fn streams() -> (Vec<SocketAddr>, Sockets) {
    let sockets = ADDRESSES.map(|ip| TcpListener::bind((ip, 0)).unwrap());
    let addresses = sockets.iter().map(|s| s.local_addr().unwrap()).collect();
    (addresses, Sockets::Tcp(sockets.into()))
}

fn datagrams() -> (Vec<SocketAddr>, Sockets) {
    let sockets = ADDRESSES.map(|ip| UdpSocket::bind((ip, 0)).unwrap());
    let addresses = sockets.iter().map(|s| s.local_addr().unwrap()).collect();
    (addresses, Sockets::Udp(sockets.into()))
}

#[tokio::test]
async fn a_connection_comes_with_the_address_that_it_was_made_to() {
    let (addresses, sockets) = streams();
    let mut intake = intake(Protocol::Tcp, None, sockets);
    for at in addresses {
        let client = TcpStream::connect(at).unwrap();
        let steered = intake.next().await.unwrap();
        assert_eq!(steered.destination, Destination::addr(at));
        assert_eq!(steered.client.0, client.local_addr().unwrap());
        assert_eq!(steered.identity.uid, Some(nix::unistd::geteuid().as_raw()));
        assert_eq!((steered.app, steered.via), (None, Method::Dns));
    }
}

#[tokio::test]
async fn a_stranger_is_refused() {
    let (addresses, sockets) = streams();
    let Some(own) = own_address() else {
        eprintln!("skipped: the host has no address but loopback");
        return;
    };
    let mut intake = intake(Protocol::Tcp, None, sockets);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(own, 0).into()).unwrap();
    socket.connect(&addresses[0].into()).unwrap();
    let client = TcpStream::connect(addresses[1]).unwrap();
    let steered = intake.next().await.unwrap();
    assert_eq!(steered.client.0, client.local_addr().unwrap());
    let mut stranger = TcpStream::from(socket);
    let end = io::Read::read(&mut stranger, &mut [0]);
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

/// An address of this host that others can reach.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: connecting a datagram socket looks the route up.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

#[tokio::test]
async fn the_resolver_asks_on_whichever_transport_it_is_asked() {
    let to = "192.0.2.53:53";
    let (addresses, sockets) = streams();
    let mut connections = intake(Protocol::Tcp, Some(to), sockets);
    let _client = TcpStream::connect(addresses[0]).unwrap();
    let (addresses, sockets) = datagrams();
    let mut flows = intake(Protocol::Udp, Some(to), sockets);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"?", addresses[0]).unwrap();
    for steered in [connections.next().await, flows.next().await] {
        let Steered {
            destination, app, ..
        } = steered.unwrap();
        assert_eq!(
            (destination.to_string().as_str(), app),
            (to, Some(App::Dns))
        );
    }
}

#[tokio::test]
async fn a_flow_is_answered_from_the_address_that_it_was_sent_to() {
    let (addresses, sockets) = datagrams();
    let mut intake = intake(Protocol::Udp, None, sockets);
    for at in addresses {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(at).unwrap();
        client.send(b"ping").unwrap();
        let steered = intake.next().await.unwrap();
        assert_eq!(steered.destination, Destination::addr(at));
        assert_eq!(steered.client.0, client.local_addr().unwrap());
        let Flow::Udp(mut flow) = steered.flow else {
            panic!("datagrams");
        };
        let mut batch = Batch::default();
        poll_fn(|cx| flow.poll_receive(cx, &mut batch))
            .await
            .unwrap();
        assert_eq!(batch.iter().collect::<Vec<_>>(), [b"ping"]);
        flow.send(&batch).unwrap();
        let mut answer = [0; 8];
        client
            .set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        assert_eq!(client.recv(&mut answer).unwrap(), 4);
        // What follows belongs to the flow that is there.
        client.send(b"more").unwrap();
        batch.clear();
        tokio::select! {
            received = poll_fn(|cx| flow.poll_receive(cx, &mut batch)) => received.unwrap(),
            other = intake.next() => panic!("{other:?}"),
        }
        assert_eq!(batch.iter().collect::<Vec<_>>(), [b"more"]);
    }
}
