//! `listen` and `forward`: where the engine accepts connections.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::document::{Node, Span, Value};
use super::fault::Fault;
use super::report::Report;
use super::section::{Keys, Section};
use super::{upstream, value};
use crate::address::{Cidr, Destination, Family, canonical};
use crate::intent::{Forward, Listen, overlap};
use crate::policy::UpstreamKind;

/// The listeners of a configuration with their places.
#[derive(Default)]
pub(super) struct Listeners {
    pub(super) listen: Listen,
    pub(super) forward: Vec<Forward>,
    /// Where forwards name upstreams.
    pub(super) references: Vec<(String, Span)>,
    /// Where forwards name destinations.
    destinations: Vec<(Destination, Span)>,
    /// Every address that is bound, by port, with its key.
    bound: HashMap<u16, Vec<(SocketAddr, String, Span)>>,
}

impl Listeners {
    /// Reads `listen`.
    pub(super) fn read_listen(&mut self, node: &Node, report: &mut Report<'_>) {
        let Some(section) = Section::open(node, "listen", Keys::new(&LISTEN_KEYS), report) else {
            return;
        };
        self.listen.outbound = self.port("outbound", &section, report);
        self.listen.inbound = self.port("inbound", &section, report);
        self.listen.dns = self.port("dns", &section, report);
        if let Some(node) = section.at("explicit") {
            self.listen.explicit = value::listener(node, "listen.explicit", report);
            self.bind(self.listen.explicit, "listen.explicit", node, report);
        }
        self.read_external(&section, report);
        if let Some(node) = section.at("auth")
            && let Some(auth) = Section::open(
                node,
                "listen.auth",
                Keys::new(&["username", "password"]),
                report,
            )
        {
            if auth.is_empty() {
                report.fault(auth.span, Fault::Empty(auth.path.clone()));
            }
            // Clients may come by SOCKS5 and by HTTP, so both must be able to carry it.
            let carriers = [UpstreamKind::Socks5, UpstreamKind::Http];
            self.listen.auth = upstream::credentials(&auth, &carriers, report);
        }
        self.listen.proxy_protocol = senders(&section, report);
    }

    /// Reads the address of a proxy that takes what is steered: it is bound, though not by us.
    fn read_external(&mut self, section: &Section<'_>, report: &mut Report<'_>) {
        let Some(node) = section.at("external") else {
            return;
        };
        self.listen.external = value::listener(node, "listen.external", report);
        if let Some(span) = section.key_span("outbound") {
            let key = section.path_of("outbound");
            return report.fault(span, Fault::External { key });
        }
        self.bind(self.listen.external, "listen.external", node, report);
    }

    /// Reads a port that is bound on the loopback addresses at least.
    fn port(&mut self, key: &str, section: &Section<'_>, report: &mut Report<'_>) -> Option<u16> {
        let node = section.at(key)?;
        let path = section.path_of(key);
        let port = value::port(node, &path, report);
        let everywhere = port.into_iter().flat_map(on_loopback);
        self.bind(everywhere, &path, node, report);
        port
    }

