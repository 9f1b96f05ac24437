use std::time::Instant;

use tokio::sync::mpsc;

use steer_core::method::Method;
use steer_core::steered::Steered;

use super::*;
use crate::out::recorder::Recorder;
use crate::packet::build::{Head, Sum, fragments};
use crate::packet::{Counters, parse};
use crate::udp::UdpLimits;

const STATION: Hop = Hop::Station([2, 0, 0, 0, 0, 7]);

struct Bench {
    icmp: Icmp,
    wire: Arc<Recorder>,
    inner: Arc<Recorder>,
    new_flows: mpsc::Receiver<Steered>,
}

/// ICMP of a device with one connection: from `client()` to `destination()`, inside from the stand-in
/// to the listener.
fn bench(echo: Echo) -> Bench {
    let counters = Arc::new(Counters::default());
    let (wire, inner) = (Recorder::new(1500, false), Recorder::new(1500, false));
    let out = Arc::new(Out::new(wire.clone(), Arc::clone(&counters)));
    let here: Vec<IpAddr> = vec![ip("192.0.0.66"), ip("2001:db8::fe")];
    let errors = Arc::new(Errors::new(Arc::clone(&out), here.clone()));
    let (new_flows_tx, new_flows) = mpsc::channel(8);
    let find = |of: SocketAddr, to: SocketAddr| {
        let known = Family::ALL
            .into_iter()
            .find(|family| (of, to) == (client(*family), destination(*family)));
        known.map(inner_ends)
    };
    let udp = Udp::new(
        UdpLimits::default(),
        Method::Tun,
        new_flows_tx,
        Arc::clone(&out),
        Arc::clone(&errors),
    );
    let icmp = Icmp::new(IcmpSetup {
        echo,
        here,
        out,
        errors,
        forward: None,
        inside: Inside {
            out: Arc::new(Out::new(inner.clone(), counters)),
            find: Box::new(find),
        },
        udp: Arc::new(udp),
    });
    Bench {
        icmp,
        wire,
        inner,
        new_flows,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn client(family: Family) -> SocketAddr {
    match family {
        Family::V4 => "192.0.2.1:40000".parse().unwrap(),
        Family::V6 => "[2001:db8::1]:40000".parse().unwrap(),
    }
}

fn destination(family: Family) -> SocketAddr {
    match family {
        Family::V4 => "198.51.100.7:443".parse().unwrap(),
        Family::V6 => "[2001:db8:1::7]:443".parse().unwrap(),
    }
}

fn inner_ends(family: Family) -> Inner {
    let at = |text: &str| text.parse().unwrap();
    match family {
        Family::V4 => Inner {
            client: at("192.0.0.70:2000"),
            listener: at("192.0.0.65:9"),
        },
        Family::V6 => Inner {
            client: at("[fd5e:7ee2:0:f8e4::1:5]:2000"),
            listener: at("[fd5e:7ee2:0:f8e4::1]:9"),
        },
    }
}

fn ends(from: SocketAddr, to: SocketAddr) -> Ends {
    Ends::new(from.ip(), to.ip()).unwrap()
}

/// A packet with an ICMP message.
fn packet(ends: Ends, kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Vec<u8> {
    let whole = icmp(ends, Message { kind, code, rest }, body);
    let head = Head::ip(ends, Transport::Icmp, 64, None, whole.len()).unwrap();
    [head.bytes(), &whole].concat()
}

fn request(family: Family, to: IpAddr, body: &[u8]) -> Vec<u8> {
    let kind = match family {
        Family::V4 => 8,
        Family::V6 => 128,
    };
    let ends = Ends::new(client(family).ip(), to).unwrap();
    packet(ends, kind, 0, [0xab, 0xcd, 0, 9], body)
}

impl Bench {
    fn take(&self, packet: &[u8], hop: Hop) -> Result<(), Reason> {
        let parsed = parse(packet).unwrap();
        self.icmp.take(packet, &parsed, &Offload::default(), hop)
    }

    /// The one packet that went out, which has the checksum that its receiver computes.
    fn sent(&self, hop: Hop) -> Vec<u8> {
        let mut sent = self.wire.take();
        assert_eq!(sent.len(), 1, "one packet");
        let (to, offload, packet) = sent.remove(0);
        assert_eq!((to, offload), (hop, Offload::default()));
        assert_sound(&packet);
        packet
    }
}

fn assert_sound(packet: &[u8]) {
    let parsed = parse(packet).unwrap();
    let message = &packet[parsed.start..parsed.end];
    let pseudo = match parsed.family {
        Family::V4 => 0,
        Family::V6 => checksum::pseudo(parsed.source, parsed.destination, 58, message.len()),
    };
    assert_eq!(checksum::fold(pseudo + checksum::sum(message)), 0xffff);
}

#[test]
fn whatever_is_asked_answers_with_what_it_was_sent() {
    for family in Family::ALL {
        let bench = bench(Echo::Answer);
        let to = destination(family).ip();
        assert_eq!(
            bench.take(&request(family, to, b"are you there"), STATION),
            Ok(())
        );
        let answer = bench.sent(STATION);
        let parsed = parse(&answer).unwrap();
        assert_eq!(
            (parsed.source, parsed.destination),
            (to, client(family).ip())
        );
        let kind = match family {
            Family::V4 => 0,
            Family::V6 => 129,
        };
        let message = &answer[parsed.start..];
        assert_eq!((message[0], message[1]), (kind, 0));
        assert_eq!(message[4..8], [0xab, 0xcd, 0, 9]);
        assert_eq!(&message[8..], b"are you there");
    }
}

#[test]
fn a_long_echo_comes_back_in_fragments() {
    for family in Family::ALL {
        let bench = bench(Echo::Answer);
        let body: Vec<u8> = (0..=254).cycle().take(4000).collect();
        let request = request(family, destination(family).ip(), &body);
        assert_eq!(bench.take(&request, STATION), Ok(()));
        let sent = bench.wire.take();
        assert_eq!(sent.len(), 3);
        let parts = fragments_of(&sent);
        let kind = if family == Family::V4 { 0 } else { 129 };
        let ends = ends(destination(family), client(family));
        let expected = icmp(
            ends,
            Message {
                kind,
                code: 0,
                rest: [0xab, 0xcd, 0, 9],
            },
            &body,
        );
        assert!(parts == expected);
    }
}

/// The payloads of packets, one after the other.
fn fragments_of(sent: &[(Hop, Offload, Vec<u8>)]) -> Vec<u8> {
    let payload = |packet: &Vec<u8>| {
        let parsed = parse(packet).unwrap();
        packet[parsed.start..parsed.end].to_vec()
    };
    sent.iter()
        .flat_map(|(.., packet)| payload(packet))
        .collect()
}

#[test]
fn the_engine_s_own_addresses_answer_where_others_are_refused() {
    for family in Family::ALL {
        let bench = bench(Echo::Refuse);
        let here = bench.icmp.here.iter().find(|ip| Family::of(**ip) == family);
        let here = *here.unwrap();
        assert_eq!(bench.take(&request(family, here, b"x"), STATION), Ok(()));
        assert_eq!(parse(&bench.sent(STATION)).unwrap().source, here);
        let asked = request(family, destination(family).ip(), b"x");
        assert_eq!(bench.take(&asked, STATION), Err(Reason::Icmp));
        let error = bench.sent(STATION);
        let parsed = parse(&error).unwrap();
        assert_eq!(
            (parsed.source, parsed.destination),
            (here, client(family).ip())
        );
        let prohibited = match family {
            Family::V4 => [3, 13],
            Family::V6 => [1, 1],
        };
        assert_eq!(error[parsed.start..parsed.start + 2], prohibited);
        assert_eq!(error[parsed.start + 8..], asked);
    }
}

#[test]
fn a_message_with_a_wrong_checksum_is_refused_unless_somebody_verified_it() {
    for family in Family::ALL {
        let bench = bench(Echo::Answer);
        let mut asked = request(family, destination(family).ip(), b"x");
        *asked.last_mut().unwrap() ^= 1;
        assert_eq!(bench.take(&asked, Hop::Host), Err(Reason::Checksum));
        let parsed = parse(&asked).unwrap();
        let valid = Offload {
            valid: true,
            ..Offload::default()
        };
        assert_eq!(bench.icmp.take(&asked, &parsed, &valid, Hop::Host), Ok(()));
    }
}

#[test]
fn used_up_hops_are_told_by_the_engine_s_address_but_never_about_errors() {
    for family in Family::ALL {
        let bench = bench(Echo::Answer);
        let asked = request(family, destination(family).ip(), b"hops");
        let parsed = parse(&asked).unwrap();
        assert_eq!(
            bench.icmp.errors().time_exceeded(&asked, &parsed, STATION),
            Reason::Hops
        );
        let error = bench.sent(STATION);
        let told = parse(&error).unwrap();
        assert!(bench.icmp.here.contains(&told.source));
        let exceeded = match family {
            Family::V4 => [11, 0],
            Family::V6 => [3, 0],
        };
        assert_eq!(error[told.start..told.start + 2], exceeded);
        assert_eq!(error[told.start + 8..], asked);
        let about = parse(&error).unwrap();
        assert_eq!(
            bench.icmp.errors().time_exceeded(&error, &about, STATION),
            Reason::Hops
        );
        // Nor about any but the first fragment, nor to nobody.
        let (head, piece) = fragments(
            ends(client(family), destination(family)),
            Transport::Udp,
            1,
            &[0; 3000],
            1500,
        )
        .nth(1)
        .unwrap();
        let part = [head.bytes(), piece].concat();
        let _ = bench
            .icmp
            .errors()
            .time_exceeded(&part, &parse(&part).unwrap(), STATION);
        let nobody = match family {
            Family::V4 => ip("0.0.0.0"),
            Family::V6 => ip("::"),
        };
        let from_nobody = Parsed {
            source: nobody,
            ..parsed
        };
        let _ = bench
            .icmp
            .errors()
            .time_exceeded(&asked, &from_nobody, STATION);
        assert!(bench.wire.take().is_empty());
    }
}

#[test]
fn an_error_quotes_no_more_than_every_link_carries_and_errors_are_not_many() {
    for (family, most) in [(Family::V4, 576), (Family::V6, 1280)] {
        let bench = bench(Echo::Answer);
        let asked = request(family, destination(family).ip(), &[7; 60_000]);
        let parsed = parse(&asked).unwrap();
        let start = Instant::now();
        for _ in 0..3000 {
            let _ = bench.icmp.errors().time_exceeded(&asked, &parsed, STATION);
        }
        let allowed = 1001 + start.elapsed().as_millis() as usize;
        let sent = bench.wire.take();
        assert!(
            (1000..=allowed).contains(&sent.len()),
            "{} errors",
            sent.len()
        );
        assert!(sent.iter().all(|(.., packet)| packet.len() == most));
    }
}

/// What the engine's packet of TCP looks like on the link, or inside.
fn segment(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let ends = ends(from, to);
    let mut header = vec![0; 20];
    header[..2].copy_from_slice(&from.port().to_be_bytes());
    header[2..4].copy_from_slice(&to.port().to_be_bytes());
    header[4..8].copy_from_slice(&77_u32.to_be_bytes());
    header[12] = 0x50;
    let sum = !checksum::fold(ends.pseudo(Transport::Tcp, 20) + checksum::sum(&header));
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    let head = Head::ip(ends, Transport::Tcp, 64, None, 20).unwrap();
    [head.bytes(), &header].concat()
}

#[test]
fn an_error_about_a_connection_comes_to_the_engine_s_end_of_it() {
    for family in Family::ALL {
        let (too_big, rest) = match family {
            Family::V4 => ((3, 4), [0, 0, 5, 0]),
            Family::V6 => ((2, 0), [0, 0, 5, 0]),
        };
        let bench = bench(Echo::Answer);
        let Inner {
            client: stand_in,
            listener,
        } = inner_ends(family);
        let router = match family {
            Family::V4 => "192.0.2.254:0".parse().unwrap(),
            Family::V6 => "[2001:db8::ff]:0".parse().unwrap(),
        };
        let on_the_link = segment(destination(family), client(family));
        let error = packet(
            ends(router, destination(family)),
            too_big.0,
            too_big.1,
            rest,
            &on_the_link,
        );
        assert_eq!(bench.take(&error, STATION), Ok(()));
        let sent = bench.inner.take();
        let [(Hop::Host, _, told)] = &sent[..] else {
            panic!("one packet: {sent:?}");
        };
        assert_sound(told);
        let parsed = parse(told).unwrap();
        assert_eq!(
            (parsed.source, parsed.destination),
            (stand_in.ip(), listener.ip())
        );
        let message = &told[parsed.start..];
        assert_eq!(
            (message[0], message[1], &message[4..8]),
            (too_big.0, too_big.1, &rest[..])
        );
        // All of it, checksums too, is as the engine's kernel has sent it.
        assert_eq!(message[8..], segment(listener, stand_in));
        assert!(bench.wire.take().is_empty());
    }
}

#[test]
fn an_error_about_nothing_of_ours_is_refused() {
    for family in Family::ALL {
        let bench = bench(Echo::Answer);
        let kind = if family == Family::V4 { 3 } else { 1 };
        let about = |quote: &[u8]| {
            let ends = ends(client(family), destination(family));
            bench.take(&packet(ends, kind, 1, [0; 4], quote), STATION)
        };
        let other = SocketAddr::new(client(family).ip(), 1);
        assert_eq!(
            about(&segment(destination(family), other)),
            Err(Reason::Icmp)
        );
        let known = segment(destination(family), client(family));
        let start = parse(&known).unwrap().start;
        for length in 0..start + 8 {
            assert_eq!(about(&known[..length]), Err(Reason::Icmp), "{length}");
        }
        assert_eq!(about(&known[..start + 8]), Ok(()));
        assert!(bench.wire.take().is_empty());
    }
}

#[test]
fn a_client_that_takes_no_datagrams_any_more_ends_its_flow() {
    for family in Family::ALL {
        let mut bench = bench(Echo::Answer);
        let (from, to) = (client(family), destination(family));
        let datagram = |from, to| {
            let head = Head::udp(from, to, None, 1, Sum::Whole(checksum::sum(b"x"))).unwrap();
            [head.bytes(), b"x"].concat()
        };
        let first = datagram(from, to);
        let parsed = parse(&first).unwrap();
        bench
            .icmp
            .udp
            .take(&first, &parsed, &Offload::default(), STATION)
            .unwrap();
        let mut steered = bench.new_flows.try_recv().unwrap();
        let (kind, code) = match family {
            Family::V4 => (3, 3),
            Family::V6 => (1, 4),
        };
        let answer = datagram(to, from);
        let told_by = |router: SocketAddr| {
            bench.take(
                &packet(ends(router, to), kind, code, [0; 4], &answer),
                STATION,
            )
        };
        let other = destination(family);
        assert_eq!(
            told_by(other),
            Err(Reason::Icmp),
            "only the client itself knows"
        );
        let steer_core::steered::Flow::Udp(flow) = &mut steered.flow else {
            panic!("a flow of datagrams");
        };
        let mut batch = steer_core::datagram::Batch::default();
        batch.push(b"answer");
        assert!(flow.send(&batch).is_ok());
        assert_eq!(told_by(from), Ok(()));
        assert!(flow.send(&batch).is_err());
    }
}
