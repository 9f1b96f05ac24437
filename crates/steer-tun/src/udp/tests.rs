use std::future::poll_fn;
use std::time::Instant;

use steer_core::address::Family;
use steer_core::datagram::Datagrams;
use steer_core::steered::Refusal;

use super::*;
use crate::fragments::{FragmentLimits, Fragments};
use crate::out::recorder::Recorder;
use crate::packet::build::{Head, Sum};
use crate::packet::{Counters, Transport, checksum, parse};

/// The flows of a device, and what stands around them.
struct Bench {
    udp: Udp,
    wire: Arc<Recorder>,
    new_flows: mpsc::Receiver<Steered>,
}

const STATION: Hop = Hop::Station([2, 0, 0, 0, 0, 7]);

fn bench(limits: UdpLimits, waiting: usize, wire: Arc<Recorder>) -> Bench {
    let (new_flows_tx, new_flows) = mpsc::channel(waiting);
    let out = Arc::new(Out::new(wire.clone(), Arc::new(Counters::default())));
    let errors = Arc::new(Errors::new(Arc::clone(&out), Vec::new()));
    Bench {
        udp: Udp::new(limits, Method::Tun, new_flows_tx, out, errors),
        wire,
        new_flows,
    }
}

fn ends(family: Family) -> (SocketAddr, SocketAddr) {
    let (client, destination) = match family {
        Family::V4 => ("192.0.2.1:40000", "198.51.100.7:4433"),
        Family::V6 => ("[2001:db8::1]:40000", "[2001:db8:1::7]:4433"),
    };
    (client.parse().unwrap(), destination.parse().unwrap())
}

fn packet(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let sum = Sum::Whole(checksum::sum(payload));
    let head = Head::udp(from, to, None, payload.len(), sum).unwrap();
    [head.bytes(), payload].concat()
}

impl Bench {
    fn take(&self, packet: &[u8], offload: Offload, hop: Hop) -> Result<(), Reason> {
        self.udp
            .take(packet, &parse(packet).unwrap(), &offload, hop)
    }

    fn steered(&mut self) -> (Box<dyn Datagrams>, SocketAddr, Destination) {
        let steered = self.new_flows.try_recv().unwrap();
        let Flow::Udp(flow) = steered.flow else {
            panic!("datagrams make a flow of datagrams");
        };
        (flow, steered.client.0, steered.destination)
    }
}

fn waiting(flow: &mut dyn Datagrams) -> Vec<Vec<u8>> {
    let mut batch = Batch::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(poll_fn(|cx| flow.poll_receive(cx, &mut batch)))
        .unwrap();
    batch.iter().map(<[u8]>::to_vec).collect()
}

fn batch<'a>(datagrams: impl IntoIterator<Item = &'a [u8]>) -> Batch {
    let mut batch = Batch::default();
    datagrams
        .into_iter()
        .for_each(|datagram| batch.push(datagram));
    batch
}

#[test]
fn datagrams_of_two_ends_are_one_flow_and_answers_go_where_the_last_came_from() {
    for family in Family::ALL {
        let mut bench = bench(UdpLimits::default(), 8, Recorder::new(1500, false));
        let (client, destination) = ends(family);
        for payload in [&b"one"[..], b"", b"three"] {
            let packet = packet(client, destination, payload);
            assert_eq!(bench.take(&packet, Offload::default(), Hop::Host), Ok(()));
        }
        let (mut flow, of, to) = bench.steered();
        assert_eq!((of, to), (client, Destination::addr(destination)));
        assert!(bench.new_flows.try_recv().is_err(), "there is one flow");
        assert_eq!(waiting(&mut *flow), [&b"one"[..], b"", b"three"]);
        let moved = packet(client, destination, b"four");
        assert_eq!(bench.take(&moved, Offload::default(), STATION), Ok(()));
        flow.send(&batch([&b"answer"[..]])).unwrap();
        let sent = bench.wire.take();
        assert_eq!(
            sent,
            [(STATION, Offload::default(), {
                let mut expected = packet(destination, client, b"answer");
                // Its number and, for it, the header's checksum are the packet's own; it may be cut.
                if family == Family::V4 {
                    expected[4..8].copy_from_slice(&sent[0].2[4..8]);
                    expected[10..12].copy_from_slice(&sent[0].2[10..12]);
                    assert_eq!(expected[6..8], [0, 0]);
                }
                expected
            })]
        );
        assert!(parse(&sent[0].2).is_ok());
    }
}

