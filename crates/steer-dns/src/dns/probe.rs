//! Trying the method: a client of our own asks for a name and dials what it is told, on loopback
//! alone.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use steer_core::address::{HostName, HostPattern, Protocol};
use steer_core::intake::{Bound, Sockets};
use steer_core::intent::Intent;
use steer_core::method::Method;
use steer_core::names::{Conversation, Meaning, Names, Query, Transport};
use steer_core::object::{Binding, Listener};
use steer_core::plan::Netns;
use steer_core::steered::Refusal;
use steer_core::steerer::Evidence;
use steer_core::symbol::ListenerId;
use tokio::net::TcpStream;

use super::intake;
use crate::codec::{Class, Header, Kind, Message, Name, Question};
use crate::{local, resolver};

/// Whether a name answers with an address on which its connection arrives.
///
/// Nothing is dialled, nobody is asked, and the configured ports stay free.
pub(super) async fn really(intent: &Intent) -> Evidence {
    match tokio::time::timeout(DEADLINE, attempt(intent)).await {
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

async fn attempt(intent: &Intent) -> io::Result<()> {
    let host = HostName::new("probe.invalid").expect("a literal name is valid");
    let mut intent = intent.clone();
    intent.traffic.include.domains = vec![HostPattern::Exact(host.clone())];
    intent.traffic.exclude.domains = Vec::new();
    let names = resolver::alone(&intent)?;
    let address = asked(&names, &host)?;
    let socket = TcpListener::bind(SocketAddr::new(address, 0))?;
    let at = socket.local_addr()?;
    let bound = Bound {
        listener: Listener {
            id: ListenerId("probe".to_owned()),
            method: Method::Dns,
            protocol: Protocol::Tcp,
            addresses: vec![address],
            port: Some(at.port()),
            to: None,
            binding: Binding::Own,
            app: None,
        },
        netns: Netns::Here,
        sockets: Sockets::Tcp(vec![socket]),
        inside: None,
        shared: Vec::new(),
    };
    let mut intake = intake::of(&intent, bound)?;
    let (_client, steered) = tokio::join!(TcpStream::connect(at), intake.next());
    let steered = steered.ok_or_else(|| io::Error::other("the port gave no connection"))?;
    let meant = names.lookup(steered.client.0.ip(), at.ip());
    steered.answer.failed(steered.flow, Refusal::Denied).await;
    if meant == Meaning::Fake(host.clone()) {
        Ok(())
    } else {
        Err(io::Error::other(format!("{at} does not stand for {host}")))
    }
}

/// The address that the resolver answers with.
fn asked(names: &resolver::Resolver, host: &HostName) -> io::Result<IpAddr> {
    let mut query = Message::new(Header::query(1));
    query.questions.push(Question {
        name: Name::of(host),
        kind: Kind::A,
        class: Class::IN,
    });
    let query = query.to_bytes().map_err(io::Error::other)?;
    let Query::Answer(answer) = names.query(local::RESOLVER, Transport::Udp, &query) else {
        return Err(io::Error::other("a chosen name was not answered"));
    };
    let answer = Message::parse(&answer).map_err(io::Error::other)?;
    let addresses = answer
        .answers
        .iter()
        .flat_map(|record| record.data.addresses());
    addresses
        .last()
        .ok_or_else(|| io::Error::other("a chosen name has no address"))
}

const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use steer_core::instance::Instance;
    use steer_core::intent::Scope;

    #[tokio::test]
    async fn the_method_works_wherever_loopback_does() {
        let intent = Intent::new(Instance::new("main").unwrap(), Scope::default());
        assert_eq!(really(&intent).await, Evidence::Works);
    }
}
