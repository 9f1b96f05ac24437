use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use proptest::prelude::*;
use steer_core::address::Family;
use steer_core::intent::Echo;
use steer_core::method::Method;
use steer_core::object::device_address;
use steer_core::steered::Steered;
use tokio::sync::mpsc;

use super::*;
use crate::packet::build::{self, Head};
use crate::packet::{Gso, Segment, checksum};

/// A wire that remembers what went out.
#[derive(Debug, Default)]
struct Paper(Mutex<Vec<(Hop, Offload, Vec<u8>)>>);

impl Wire for Paper {
    fn send(&self, hop: Hop, offload: Offload, parts: &[&[u8]]) -> io::Result<()> {
        self.0.lock().unwrap().push((hop, offload, parts.concat()));
        Ok(())
    }

    fn longest(&self) -> usize {
        1500
    }

    fn completes_checksums(&self) -> bool {
        true
    }

    fn cuts_datagrams(&self) -> bool {
        true
    }
}

/// A path between two wires of paper.
struct Scene {
    path: Path,
    outer: Arc<Paper>,
    inner: Arc<Paper>,
    steered: mpsc::Receiver<Steered>,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        let (new_flows, steered) = mpsc::channel(8);
        let (outer, inner) = (Arc::<Paper>::default(), Arc::<Paper>::default());
        let setup = Setup {
            method: Method::Tun,
            flows: Arc::new(Flows::new(50, LISTENER)),
            new_flows,
            outer: Arc::clone(&outer) as _,
            inner: Arc::clone(&inner) as _,
            here: vec!["192.0.0.66".parse().unwrap(), "fe80::1".parse().unwrap()],
            echo: Echo::Answer,
        };
        Self {
            path: Path::new(setup, |_| None),
            outer,
            inner,
            steered,
            now: Instant::now(),
        }
    }

    /// Has the path take a packet; what went out to the clients, and to the kernel's end.
    fn take(&mut self, side: Side, packet: &[u8], offload: Offload, hop: Hop) -> [Vec<Sent>; 2] {
        let ways = Ways {
            side,
            outer: &*self.outer,
            inner: &*self.inner,
        };
        let mut packet = packet.to_vec();
        let taken = self.path.take(&ways, &mut packet, offload, hop, self.now);
        taken.unwrap();
        [&self.outer, &self.inner].map(|paper| std::mem::take(&mut *paper.0.lock().unwrap()))
    }
}

type Sent = (Hop, Offload, Vec<u8>);

/// A segment of TCP with its checksum.
fn segment(from: SocketAddr, to: SocketAddr, flags: u8, data: &[u8]) -> Vec<u8> {
    numbered(from, to, flags, (100, 200), data)
}

/// The same with these numbers: its own and what it acknowledges.
fn numbered(
    from: SocketAddr,
    to: SocketAddr,
    flags: u8,
    (sequence, acknowledged): (u32, u32),
    data: &[u8],
) -> Vec<u8> {
    let ends = build::Ends::new(from.ip(), to.ip()).unwrap();
    let mut tcp = Vec::new();
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(acknowledged.to_be_bytes());
    tcp.extend([5 << 4, flags, 255, 255, 0, 0, 0, 0]);
    tcp.extend(data);
    let sum = ends.pseudo(Transport::Tcp, tcp.len()) + checksum::sum(&tcp);
    tcp[16..18].copy_from_slice(&(!checksum::fold(sum)).to_be_bytes());
    let head = Head::ip(ends, Transport::Tcp, 64, None, tcp.len()).unwrap();
    [head.bytes(), &tcp].concat()
}

