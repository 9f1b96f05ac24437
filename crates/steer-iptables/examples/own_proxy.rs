//! A proxy of one's own in a screen of code: every TCP connection of a user comes here with its
//! true destination. Only the seam (`steer-core`) and one method crate are used.
//!
//!     sudo own_proxy UID
#![expect(clippy::print_stdout, reason = "what it prints is its result")]

use std::error::Error;
use std::os::fd::AsFd;

use steer_core::engaged::Engaged;
use steer_core::instance::Instance;
use steer_core::intent::{Intent, Scope, Selector};
use steer_core::steered::{Flow, Refusal, Steered};
use steer_core::steerer::Steerer;
use steer_core::{address::Destination, mark::Mark};
use steer_iptables::{Redirect, host, keeper};
use tokio::net::{TcpSocket, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let user = std::env::args().nth(1).ok_or("usage: own_proxy UID")?;
    let scope = Scope {
        of: Selector {
            uid: vec![user.parse()?],
            ..Selector::default()
        },
        ..Scope::default()
    };
    let intent = Intent::new(Instance::new("own")?, scope);
    let plan = Redirect.plan(&intent, &host(&intent))?;
    print!("{plan}");

    let mut engaged = Engaged::engage(keeper()?, &intent, &plan, None)?;
    let bound = engaged.take_bound().remove(0);
    let mut intake = Redirect.intake(&intent, bound)?;
    println!("ready");
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            steered = intake.next() => match steered {
                Some(steered) => drop(tokio::spawn(proxy(steered))),
                None => break,
            },
        }
    }
    engaged.release()?;
    Ok(())
}

/// Inspect, modify, forward: here is the place.
async fn proxy(mut steered: Steered) {
    println!("{} wants {}", steered.client, steered.destination);
    match (dial(&steered.destination).await, &mut steered.flow) {
        (Ok(mut upstream), Flow::Tcp(client)) => {
            let _ = tokio::io::copy_bidirectional(client, &mut upstream).await;
        }
        (Err(error), _) => {
            steered
                .answer
                .failed(steered.flow, Refusal::of(&error))
                .await
        }
        _ => {}
    }
}

/// Dials with the mark that the rules leave alone.
async fn dial(to: &Destination) -> std::io::Result<TcpStream> {
    let Destination::Addr(to) = to else {
        return Err(std::io::ErrorKind::Unsupported.into());
    };
    let socket = match to.addr().is_ipv4() {
        true => TcpSocket::new_v4()?,
        false => TcpSocket::new_v6()?,
    };
    let mark = Mark::BYPASS.value;
    nix::sys::socket::setsockopt(&socket.as_fd(), nix::sys::socket::sockopt::Mark, &mark)?;
    socket.connect(to.addr()).await
}
