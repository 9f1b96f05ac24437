//! How fast it is: to be run by hand, as `cargo test -p steer-tun --release --test path -- --ignored
//! --nocapture speed`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use steer_core::address::Family;

use crate::engine::{FLOOD, SINK};
use crate::stand::{Link, Stand, at};

#[test]
#[ignore = "a figure, and no statement"]
fn speed() {
    lab::require!(Root, Path("/dev/net/tun"));
    for link in Link::ALL {
        let stand = Stand::new(link, 1500);
        for family in Family::ALL {
            for (way, port) in [("up", SINK), ("down", FLOOD)] {
                let bytes = stand
                    .app
                    .enter(|| move_for(family, port, Duration::from_secs(3)));
                let gigabits = bytes as f64 * 8.0 / 3e9;
                eprintln!("{link:?} {family} {way}: {gigabits:.1} Gbit/s");
            }
        }
    }
}

fn move_for(family: Family, port: u16, time: Duration) -> usize {
    let mut stream = TcpStream::connect(at(family, port)).unwrap();
    let reno = std::ffi::OsString::from("reno");
    let option = nix::sys::socket::sockopt::TcpCongestion;
    nix::sys::socket::setsockopt(&stream, option, &reno).unwrap();
    let (mut room, mut bytes) = (vec![0; 256 << 10], 0);
    let end = Instant::now() + time;
    while Instant::now() < end {
        bytes += match port {
            SINK => stream.write(&room).unwrap(),
            _ => stream.read(&mut room).unwrap(),
        };
    }
    bytes
}
