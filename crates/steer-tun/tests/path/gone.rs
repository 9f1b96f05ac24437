//! Devices that are removed while they are read.

use std::sync::Arc;

use steer_core::intent::Echo;
use steer_core::method::Method;
use steer_tun::flows::Flows;
use steer_tun::path::{Lane, Path, Setup, Side};
use steer_tun::port::Port;
use tokio::sync::mpsc;

use crate::stand::{Link, Stand, wait_until};

#[test]
fn whoever_reads_a_device_ends_when_it_is_removed() {
    lab::require!(Root, Path("/dev/net/tun"));
    let mut stand = Stand::with_queues(Link::One, 1500, 2);
    let lanes: Vec<Lane> = stand
        .shared()
        .into_iter()
        .map(|shared| {
            let port = Arc::new(Port::open(shared.fd, 1500).unwrap());
            Lane {
                side: Side::Both,
                port: Arc::clone(&port),
                outer: Arc::clone(&port),
                inner: port,
            }
        })
        .collect();
    assert_eq!(lanes.len(), 2);
    let setup = Setup {
        method: Method::Tun,
        flows: Arc::new(Flows::new(10, 1)),
        new_flows: mpsc::channel(1).0,
        outer: Arc::clone(&lanes[0].outer) as _,
        inner: Arc::clone(&lanes[0].inner) as _,
        here: Vec::new(),
        echo: Echo::Refuse,
    };
    let running = Path::new(setup, |_| None).start(lanes, None).unwrap();
    assert!(!running.is_over());
    stand.remove();
    wait_until("they end", || running.is_over());
}