#[test]
fn a_packet_that_stands_for_several_datagrams_is_cut() {
    for family in Family::ALL {
        let mut bench = bench(UdpLimits::default(), 8, Recorder::new(1500, true));
        let (client, destination) = ends(family);
        let payload: Vec<u8> = (0..=254).cycle().take(2500).collect();
        let head = Head::udp(client, destination, None, payload.len(), Sum::Partial).unwrap();
        let headers = head.len() as u16;
        let offload = Offload {
            partial: Some((headers - 8, 6)),
            valid: false,
            gso: Some(Gso {
                kind: Gso::UDP,
                ecn: false,
                headers,
                size: 1000,
            }),
        };
        let packet = [head.bytes(), &payload].concat();
        assert_eq!(bench.take(&packet, offload, Hop::Host), Ok(()));
        let (mut flow, ..) = bench.steered();
        let datagrams: Vec<_> = payload.chunks(1000).map(<[u8]>::to_vec).collect();
        assert_eq!(waiting(&mut *flow), datagrams);
        // And back: datagrams of one size leave as one, a shorter one being the last.
        let answers: Vec<&[u8]> = vec![&payload[..900], &payload[..900], &payload[..7], b"8", b""];
        flow.send(&batch(answers)).unwrap();
        let sent = bench.wire.take();
        let sizes: Vec<_> = sent
            .iter()
            .map(|(_, offload, packet)| {
                (
                    offload.gso.map(|gso| (gso.kind, gso.size, gso.headers)),
                    packet.len() - usize::from(headers),
                )
            })
            .collect();
        assert_eq!(
            sizes,
            [(Some((Gso::UDP, 900, headers)), 1807), (None, 1), (None, 0),]
        );
        let tcp = Offload {
            gso: Some(Gso {
                kind: Gso::TCP4,
                ..offload.gso.unwrap()
            }),
            ..offload
        };
        assert_eq!(bench.take(&packet, tcp, Hop::Host), Err(Reason::Length));
    }
}

#[test]
fn a_checksum_is_verified_where_nobody_has() {
    for family in Family::ALL {
        let bench = bench(UdpLimits::default(), 8, Recorder::new(1500, false));
        let (client, destination) = ends(family);
        let mut packet = packet(client, destination, b"hello");
        let field = parse(&packet).unwrap().start + 6;
        packet[field] ^= 1;
        let plain = Offload::default();
        let valid = Offload {
            valid: true,
            ..plain
        };
        assert_eq!(bench.take(&packet, plain, Hop::Host), Err(Reason::Checksum));
        assert_eq!(bench.take(&packet, valid, Hop::Host), Ok(()));
        packet[field..field + 2].fill(0);
        // IPv6 has no datagrams without a checksum.
        let none = match family {
            Family::V4 => Ok(()),
            Family::V6 => Err(Reason::Checksum),
        };
        assert_eq!(bench.take(&packet, plain, Hop::Host), none);
    }
}

#[test]
fn lengths_and_ports_that_cannot_be_are_refused() {
    let (client, destination) = ends(Family::V4);
    let bench = bench(UdpLimits::default(), 8, Recorder::new(1500, false));
    let good = packet(client, destination, b"hello");
    let changed = |at: usize, value: u16| {
        let mut packet = good.clone();
        packet[20 + at..22 + at].copy_from_slice(&value.to_be_bytes());
        // Without a checksum, so that it is not what is refused.
        packet[26..28].fill(0);
        bench.take(&packet, Offload::default(), Hop::Host)
    };
    assert_eq!(changed(4, 7), Err(Reason::Length));
    assert_eq!(changed(4, 14), Err(Reason::Length));
    assert_eq!(changed(0, 0), Err(Reason::Source));
    assert_eq!(changed(2, 0), Err(Reason::Destination));
    assert_eq!(changed(4, 10), Ok(()), "what follows is padding");
    assert_eq!(bench.udp.flows(), 1);
}

