//! `explicit`: a proxy port that clients are configured with.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use async_trait::async_trait;
use steer_core::address::{Cidr, Protocol};
use steer_core::driver::Driver;
use steer_core::host::Host;
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::object::{Binding, Listener, Object};
use steer_core::plan::{Life, Plan};
use steer_core::profile::Profile;
use steer_core::requirement::Requirement;
use steer_core::steerer::{Evidence, PlanError, Steerer};
use steer_core::symbol::ListenerId;

use crate::{forward, intake, probe};

/// The method `explicit`.
///
/// Its scope is whoever connects; keys that choose senders or traffic are the client's business
/// and refused.
///
/// ```
/// use steer_core::{host::Host, instance::Instance, intent::{Intent, Scope}, steerer::Steerer};
/// let intent = Intent::new(Instance::new("main").unwrap(), Scope::default());
/// let plan = steer_env::Explicit.plan(&intent, &Host::example()).unwrap();
/// assert!(plan.to_string().contains("listener explicit tcp 127.0.0.1:15080"));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Explicit;

#[async_trait]
impl Steerer for Explicit {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn requirements(&self, _intent: &Intent, _host: &Host) -> Vec<Requirement> {
        Vec::new()
    }

    fn plan(&self, intent: &Intent, _host: &Host) -> Result<Plan, PlanError> {
        // Not `admit`: this method needs no scope.
        let keys = PROFILE.refused(intent);
        if !keys.is_empty() {
            return Err(PlanError::Keys {
                method: Method::Explicit,
                keys,
            });
        }
        tcp_is_left(intent)?;
        let address = intent.listen.explicit.unwrap_or(DEFAULT_ADDRESS);
        let mut plan = Plan::new(Method::Explicit);
        let listener = proxy_listener(Method::Explicit, address);
        plan.push(Life::Steer, Object::Listener(listener));
        let mut plan = plan.join(forward::forward_plan(intent, Method::Explicit));
        note_access(&mut plan, intent, address);
        plan.note(
            "only clients that are configured with the port are steered; when the engine is gone, \
             they are refused until another program takes the port",
        );
        Ok(plan)
    }

    fn drivers(&self) -> Vec<Box<dyn Driver>> {
        Vec::new()
    }

    fn intake(&self, intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
        intake::open(intent, bound)
    }

    async fn probe(&self, intent: &Intent) -> Evidence {
        probe::probe(intent, Method::Explicit).await
    }
}

/// The listener that speaks SOCKS5, SOCKS4, CONNECT and absolute-form HTTP.
pub(crate) fn proxy_listener(method: Method, address: SocketAddr) -> Listener {
    Listener {
        id: ListenerId(LISTENER.to_owned()),
        method,
        protocol: Protocol::Tcp,
        addresses: vec![address.ip()],
        port: (address.port() > 0).then_some(address.port()),
        to: None,
        binding: Binding::Own,
        app: None,
    }
}

/// The protocols that a proxy port carries for this intent.
pub(crate) fn carried(intent: &Intent) -> Vec<Protocol> {
    let (include, exclude) = (&intent.traffic.include, &intent.traffic.exclude);
    let chosen = |protocol: &Protocol| {
        (include.protocols.is_empty() || include.protocols.contains(protocol))
            && !exclude.protocols.contains(protocol)
    };
    [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .filter(chosen)
        .collect()
}

/// A proxy port begins with a connection, also where datagrams follow; where connections are left
/// out, nothing is left.
pub(crate) fn tcp_is_left(intent: &Intent) -> Result<(), PlanError> {
    if !carried(intent).contains(&Protocol::Tcp) {
        return Err(PlanError::Nothing {
            why: "tcp is left out, and nobody reaches a proxy port without it".to_owned(),
        });
    }
    Ok(())
}

/// Says who else can use the ports.
pub(crate) fn note_access(plan: &mut Plan, intent: &Intent, address: SocketAddr) {
    let local = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
    let port = |address: &SocketAddr| match address.port() {
        0 => format!("the port on {}", address.ip()),
        _ => address.to_string(),
    };
    match (local(&address), &intent.listen.auth, plan.method) {
        (true, None, Method::Env) => plan.note(
            "the port serves this user and root alone; listen.auth lets others in with a login",
        ),
        (true, None, _) => plan.note(format!(
            "every local user can use {}; listen.auth asks for a login",
            port(&address)
        )),
        (true, Some(_), _) => {}
        (false, None, _) => plan.note(format!(
            "whoever reaches {} can use it; listen.auth asks for a login",
            port(&address)
        )),
        (false, Some(_), _) => plan.note(format!(
            "logins cross the network to {} unencrypted",
            port(&address)
        )),
    }
    note_senders(plan, &port(&address), &intent.listen.proxy_protocol);
    for forward in &intent.forward {
        let who = if local(&forward.listen) {
            "every local user"
        } else {
            "whoever"
        };
        plan.note(format!(
            "{who} that reaches {} is connected to {}",
            port(&forward.listen),
            forward.to
        ));
        note_senders(plan, &port(&forward.listen), &forward.proxy_protocol);
    }
}

/// Says whose headers are believed.
fn note_senders(plan: &mut Plan, port: &str, senders: &[Cidr]) {
    if !senders.is_empty() {
        let senders: Vec<_> = senders.iter().map(Cidr::to_string).collect();
        plan.note(format!(
            "connections from {} to {port} begin with a PROXY protocol header, whose client is \
             believed",
            senders.join(", ")
        ));
    }
}

/// The name of the proxy port in plans.
pub(crate) const LISTENER: &str = "explicit";

/// The proxy port's number where none is written.
pub const DEFAULT_PORT: u16 = 15080;

const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT);

