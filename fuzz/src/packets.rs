//! The path that packets of a device take.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use steer_core::method::Method;
use steer_tun::flows::Flows;
use steer_tun::packet::{Transport, parse};
use steer_tun::path::{Path, Setup, Side, Ways};
use steer_tun::segment::{self, Segment, Taken};
use steer_tun::wire::{Hop, Wire};
use tokio::sync::mpsc;

use crate::engine::Engine;
use crate::script::Script;
use crate::witness::Witness;

/// Gives a path the packets of an input, and sees that what has to hold does.
///
/// # Panics
/// Where it does not.
pub fn packets(data: &[u8]) {
    let script = Script::read(data);
    let known = Arc::new(Mutex::new(HashSet::new()));
    let (frames, offloads, echo) = (script.frames, script.offloads, script.echo);
    let outer = Witness::new(offloads, (!frames, true), Arc::clone(&known));
    let inner = match frames {
        true => Witness::new(offloads, (true, false), Arc::clone(&known)),
        false => Arc::clone(&outer),
    };
    let (new_flows_tx, new_flows) = mpsc::channel(8);
    let mut engine = Engine::new(new_flows);
    let link = link();
    let setup = Setup {
        method: Method::Tun,
        flows: Arc::new(Flows::new(64, LISTENER)),
        new_flows: new_flows_tx,
        outer: Arc::clone(&outer) as Arc<dyn Wire>,
        inner: Arc::clone(&inner) as Arc<dyn Wire>,
        here: link.gateways.iter().map(|(ip, _)| *ip).collect(),
        echo,
    };
    let path = Path::new(setup, |_| None);
    let segment = Segment::new(&link);
    let header = if frames { segment::HEADER } else { 0 };
    let mut now = Instant::now();
    for mut record in script {
        now += record.later();
        record.repair(header);
        let Some(offload) = record.offload(header) else {
            continue;
        };
        let counted = counted(&path);
        let sent = outer.sent() + inner.sent();
        let from_kernel = frames && record.inner;
        let (hop, at) = if frames && !record.inner {
            let station: Option<[u8; 6]> =
                record.bytes.get(6..12).and_then(|mac| mac.try_into().ok());
            let mut answer = |frame: &[u8]| {
                let to = frame.first_chunk::<6>().copied();
                // Advertisements are for all, as are answers to those who have no address.
                let all = to.is_some_and(|to| to[0] & 1 == 1);
                assert!(all || to == station, "{to:x?} has not asked");
            };
            match segment.take(&record.bytes, &offload, now, &mut answer) {
                Taken::Packet { hop, at } => (hop, at),
                Taken::Answered | Taken::Refused(_) => continue,
            }
        } else {
            (
                Hop::Host,
                if from_kernel {
                    header.min(record.bytes.len())
                } else {
                    0
                },
            )
        };
        let packet = record.bytes.get_mut(at..).unwrap_or_default();
        if let Some(source) = source(packet).filter(|_| !from_kernel) {
            known.lock().expect("no panic before").insert((hop, source));
        }
        // What stays inside until more comes.
        let waits = parse(packet)
            .is_ok_and(|parsed| parsed.fragment.is_some() || parsed.transport == Transport::Udp);
        let ways = Ways {
            side: match (frames, from_kernel) {
                (false, _) => Side::Both,
                (true, false) => Side::Outer,
                (true, true) => Side::Inner,
            },
            outer: &*outer,
            inner: &*inner,
        };
        path.take(&ways, packet, offload, hop, now)
            .expect("the witnesses take everything");
        let went = outer.sent() + inner.sent() > sent;
        assert!(
            waits || went || self::counted(&path) > counted,
            "neither taken nor counted"
        );
        engine.turn();
        if record.sweep {
            path.sweep(now);
        }
        assert!(path.flows().len() <= 64);
    }
    engine.end();
    // In steps: after more than a few seconds, a sweep takes it that the process stood still.
    let end = now + Duration::from_secs(3600);
    while now < end && !path.flows().is_empty() {
        now += Duration::from_secs(5);
        path.sweep(now);
    }
    assert!(path.flows().is_empty(), "a connection is kept for ever");
}

/// How many packets were not taken.
fn counted(path: &Path) -> u64 {
    path.counters().all().map(|(_, count)| count).sum()
}

/// The source that a packet says it is from.
fn source(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => {
            let octets: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        }
        6 => {
            let octets: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// The link of the stations.
fn link() -> segment::Setup {
    segment::Setup {
        gateways: vec![
            (Ipv4Addr::new(10, 9, 0, 1).into(), 24),
            (Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1).into(), 64),
        ],
        mtu: 1500,
        dhcp: true,
        advertise: true,
        resolvers: vec![Ipv4Addr::new(9, 9, 9, 9).into()],
    }
}

const LISTENER: u16 = 15_001;