#[test]
fn flows_are_bounded_and_those_that_are_over_make_room() {
    let limits = UdpLimits {
        flows: 5,
        source: 3,
        waiting: 1 << 20,
    };
    let mut bench = bench(limits, 100, Recorder::new(1500, false));
    let (_, destination) = ends(Family::V4);
    let from = |source: u8, port: u16| -> Vec<u8> {
        packet(
            SocketAddr::from(([192, 0, 2, source], port)),
            destination,
            b"x",
        )
    };
    let plain = Offload::default();
    let take = |bench: &Bench, source, port| bench.take(&from(source, port), plain, Hop::Host);
    let taken = |bench: &Bench, source| {
        (1..=10)
            .filter(|port| take(bench, source, *port).is_ok())
            .count()
    };
    assert_eq!(taken(&bench, 1), 3, "of one source");
    assert_eq!(taken(&bench, 2), 2, "of all");
    assert_eq!(take(&bench, 3, 1), Err(Reason::Full));
    drop(bench.steered());
    assert_eq!(take(&bench, 3, 1), Err(Reason::Full));
    bench.udp.sweep();
    assert_eq!(take(&bench, 3, 1), Ok(()));
    assert_eq!(
        (
            bench.udp.flows(),
            bench.udp.of_source("192.0.2.1".parse().unwrap())
        ),
        (5, 2)
    );
    // A flow that the engine has ended begins anew with the next datagram, without a sweep.
    drop(bench.steered());
    assert_eq!(take(&bench, 1, 2), Ok(()));
    while bench.new_flows.try_recv().is_ok() {}
    bench.udp.sweep();
    assert_eq!((bench.udp.flows(), bench.udp.waiting()), (0, 0));
}

#[test]
fn a_flow_that_nobody_takes_leaves_nothing() {
    let (client, destination) = ends(Family::V4);
    let mut bench = bench(UdpLimits::default(), 1, Recorder::new(1500, false));
    let first = packet(client, destination, b"x");
    let other = packet(destination, client, b"x");
    let plain = Offload::default();
    assert_eq!(bench.take(&first, plain, Hop::Host), Ok(()));
    assert_eq!(bench.take(&other, plain, Hop::Host), Err(Reason::Full));
    assert_eq!(bench.udp.flows(), 1);
    bench.new_flows.close();
    drop(bench.steered());
    assert_eq!(bench.take(&other, plain, Hop::Host), Err(Reason::NoFlow));
    assert_eq!(bench.take(&first, plain, Hop::Host), Err(Reason::NoFlow));
    assert_eq!((bench.udp.flows(), bench.udp.waiting()), (0, 0));
}

#[test]
fn what_waits_for_a_flow_that_does_not_keep_up_is_bounded() {
    let (client, destination) = ends(Family::V4);
    let mut bench = bench(UdpLimits::default(), 1, Recorder::new(1500, false));
    let packet = packet(client, destination, &[0; 1000]);
    let plain = Offload::default();
    let taken = (0..1000)
        .filter(|_| bench.take(&packet, plain, Hop::Host).is_ok())
        .count();
    assert!((100..200).contains(&taken), "{taken}");
    let (mut flow, ..) = bench.steered();
    assert_eq!(waiting(&mut *flow).len(), taken);
    assert_eq!(bench.take(&packet, plain, Hop::Host), Ok(()));
}

