//! Trying the methods: a client of our own asks a port of our own, on loopback alone.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use steer_core::address::Destination;
use steer_core::intake::{Bound, Sockets};
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::plan::Netns;
use steer_core::steered::Refusal;
use steer_core::steerer::Evidence;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::explicit::proxy_listener;
use crate::intake;

/// Whether a CONNECT request to a port on loopback arrives as asked and its refusal comes back.
///
/// Nothing is dialled, and the configured port stays free.
pub(crate) async fn probe(intent: &Intent, method: Method) -> Evidence {
    match tokio::time::timeout(DEADLINE, attempt(intent, method)).await {
        Ok(Ok(())) => Evidence::Works,
        Ok(Err(error)) => fails(error.to_string()),
        Err(_) => fails("a connection over loopback took too long".to_owned()),
    }
}

fn fails(why: String) -> Evidence {
    Evidence::Fails {
        why,
        remedy: "see that the loopback interface is up: ip link set lo up".to_owned(),
    }
}

async fn attempt(intent: &Intent, method: Method) -> io::Result<()> {
    let socket = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .or_else(|_| std::net::TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))))?;
    let address = socket.local_addr()?;
    // Where a login is asked for, nobody asks who connects.
    let method = match intent.listen.auth {
        None => method,
        Some(_) => Method::Explicit,
    };
    let bound = Bound {
        listener: proxy_listener(method, address),
        netns: Netns::Here,
        sockets: Sockets::Tcp(vec![socket]),
        inside: None,
        shared: Vec::new(),
    };
    let open = Intent {
        listen: steer_core::intent::Listen::default(),
        ..intent.clone()
    };
    let mut intake = intake::open(&open, bound)?;
    let wanted = Destination::addr(SocketAddr::from(([192, 0, 2, 1], 443)));
    let client = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("CONNECT {wanted} HTTP/1.1\r\nHost: {wanted}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let engine = async {
        let Some(steered) = intake.next().await else {
            return Err(io::Error::other("the port gave no connection"));
        };
        let destination = steered.destination.clone();
        steered.answer.failed(steered.flow, Refusal::Denied).await;
        Ok(destination)
    };
    let (answer, destination) = tokio::try_join!(client, engine)?;
    if destination == wanted && answer.starts_with(b"HTTP/1.1 403 ") {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "asked for {wanted}, the port was asked for {destination}"
        )))
    }
}

const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use steer_core::instance::Instance;
    use steer_core::intent::Scope;

    #[tokio::test]
    async fn the_method_works_wherever_loopback_does() {
        let intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
        for method in [Method::Env, Method::Explicit] {
            assert_eq!(probe(&intent, method).await, Evidence::Works);
        }
    }
}
