//! A link with its gateway, in a test's memory or on a real device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use lab::{Host, Lab};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use steer_tun::packet::{Offload, checksum};
use steer_tun::segment::{GATEWAY, Mac, Segment, Setup, Taken};

/// The gateway's addresses.
pub(crate) const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1);

/// A station.
pub(crate) const STATION: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

pub(crate) fn setup() -> Setup {
    Setup {
        gateways: vec![(GATEWAY4.into(), 24), (GATEWAY6.into(), 64)],
        mtu: 1400,
        dhcp: true,
        advertise: true,
        resolvers: vec![
            IpAddr::from([10, 9, 0, 53]),
            "fd00:9::53".parse().expect("an address"),
        ],
    }
}

/// What a frame becomes, and what is answered.
pub(crate) fn take(segment: &Segment, frame: &[u8], now: Instant) -> (Taken, Vec<Vec<u8>>) {
    let mut answers = Vec::new();
    let mut answer = |frame: &[u8]| answers.push(frame.to_vec());
    let taken = segment.take(frame, &Offload::default(), now, &mut answer);
    (taken, answers)
}

/// A frame of a station.
pub(crate) fn frame(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

/// An ICMPv6 message of this link, whose checksum field is zero, as a packet.
pub(crate) fn icmp6(source: Ipv6Addr, destination: Ipv6Addr, hops: u8, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let pseudo = checksum::pseudo(source.into(), destination.into(), 58, message.len());
    let sum = !checksum::fold(pseudo + checksum::sum(&message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let length = u16::try_from(message.len()).expect("short").to_be_bytes();
    let fixed = [0x60, 0, 0, 0, length[0], length[1], 58, hops];
    [
        &fixed[..],
        &source.octets(),
        &destination.octets(),
        &message,
    ]
    .concat()
}

/// A UDP datagram with right checksums, as a packet.
pub(crate) fn udp4(
    (source, source_port): (Ipv4Addr, u16),
    (destination, port): (Ipv4Addr, u16),
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("short");
    let mut udp = [source_port, port, length, 0]
        .map(u16::to_be_bytes)
        .concat();
    udp.extend(payload);
    let pseudo = checksum::pseudo(source.into(), destination.into(), 17, udp.len());
    let sum = !checksum::fold(pseudo + checksum::sum(&udp));
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut header = vec![0x45, 0];
    header.extend((20 + length).to_be_bytes());
    header.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    let sum = !checksum::fold(checksum::sum(&header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [header, udp].concat()
}

/// Where a frame goes.
pub(crate) fn destination(frame: &[u8]) -> Mac {
    frame[..6].try_into().expect("a frame has a header")
}

/// Asserts that a frame is the gateway's.
pub(crate) fn assert_ours(frame: &[u8]) {
    assert_eq!(frame[6..12], GATEWAY, "{frame:02x?}");
}

/// A host whose only device is a TAP with the gateway behind it.
pub(crate) struct Link {
    pub(crate) host: Host,
    pub(crate) segment: Arc<Segment>,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// The device's name.
pub(crate) const TAP: &str = "tap0";

impl Link {
    pub(crate) fn new(label: &str, setup: &Setup) -> Self {
        let host = Lab::new(label).host("station");
        let tap = host.tap(TAP);
        let segment = Arc::new(Segment::new(setup));
        let (stop, stopped) = UnixStream::pair().expect("a socket pair");
        let serving = Arc::clone(&segment);
        let thread = thread::spawn(move || serve(&serving, &tap, &stopped));
        Self {
            host,
            segment,
            stop,
            thread: Some(thread),
        }
    }

    /// Gives the host addresses in the gateway's networks.
    pub(crate) fn with_addresses(self) -> Self {
        for address in ["10.9.0.5/24", "fd00:9::5/64"] {
            self.host.ip(&["addr", "add", address, "dev", TAP]);
        }
        self
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.stop.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(segment: &Segment, tap: &OwnedFd, stopped: &UnixStream) {
    let mut buffer = [0; 2048];
    let mut answer = |frame: &[u8]| {
        // A device that is down takes nothing; the stations ask again.
        let _ = nix::unistd::write(tap, frame);
    };
    loop {
        segment.sweep(Instant::now(), &mut answer);
        let mut ready = [tap.as_fd(), stopped.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        if poll(&mut ready, PollTimeout::from(1000_u16)).is_err() {
            continue;
        }
        if ready[1].any() == Some(true) {
            return;
        }
        if ready[0].any() == Some(true)
            && let Ok(length) = nix::unistd::read(tap, &mut buffer)
        {
            let frame = &buffer[..length];
            segment.take(frame, &Offload::default(), Instant::now(), &mut answer);
        }
    }
}