fn ends_of(packet: &[u8]) -> (SocketAddr, SocketAddr, Segment) {
    let parsed = parse(packet).unwrap();
    let segment = Segment::read(packet, &parsed).unwrap();
    let tcp = &packet[parsed.start..parsed.end];
    let ends = build::Ends::new(parsed.source, parsed.destination).unwrap();
    let sum = ends.pseudo(Transport::Tcp, tcp.len()) + checksum::sum(tcp);
    assert_eq!(checksum::fold(sum), 0xffff, "its checksum");
    (
        SocketAddr::new(parsed.source, segment.ports.0),
        SocketAddr::new(parsed.destination, segment.ports.1),
        segment,
    )
}

fn pairs() -> [(SocketAddr, SocketAddr); 2] {
    [
        ("10.0.0.2:40000", "203.0.113.7:443"),
        ("[2001:db8::2]:40000", "[2001:db8::7]:443"),
    ]
    .map(|(client, server)| (client.parse().unwrap(), server.parse().unwrap()))
}

#[test]
fn a_connection_reaches_the_listener_and_its_answer_the_station_that_asked() {
    for (client, server) in pairs() {
        let mut scene = Scene::new();
        let syn = segment(client, server, Segment::SYN, b"");
        let [outer, inner] = scene.take(Side::Outer, &syn, Offload::default(), STATION);
        assert_eq!((outer.len(), inner.len()), (0, 1));
        let (hop, _, packet) = &inner[0];
        let (stand_in, listener, _) = ends_of(packet);
        assert_eq!(*hop, Hop::Host);
        let at = SocketAddr::new(device_address(Family::of(client.ip())), LISTENER);
        assert_eq!(listener, at);
        let flow = scene.path.flows().behind(stand_in).unwrap();
        assert_eq!(
            (flow.key().client, flow.key().destination),
            (client, server)
        );

        let answer = segment(listener, stand_in, Segment::SYN | Segment::ACK, b"");
        let [outer, inner] = scene.take(Side::Inner, &answer, Offload::default(), Hop::Host);
        assert_eq!((outer.len(), inner.len()), (1, 0));
        let (hop, _, packet) = &outer[0];
        let (from, to, _) = ends_of(packet);
        assert_eq!((*hop, from, to), (STATION, server, client));
        assert_eq!(scene.path.counters().all().count(), 0);
    }
}

#[test]
fn segments_of_no_connection_are_reset_and_resets_are_not() {
    for (client, server) in pairs() {
        let mut scene = Scene::new();
        let segments = [Segment::ACK, Segment::SYN | Segment::ACK, Segment::FIN, 0];
        for (count, flags) in (1..).zip(segments) {
            let packet = segment(client, server, flags, b"data");
            let [outer, inner] = scene.take(Side::Both, &packet, Offload::default(), STATION);
            assert_eq!((outer.len(), inner.len()), (1, 0), "{flags}");
            let (hop, _, packet) = &outer[0];
            let (from, to, reset) = ends_of(packet);
            assert_eq!((*hop, from, to), (STATION, server, client));
            assert!(reset.is(Segment::RST));
            assert_eq!(scene.path.counters().of(Reason::NoFlow), count);
        }
        let packet = segment(client, server, Segment::RST, b"");
        let sent = scene.take(Side::Both, &packet, Offload::default(), STATION);
        assert_eq!(sent, [vec![], vec![]]);
        // The same of the listener's.
        let listener = SocketAddr::new(device_address(Family::of(client.ip())), LISTENER);
        let mut nobody =
            scene
                .path
                .flows()
                .begin(crate::flows::Key::new(client, server), Hop::Host, scene.now);
        let nobody = nobody.take().unwrap();
        scene.path.flows().end(&nobody);
        let packet = segment(listener, nobody.stand_in().address(), Segment::ACK, b"");
        let [outer, inner] = scene.take(Side::Both, &packet, Offload::default(), Hop::Host);
        assert_eq!((outer.len(), inner.len()), (0, 1));
        assert!(ends_of(&inner[0].2).2.is(Segment::RST));
    }
}

