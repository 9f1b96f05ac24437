//! Names for addresses, by which clients of the method `dns` ask for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use lab::{DnsQuery, DnsReply, DnsServer, Family, Host, Kind, Record};

/// A resolver that knows a name for every address, on the host of an instance.
#[derive(Debug)]
pub(crate) struct Zone {
    host: Host,
    _server: DnsServer,
}

impl Zone {
    /// The lines of a config that steers all names of the zone.
    pub(crate) const CONFIG: &str = "\
        traffic: { include: { domains: [\"*.lab.example\"], ports: [7-9, 80] } }\n\
        dns: { resolver: \"127.0.0.2:5300\" }\n\
        listen: { dns: 53 }\n";

    /// Serves the zone where [`Self::CONFIG`] looks for it.
    pub(crate) fn serve(host: &Host) -> Self {
        let at = SocketAddr::from(([127, 0, 0, 2], 5300));
        let server = host.serve_dns(at, |query, _| match address_of(&query.name) {
            None => vec![query.error(3)],
            Some(ip) if Kind::of(ip) == query.kind => {
                vec![query.answer(&[Record::address(ip, 60)])]
            }
            Some(_) => vec![query.error(0)],
        });
        Self {
            host: host.clone(),
            _server: server,
        }
    }

    /// Where a client is sent that asks for an address by its name.
    pub(crate) fn entrance(&self, to: SocketAddr) -> SocketAddr {
        let resolver = SocketAddr::from(([127, 83, 0, 1], 53));
        let query = DnsQuery::new(7, &name_of(to.ip()), Kind::A);
        let socket = self.host.udp(Family::V4);
        socket.patience(PATIENCE);
        // As resolvers of programs do: datagrams may be lost.
        let mut tries = (0..TRIES).map(|_| socket.ask(resolver, &query.bytes()));
        let answered = tries.find_map(Result::ok);
        let (answer, _) = answered.expect("the resolver answers");
        let reply = DnsReply::parse(&answer).expect("an answer");
        let ip = *reply.addresses().first().expect("the name is chosen");
        SocketAddr::new(ip, to.port())
    }
}

/// A destination as the client means it: the address that the name stands for.
pub(crate) fn meant(host: &str, destination: &str) -> Option<SocketAddr> {
    let (_, port) = destination.rsplit_once(':')?;
    Some(SocketAddr::new(address_of(host)?, port.parse().ok()?))
}

/// Whether a destination is the resolver of the zone: what clients ask there is how they come to
/// their destinations, and no traffic of the test's own.
pub(crate) fn is_resolver(destination: &str) -> bool {
    destination == "127.0.0.2:5300"
}

fn name_of(ip: IpAddr) -> String {
    let label = match ip {
        IpAddr::V4(ip) => ip.octets().map(|it| it.to_string()).join("-"),
        IpAddr::V6(ip) => ip.segments().map(|it| format!("{it:x}")).join("-"),
    };
    format!("{label}.lab.example")
}

fn address_of(name: &str) -> Option<IpAddr> {
    let label = name.strip_suffix(".lab.example")?;
    let parts: Vec<&str> = label.split('-').collect();
    match parts.len() {
        4 => label
            .replace('-', ".")
            .parse::<Ipv4Addr>()
            .ok()
            .map(IpAddr::V4),
        8 => label
            .replace('-', ":")
            .parse::<Ipv6Addr>()
            .ok()
            .map(IpAddr::V6),
        _ => None,
    }
}

/// How long an answer is waited for before the question is asked again.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a question is asked.
const TRIES: u32 = 10;