static PROFILE: Profile = Profile {
    method: Method::Explicit,
    summary: "one port that speaks SOCKS5, SOCKS4a, HTTP CONNECT and HTTP requests in absolute \
              form, and forward ports, for programs that are configured with them",
    transparent: false,
    protocols: &[Protocol::Tcp, Protocol::Udp],
    // `dns: leave` and `quic: leave` hold because nothing is taken that is not sent here.
    keys: &[
        Key::Tcp,
        Key::Udp,
        Key::ExcludeProtocols,
        Key::DnsLeave,
        Key::QuicLeave,
        Key::Forward,
        Key::ListenExplicit,
        Key::ListenAuth,
        Key::ListenProxyProtocol,
    ],
    privileges: &[],
    limits: &[
        "Every local user can use a port on loopback, with the logins of the upstreams, unless \
         `listen.auth` is written.",
        "Only clients that are configured with the port are steered; whose traffic and which of \
         it is decided there.",
        "UDP goes through SOCKS5's UDP ASSOCIATE, without fragments: its clients are not told of \
         an error, they see that no answer comes.",
        "Each UDP client is given a UDP port of its own, which the kernel chooses, at the address \
         that it reached.",
        "A datagram brings no login: after the login on the connection, whoever can send from the \
         client's address and port counts as the client; on one host, its user alone.",
        "SOCKS5's BIND is answered with `command not supported`.",
        "SOCKS4 and SOCKS4a serve CONNECT alone and carry no password: where `listen.auth` is \
         written their clients are refused, and the user id that they send is never believed.",
        "What a PROXY protocol header says of the destination chooses nothing, and its typed \
         values are ignored; UDP ASSOCIATE is refused to a client that such a header names.",
        "Requests in absolute form are http:// only, HTTP/1.1 or 1.0, one a connection; https:// \
         goes through CONNECT.",
        "Neither `open` nor `closed`: when the engine is gone, its clients are refused, but any \
         local program may take the free port.",
        "Logins are sent unencrypted between the client and the port.",
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use steer_core::instance::Instance;
    use steer_core::intent::{Forward, OnFailure, Scope};

    fn intent() -> Intent {
        Intent::new(Instance::new("main").unwrap(), Scope::default())
    }

    fn plan(intent: &Intent) -> Result<Plan, PlanError> {
        Explicit.plan(intent, &Host::example())
    }

    #[test]
    fn the_plan_is_a_proxy_port_and_the_forward_ports() {
        let mut intent = intent();
        intent.listen.explicit = Some("0.0.0.0:0".parse().unwrap());
        intent.forward = vec![Forward {
            listen: "[::1]:15432".parse().unwrap(),
            to: "db.internal:5432".parse().unwrap(),
            upstream: Some("corp".to_owned()),
            proxy_protocol: vec!["fd00::/8".parse().unwrap()],
        }];
        intent.listen.proxy_protocol = vec![
            "10.0.0.0/8".parse().unwrap(),
            "192.0.2.1/32".parse().unwrap(),
        ];
        assert_eq!(
            plan(&intent).unwrap().to_string(),
            "method explicit\n\
             listener explicit tcp 0.0.0.0:{explicit} for explicit\n\
             listener forward1 tcp [::1]:15432 for explicit, to db.internal:5432\n\
             note: whoever reaches the port on 0.0.0.0 can use it; listen.auth asks for a login\n\
             note: connections from 10.0.0.0/8, 192.0.2.1/32 to the port on 0.0.0.0 begin with \
             a PROXY protocol header, whose client is believed\n\
             note: every local user that reaches [::1]:15432 is connected to db.internal:5432\n\
             note: connections from fd00::/8 to [::1]:15432 begin with a PROXY protocol header, \
             whose client is believed\n\
             note: only clients that are configured with the port are steered; when the engine \
             is gone, they are refused until another program takes the port\n"
        );
    }

    #[test]
    fn the_plan_says_who_can_use_a_port_on_loopback() {
        let text = plan(&intent()).unwrap().to_string();
        let shared = "note: every local user can use 127.0.0.1:15080; listen.auth asks for a login";
        assert!(text.contains(shared), "{text}");
    }

    #[test]
    fn a_scope_and_a_promise_for_after_a_crash_are_refused_by_name() {
        let mut intent = intent();
        intent.scope = Scope::command();
        intent.on_failure = Some(OnFailure::Closed);
        assert_eq!(
            plan(&intent),
            Err(PlanError::Keys {
                method: Method::Explicit,
                keys: vec![Key::Command, Key::Closed],
            })
        );
    }

    #[test]
    fn nothing_is_left_where_tcp_is_left_out() {
        let mut excluded = intent();
        excluded.traffic.exclude.protocols = vec![Protocol::Tcp];
        assert!(matches!(plan(&excluded), Err(PlanError::Nothing { .. })));
        let mut udp = intent();
        udp.traffic.include.protocols = vec![Protocol::Udp];
        assert!(matches!(plan(&udp), Err(PlanError::Nothing { .. })));
        udp.traffic.include.protocols.push(Protocol::Tcp);
        assert!(plan(&udp).is_ok());
        assert_eq!(carried(&udp), [Protocol::Tcp, Protocol::Udp]);
        udp.traffic.exclude.protocols = vec![Protocol::Udp];
        assert_eq!(carried(&udp), [Protocol::Tcp]);
    }
}