#[test]
fn where_there_is_no_room_the_client_is_told() {
    let mut scene = Scene::new();
    let (_, server) = pairs()[0];
    let mut reset = 0;
    for port in 1000..1100 {
        let client = SocketAddr::from(([10, 0, 0, 2], port));
        let syn = segment(client, server, Segment::SYN, b"");
        let [outer, _] = scene.take(Side::Both, &syn, Offload::default(), Hop::Host);
        reset += outer.len() as u64;
    }
    assert_eq!((scene.path.flows().len(), reset), (50, 50));
    assert_eq!(scene.path.counters().of(Reason::Full), 50);
}

#[test]
fn a_packet_that_stands_for_several_segments_goes_on_as_one() {
    let (mut scene, (client, server)) = (Scene::new(), pairs()[0]);
    connected(&mut scene, client, server);
    let packet = segment(client, server, Segment::ACK, &[7; 5000]);
    let gso = |kind, headers| Offload {
        partial: Some((20, 16)),
        valid: false,
        gso: Some(Gso {
            kind,
            ecn: false,
            headers,
            size: 1460,
        }),
    };
    // What is said of the headers may be more than they are.
    let [_, inner] = scene.take(Side::Both, &packet, gso(Gso::TCP4, 5040), Hop::Host);
    assert_eq!(inner[0].1, gso(Gso::TCP4, 40));
    assert_eq!(inner[0].2.len(), packet.len());
    let sent = scene.take(Side::Both, &packet, gso(Gso::UDP, 40), Hop::Host);
    assert_eq!(sent, [vec![], vec![]]);
    assert_eq!(scene.path.counters().of(Reason::Length), 1);
}

#[test]
fn hops_that_are_used_up_and_foreign_protocols_are_told_to_the_sender() {
    let mut scene = Scene::new();
    let (client, server) = pairs()[0];
    for (hops, protocol, reason) in [(1, 6, Reason::Hops), (64, 132, Reason::Protocol)] {
        let mut packet = segment(client, server, Segment::SYN, b"");
        (packet[8], packet[9]) = (hops, protocol);
        (packet[10], packet[11]) = (0, 0);
        let sum = !checksum::fold(checksum::sum(&packet[..20]));
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        let [outer, inner] = scene.take(Side::Both, &packet, Offload::default(), STATION);
        assert_eq!((outer.len(), inner.len()), (1, 0), "{reason}");
        assert_eq!(outer[0].0, STATION);
        assert_eq!(parse(&outer[0].2).unwrap().destination, client.ip());
        assert_eq!(scene.path.counters().of(reason), 1);
    }
}

#[test]
fn clients_cannot_speak_for_the_listener() {
    let mut scene = Scene::new();
    let (client, server) = pairs()[0];
    let syn = segment(client, server, Segment::SYN, b"");
    let [_, inner] = scene.take(Side::Outer, &syn, Offload::default(), STATION);
    let (stand_in, listener, _) = ends_of(&inner[0].2);
    let forged = segment(listener, stand_in, Segment::RST, b"");
    let sent = scene.take(Side::Outer, &forged, Offload::default(), STATION);
    assert_eq!(sent, [vec![], vec![]]);
    assert_eq!(scene.path.flows().len(), 1);
    assert_eq!(scene.path.counters().of(Reason::Source), 1);
}

/// A connection from a station: the client's numbers go on at 100, the listener's at 900.
fn connected(scene: &mut Scene, client: SocketAddr, server: SocketAddr) -> [SocketAddr; 2] {
    let none = Offload::default();
    let syn = numbered(client, server, Segment::SYN, (99, 0), b"");
    let [_, inner] = scene.take(Side::Outer, &syn, none, STATION);
    let (stand_in, listener, _) = ends_of(&inner[0].2);
    let both = Segment::SYN | Segment::ACK;
    let answer = numbered(listener, stand_in, both, (899, 100), b"");
    scene.take(Side::Inner, &answer, none, Hop::Host);
    let last = numbered(client, server, Segment::ACK, (100, 900), b"");
    scene.take(Side::Outer, &last, none, STATION);
    [stand_in, listener]
}

