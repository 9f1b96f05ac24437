//! Programs that speak UDP, and the sockets by which a method would bring their datagrams.
use std::net::{Ipv4Addr, SocketAddr};

use steer_core::address::{ClientAddr, Destination};
use steer_core::datagram::{Budget, SocketDatagrams};
use steer_core::method::Method;
use steer_core::policy::App;
use steer_core::steered::{Flow, Identity, Refusal, ResetAnswer, Steered};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::bench::{Bench, soon};

pub(crate) struct Program {
    socket: UdpSocket,
    /// The method's end, until it is given to the engine.
    steered: Option<std::net::UdpSocket>,
    /// The same, to look at.
    watched: std::net::UdpSocket,
    told: mpsc::UnboundedReceiver<(Refusal, Vec<u8>)>,
    told_tx: Option<mpsc::UnboundedSender<(Refusal, Vec<u8>)>>,
}

impl Program {
    /// A program with the method's socket connected to it.
    pub(crate) async fn bound() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let steered = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        steered.connect(socket.local_addr().unwrap()).unwrap();
        socket.connect(steered.local_addr().unwrap()).await.unwrap();
        let (told_tx, told) = mpsc::unbounded_channel();
        Self {
            socket,
            watched: steered.try_clone().unwrap(),
            steered: Some(steered),
            told,
            told_tx: Some(told_tx),
        }
    }

    /// A program whose first datagram begins a flow to `destination`.
    pub(crate) async fn begin(
        bench: &Bench,
        destination: impl IntoDestination,
        first: &[u8],
    ) -> Self {
        let mut program = Self::bound().await;
        let client = ClientAddr(program.address());
        steer(
            bench,
            &mut program,
            client,
            destination.into_destination(),
            first,
        );
        program
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) async fn send(&self, datagram: &[u8]) {
        soon(self.socket.send(datagram)).await.unwrap();
    }

    /// Waits until the engine has taken everything that was sent.
    pub(crate) async fn taken(&self) {
        let taken = async {
            while self.watched.peek(&mut [0; 1]).is_ok() {
                tokio::task::yield_now().await;
            }
        };
        soon(taken).await;
    }

    pub(crate) async fn receive(&mut self) -> Vec<u8> {
        let mut room = vec![0; 1 << 16];
        let length = soon(self.socket.recv(&mut room)).await.unwrap();
        room.truncate(length);
        room
    }

    /// Whether nothing has come, after everybody else had a turn.
    pub(crate) async fn is_silent(&self) -> bool {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.socket.try_recv(&mut [0; 9]).is_err()
    }

    /// What the method is told to refuse, and with which quotation.
    pub(crate) async fn refused(&mut self) -> (Refusal, Vec<u8>) {
        soon(self.told.recv()).await.unwrap()
    }

    pub(crate) async fn receive_or_refused(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut room = vec![0; 1 << 16];
        tokio::select! {
            length = soon(self.socket.recv(&mut room)) => {
                room.truncate(length.unwrap());
                Ok(room)
            }
            told = soon(self.told.recv()) => Err(told.unwrap().0),
        }
    }
}

/// Brings a program's flow to the engine, as a method does.
pub(crate) fn steer(
    bench: &Bench,
    program: &mut Program,
    client: ClientAddr,
    destination: Destination,
    first: &[u8],
) {
    bring(bench, program, client, destination, first, None);
}

/// As [`steer`], with what the listener prescribes.
pub(crate) fn bring(
    bench: &Bench,
    program: &mut Program,
    client: ClientAddr,
    destination: Destination,
    first: &[u8],
    app: Option<App>,
) {
    let socket = program.steered.take().unwrap();
    let (flow, stragglers) = SocketDatagrams::new(socket, &Budget::new(1 << 20)).unwrap();
    stragglers.push(first).unwrap();
    let told_tx = program.told_tx.take().unwrap();
    let flow = flow.on_refusal(move |why, quoted| {
        let _ = told_tx.send((why, quoted.to_vec()));
    });
    let steered = Steered {
        flow: Flow::Udp(Box::new(flow)),
        client,
        destination,
        identity: Identity::default(),
        via: Method::Tproxy,
        upstream: None,
        app,
        inside: bench.inside.clone(),
        answer: Box::new(ResetAnswer),
    };
    bench.steered_tx.send(steered).unwrap();
}

pub(crate) trait IntoDestination {
    fn into_destination(self) -> Destination;
}

impl IntoDestination for SocketAddr {
    fn into_destination(self) -> Destination {
        Destination::addr(self)
    }
}

impl IntoDestination for Destination {
    fn into_destination(self) -> Destination {
        self
    }
}

pub(crate) async fn server() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A server that sends back what it gets.
pub(crate) async fn echo() -> SocketAddr {
    let (socket, address) = server().await;
    tokio::spawn(async move {
        let mut room = vec![0; 1 << 16];
        while let Ok((length, from)) = socket.recv_from(&mut room).await {
            let _ = socket.send_to(&room[..length], from).await;
        }
    });
    address
}