#[test]
fn a_long_answer_is_cut_for_a_link_and_for_a_host_where_it_may_pass_it_on() {
    let payload: Vec<u8> = (0..=254).cycle().take(60_000).collect();
    for family in Family::ALL {
        for hop in [Hop::Host, STATION] {
            let mut bench = bench(UdpLimits::default(), 1, Recorder::new(1500, true));
            let (client, destination) = ends(family);
            let packet = packet(client, destination, b"long?");
            bench.take(&packet, Offload::default(), hop).unwrap();
            let (mut flow, ..) = bench.steered();
            flow.send(&batch([&payload[..]])).unwrap();
            let sent = bench.wire.take();
            let fragments = Fragments::new(FragmentLimits::default(), Arc::default());
            let mut whole = None;
            for (to, offload, packet) in &sent {
                let parsed = parse(packet).unwrap();
                assert_eq!(*to, hop);
                whole = match parsed.fragment {
                    None => {
                        assert_eq!(offload.partial, Some((20, 6)));
                        Some((packet.clone(), *offload))
                    }
                    Some(_) => {
                        assert!(packet.len() <= 1500);
                        let added = fragments.add(packet, &parsed, Instant::now()).unwrap();
                        added.map(|whole| (whole, *offload))
                    }
                };
            }
            let is_whole = (hop, family) == (Hop::Host, Family::V4);
            assert_eq!(sent.len() == 1, is_whole, "{} packets", sent.len());
            let (whole, offload) = whole.expect("the last packet completes it");
            let parsed = parse(&whole).unwrap();
            let datagram = header::read(&whole, &parsed, &offload).unwrap();
            assert_eq!((datagram.from, datagram.to), (4433, 40000));
            assert!(datagram.payload == payload);
        }
    }
}

#[test]
fn a_link_further_on_makes_answers_shorter_and_a_client_that_is_gone_ends_the_flow() {
    let (client, destination) = ends(Family::V6);
    let mut bench = bench(UdpLimits::default(), 1, Recorder::new(1500, false));
    let question = packet(client, destination, b"?");
    bench.take(&question, Offload::default(), STATION).unwrap();
    let (mut flow, ..) = bench.steered();
    let send = |flow: &mut dyn Datagrams| flow.send(&batch([&[7; 1400][..]]));
    send(&mut *flow).unwrap();
    assert_eq!(bench.wire.take().len(), 1);
    // No link of IPv6 carries less than 1280 bytes.
    assert_eq!(bench.udp.narrow(client, destination, 100), Ok(()));
    send(&mut *flow).unwrap();
    let lengths: Vec<_> = bench
        .wire
        .take()
        .iter()
        .map(|(.., packet)| packet.len())
        .collect();
    assert_eq!(lengths, [1280, 40 + 8 + 1408 - 1232]);
    assert_eq!(
        bench.udp.narrow(destination, client, 1400),
        Err(Reason::Icmp)
    );
    assert_eq!(bench.udp.gone(client, destination), Ok(()));
    let error = send(&mut *flow).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(bench.wire.take().is_empty());
}

#[test]
fn a_refusal_quotes_what_the_client_sent() {
    for family in Family::ALL {
        let (client, destination) = ends(family);
        let mut bench = bench(UdpLimits::default(), 1, Recorder::new(1500, false));
        let question = packet(client, destination, b"refuse me");
        bench.take(&question, Offload::default(), STATION).unwrap();
        let (mut flow, ..) = bench.steered();
        waiting(&mut *flow);
        flow.refuse(Refusal::Refused);
        let sent = bench.wire.take();
        let [(STATION, _, error)] = &sent[..] else {
            panic!("one error: {sent:?}");
        };
        let parsed = parse(error).unwrap();
        let from_to = (parsed.source, parsed.destination);
        assert_eq!(from_to, (destination.ip(), client.ip()));
        assert_eq!(parsed.transport, Transport::Icmp);
        let port = match family {
            Family::V4 => [3, 3],
            Family::V6 => [1, 4],
        };
        assert_eq!(error[parsed.start..parsed.start + 2], port);
        let quoted = &error[parsed.start + 8..];
        let about = parse(quoted).unwrap();
        assert_eq!(
            (about.source, about.destination),
            (client.ip(), destination.ip())
        );
        assert!(quoted.ends_with(b"refuse me"));
        assert_eq!(
            quoted[about.start..about.start + 4],
            question[parsed.start..parsed.start + 4]
        );
    }
}