#[test]
fn what_the_listener_has_yet_to_say_never_reaches_the_next_connection_of_a_port() {
    for (client, server) in pairs() {
        let mut scene = Scene::new();
        let none = Offload::default();
        let [stand_in, listener] = connected(&mut scene, client, server);
        let reset = numbered(client, server, Segment::RST, (100, 0), b"");
        let [_, inner] = scene.take(Side::Outer, &reset, none, STATION);
        assert_eq!(inner.len(), 1, "the listener is told");
        let late = numbered(listener, stand_in, Segment::ACK, (900, 100), b"late");
        for begins in [false, true] {
            if begins {
                let syn = numbered(client, server, Segment::SYN, (7000, 0), b"");
                let [outer, inner] = scene.take(Side::Outer, &syn, none, STATION);
                assert_eq!((outer.len(), inner.len()), (0, 1));
                assert_ne!(ends_of(&inner[0].2).0, stand_in, "another one stands in");
            }
            // The listener's end, if it has not ended, is told once more.
            let [outer, inner] = scene.take(Side::Inner, &late, none, Hop::Host);
            assert_eq!((outer.len(), inner.len()), (0, 1), "{begins}");
            let (_, _, told) = ends_of(&inner[0].2);
            assert!(told.is(Segment::RST) && told.sequence == 100);
        }
        assert_eq!(scene.path.flows().len(), 1);
    }
}

#[test]
fn a_blind_reset_is_left_to_the_kernel_and_a_connection_lives_through_it() {
    for (client, server) in pairs() {
        let mut scene = Scene::new();
        let none = Offload::default();
        let [stand_in, listener] = connected(&mut scene, client, server);
        for flags in [Segment::RST, Segment::SYN] {
            let blind = numbered(client, server, flags, (12_345, 0), b"");
            let [outer, inner] = scene.take(Side::Outer, &blind, none, OTHER);
            assert_eq!((outer.len(), inner.len()), (0, 1));
            assert_eq!(ends_of(&inner[0].2).0, stand_in);
        }
        let data = numbered(listener, stand_in, Segment::ACK, (900, 100), b"data");
        let [outer, _] = scene.take(Side::Inner, &data, none, Hop::Host);
        assert_eq!(outer[0].0, STATION, "nor does it move the client");
    }
}

#[test]
fn a_late_segment_does_not_reach_a_listener_that_would_reset_the_next_connection() {
    let (mut scene, (client, server)) = (Scene::new(), pairs()[0]);
    for (flags, count) in [(Segment::SYN, 1), (Segment::ACK, 0)] {
        let packet = segment(client, server, flags, b"");
        let [outer, inner] = scene.take(Side::Outer, &packet, Offload::default(), STATION);
        assert_eq!((outer.len(), inner.len()), (0, count));
    }
}

#[test]
fn the_listener_s_reset_is_delivered_and_nothing_after_it() {
    let (mut scene, (client, server)) = (Scene::new(), pairs()[0]);
    let none = Offload::default();
    let [stand_in, listener] = connected(&mut scene, client, server);
    let reset = numbered(listener, stand_in, Segment::RST, (900, 0), b"");
    let [outer, _] = scene.take(Side::Inner, &reset, none, Hop::Host);
    assert!(ends_of(&outer[0].2).2.is(Segment::RST));
    assert!(scene.path.flows().is_empty());
    assert_eq!(scene.take(Side::Inner, &reset, none, Hop::Host)[0], []);
}

#[test]
fn a_client_moves_to_another_station_with_segments_of_its_own_alone() {
    let (mut scene, (client, server)) = (Scene::new(), pairs()[0]);
    let none = Offload::default();
    let [stand_in, listener] = connected(&mut scene, client, server);
    let far = 1 << 30;
    for (numbers, at) in [
        ((far, 900), STATION),
        ((100, far), STATION),
        ((100, 900), OTHER),
    ] {
        let moved = numbered(client, server, Segment::ACK, numbers, b"");
        scene.take(Side::Outer, &moved, none, OTHER);
        let data = numbered(listener, stand_in, Segment::ACK, (900, 100), b"data");
        let [outer, _] = scene.take(Side::Inner, &data, none, Hop::Host);
        assert_eq!(outer[0].0, at, "{numbers:?}");
    }
}