    /// Reads `forward`; a single one is a list of one.
    pub(super) fn read_forward(&mut self, node: &Node, report: &mut Report<'_>) {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Map(_) => std::slice::from_ref(node),
            Value::Null | Value::Text(_) => {
                let fault = Fault::Kind {
                    key: "forward".to_owned(),
                    found: node.value.kind(),
                    expected: FORWARD_FORM.to_owned(),
                };
                return report.fault(&node.span, fault);
            }
        };
        for (index, item) in items.iter().enumerate() {
            let forward = self.forward(index, item, report);
            self.forward.extend(forward);
        }
    }

    fn forward(&mut self, index: usize, node: &Node, report: &mut Report<'_>) -> Option<Forward> {
        let path = format!("forward[{index}]");
        let section = Section::open(node, &path, Keys::new(&FORWARD_KEYS), report)?;
        let listen_node = section.required("listen", "listen: \"127.0.0.1:15432\"", report);
        let listen = listen_node.and_then(|node| {
            let key = section.path_of("listen");
            let listen = value::listener(node, &key, report);
            self.bind(listen, &key, node, report);
            listen
        });
        let to_node = section.required("to", "to: \"HOST:PORT\"", report);
        let to = to_node.and_then(|node| {
            let key = section.path_of("to");
            let to: Destination =
                value::parsed(node, &key, "HOST:PORT", Fault::Destination, report)?;
            // Behind an upstream, a loopback address is the upstream's own.
            if section.at("upstream").is_none() {
                self.destinations.push((to.clone(), node.span.clone()));
            }
            Some(to)
        });
        let upstream = match section.at("upstream") {
            None => None,
            Some(node) => {
                let key = section.path_of("upstream");
                let name = value::text(node, &key, "the name of an upstream", report)?;
                self.references.push((name.to_owned(), node.span.clone()));
                Some(name.to_owned())
            }
        };
        let proxy_protocol = senders(&section, report);
        Some(Forward {
            listen: listen?,
            to: to?,
            upstream,
            proxy_protocol,
        })
    }

    /// Notes the addresses that a value binds, and whether another value has one of them.
    pub(super) fn bind(
        &mut self,
        addresses: impl IntoIterator<Item = SocketAddr>,
        key: &str,
        node: &Node,
        report: &mut Report<'_>,
    ) {
        let mut told = false;
        for listen in addresses {
            let bound = self.bound.entry(listen.port()).or_default();
            let taken = bound
                .iter()
                .find(|(other, _, span)| overlap(listen, *other) && *span != node.span);
            if let (Some((_, other, first)), false) = (taken, told) {
                let fault = Fault::ListenTwice {
                    listen,
                    other: other.clone(),
                    first: report.line(first),
                };
                report.fault(&node.span, fault);
                told = true;
            }
            bound.push((listen, key.to_owned(), node.span.clone()));
        }
    }

    /// Notes destinations of forwards, addresses of proxies and a resolver that are our own
    /// listeners.
    pub(super) fn check(
        &self,
        proxies: &[(Destination, Span)],
        resolver: Option<&(Destination, &Span)>,
        report: &mut Report<'_>,
    ) {
        let resolver = resolver
            .into_iter()
            .map(|(to, span)| ("resolver", to, *span));
        let destinations = self
            .destinations
            .iter()
            .map(|(to, span)| ("destination", to, span));
        let proxies = proxies.iter().map(|(to, span)| ("upstream", to, span));
        for (what, to, span) in destinations.chain(proxies).chain(resolver) {
            if let Some(listen) = self.reached_by(to) {
                let what = format!("the {what} {to}");
                report.fault(span, Fault::Ourselves { what, listen });
            }
        }
    }

    fn reached_by(&self, to: &Destination) -> Option<SocketAddr> {
        // What leads to a proxy of others does not come back to us.
        self.bound
            .get(&to.port())?
            .iter()
            .filter(|(listen, ..)| Some(*listen) != self.listen.external)
            .map(|(listen, ..)| *listen)
            .find(|listen| reaches(to, *listen))
    }
}

/// Reads `proxy_protocol`: whose headers are believed, which nobody's are unless they are named.
fn senders(section: &Section<'_>, report: &mut Report<'_>) -> Vec<Cidr> {
    let Some(node) = section.at("proxy_protocol") else {
        return Vec::new();
    };
    let path = section.path_of("proxy_protocol");
    let Some(section) = Section::open(node, &path, Keys::new(&["from"]), report) else {
        return Vec::new();
    };
    match section.required("from", "from: [10.0.0.0/8]", report) {
        Some(_) => value::list(&section, "from", report, value::cidr),
        None => Vec::new(),
    }
}

/// Every address that a configuration binds.
pub(super) fn bound<'c>(
    listen: &'c Listen,
    forward: &'c [Forward],
) -> impl Iterator<Item = SocketAddr> + 'c {
    let Listen {
        external: _,
        outbound,
        inbound,
        dns,
        explicit,
        auth: _,
        proxy_protocol: _,
    } = listen;
    let ports = [outbound, inbound, dns]
        .into_iter()
        .flatten()
        .flat_map(|port| on_loopback(*port));
    let forward = forward.iter().map(|forward| forward.listen);
    explicit.iter().copied().chain(ports).chain(forward)
}

fn on_loopback(port: u16) -> [SocketAddr; 2] {
    Family::ALL.map(|family| SocketAddr::new(family.loopback(), port))
}

/// Whether dialling a destination arrives at a listener, as far as that can be told without
/// asking a resolver or the interfaces.
pub(super) fn reaches(to: &Destination, listen: SocketAddr) -> bool {
    if to.port() != listen.port() {
        return false;
    }
    let listen = canonical(listen).ip();
    match to {
        Destination::Name { host, .. } => {
            // RFC 6761, section 6.3: these names are loopback addresses.
            let local = host.as_str() == "localhost" || host.as_str().ends_with(".localhost");
            local && (listen.is_loopback() || listen.is_unspecified())
        }
        Destination::Addr(address) => {
            let to = address.addr().ip();
            // Linux dials the unspecified address as loopback.
            let dialled = if to.is_unspecified() {
                Family::of(to).loopback()
            } else {
                to
            };
            let hears_family = listen.is_ipv6() || dialled.is_ipv4();
            dialled == listen || (listen.is_unspecified() && dialled.is_loopback() && hears_family)
        }
    }
}

/// The keys of `listen`.
const LISTEN_KEYS: [&str; 7] = [
    "outbound",
    "inbound",
    "dns",
    "external",
    "explicit",
    "auth",
    "proxy_protocol",
];
/// The keys of a forward.
const FORWARD_KEYS: [&str; 4] = ["listen", "to", "upstream", "proxy_protocol"];
const FORWARD_FORM: &str = "a list, `[ { listen: \"127.0.0.1:15432\", to: \"HOST:PORT\" } ]`";