/// Packets that are nearly right: some fields are changed, and some of the end is missing.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let flags = any::<u8>();
    let made = (0..2_usize, 1000..1060_u16, flags, 0..80_usize).prop_map(
        |(family, port, flags, length)| {
            let (mut client, server) = pairs()[family];
            client.set_port(port);
            segment(client, server, flags, &vec![1; length])
        },
    );
    let spots = proptest::collection::vec((0..100_usize, any::<u8>()), 0..4);
    let changed = (made, spots, 0..140_usize, any::<bool>()).prop_map(
        |(mut packet, spots, length, is_mended)| {
            for (at, byte) in spots {
                if let Some(place) = packet.get_mut(at) {
                    *place = byte;
                }
            }
            packet.truncate(length.max(1));
            if is_mended && packet[0] == 0x45 && packet.len() >= 20 {
                (packet[10], packet[11]) = (0, 0);
                let sum = !checksum::fold(checksum::sum(&packet[..20]));
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            packet
        },
    );
    prop_oneof![changed, proptest::collection::vec(any::<u8>(), 0..120)]
}

fn offload() -> impl Strategy<Value = Offload> {
    let gso = (any::<u8>(), any::<bool>(), any::<u16>(), 1..=u16::MAX);
    let gso = gso.prop_map(|(kind, ecn, headers, size)| Gso {
        kind,
        ecn,
        headers,
        size,
    });
    let partial = prop_oneof![Just((20, 16)), Just((40, 16)), any::<(u16, u16)>()];
    let partial = proptest::option::of(partial);
    (partial, any::<bool>(), proptest::option::of(gso)).prop_map(|(partial, valid, gso)| Offload {
        partial,
        valid,
        gso,
    })
}

fn counted(path: &Path) -> u64 {
    path.counters().all().map(|(_, count)| count).sum()
}

proptest! {
    #[test]
    fn whatever_comes_is_taken_or_counted_and_answered_to_its_sender_alone(
        packets in proptest::collection::vec((hostile(), offload(), 0..3_usize), 1..40)
    ) {
        let mut scene = Scene::new();
        for (packet, offload, side) in packets {
            let side = [Side::Outer, Side::Inner, Side::Both][side];
            let before = counted(&scene.path);
            let [outer, inner] = scene.take(side, &packet, offload, STATION);
            let sender = parse(&packet).map(|parsed| parsed.source);
            for (hop, _, sent) in &outer {
                let to: IpAddr = parse(sent).unwrap().destination;
                prop_assert!(*hop == STATION && Ok(to) == sender, "{:?} {}", hop, to);
            }
            for (hop, _, sent) in &inner {
                let to = parse(sent).unwrap().destination;
                prop_assert_eq!((*hop, to), (Hop::Host, device_address(Family::of(to))));
            }
            let steered = std::iter::from_fn(|| scene.steered.try_recv().ok()).count();
            let is_fragment = parse(&packet).is_ok_and(|parsed| parsed.fragment.is_some());
            let is_taken = !outer.is_empty() || !inner.is_empty() || steered > 0 || is_fragment;
            let is_udp = parse(&packet).is_ok_and(|parsed| parsed.transport == Transport::Udp);
            prop_assert!(is_taken || is_udp || counted(&scene.path) > before, "{:x?}", packet);
            prop_assert!(scene.path.flows().len() <= 50);
        }
    }
}

const STATION: Hop = Hop::Station([2, 0, 0, 0, 0, 9]);
const OTHER: Hop = Hop::Station([2, 0, 0, 0, 0, 10]);
const LISTENER: u16 = 15001;
