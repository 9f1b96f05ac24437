//! What the user wants: whose traffic, which of it, and what if steering fails.
//!
//! An `Intent` is made by parsing, so it cannot be wrong in itself. Only what was written binds:
//! every choice that can be left open is an `Option`, and a method takes the strictest that it
//! can where nothing stands.

mod link;
mod publish;
mod scope;
mod traffic;

use serde::{Deserialize, Serialize};

use crate::address::{Cidr, Destination, HostPattern, PortRange, Protocol};
use crate::instance::Instance;
use crate::key::Key;
use crate::mark::Mark;

pub use link::{Echo, Link};
pub(crate) use publish::overlap;
pub use publish::{Publish, PublishError};
pub use scope::{Scope, Selector};
pub use traffic::{Dns, Filter, Loopback, Quic, Traffic};

/// Whose traffic goes to the engine, which of it, and what if steering fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The name of the steering.
    pub instance: Instance,
    /// Whose traffic.
    pub scope: Scope,
    /// Which of it.
    pub traffic: Traffic,
    /// What if the engine dies; `None` was not written.
    pub on_failure: Option<OnFailure>,
    /// Ports that go to one destination each.
    pub forward: Vec<Forward>,
    /// The ports that the engine listens on.
    pub listen: Listen,
    /// The mark of the engine's own sockets.
    pub bypass: Mark,
    /// The mark of packets on their way to the engine; `None` takes a free one of ours.
    pub steer: Option<Mark>,
    /// Whose address an upstream sees.
    pub source: Option<Source>,
    /// Where the engine dials for the programs of another namespace.
    pub dial: Option<Dial>,
    /// How DNS is answered where it comes to the engine.
    pub resolve: Resolve,
    /// The packet filter to use, for methods that write rules; `None` was not written.
    pub backend: Option<Backend>,
    /// What passes the walls of namespaces of the command's own, where a method makes such.
    pub confine: Confine,
    /// What the device is like, for methods that make one.
    #[serde(default)]
    pub link: Link,
    /// Which connections pass the engine, for methods that can leave it out; `None` was not
    /// written.
    pub relay: Option<Relay>,
    /// Whether connections may go through an upstream, which a name tells more than an address.
    #[serde(default)]
    pub proxied: bool,
    /// Whether intakes should find out who opened a connection, where that costs something.
    pub identify: bool,
}

/// What passes the walls of namespaces of the command's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confine {
    /// Ports of this host's loopback addresses that the command reaches where nobody inside
    /// listens; an empty list is none of them.
    pub host_loopback: Vec<PortRange>,
    /// Ports of the command that others reach.
    pub publish: Vec<Publish>,
}

/// Which connections pass the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relay {
    /// Every one: records tell their bytes and names.
    Always,
    /// Those that have to be seen or changed, or to take another way; others are the program's own.
    Needed,
}

/// A packet filter that rules are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// nf_tables, spoken by steer itself; no program is needed.
    Nft,
    /// The iptables programs, over nf_tables where there is a choice.
    Iptables,
    /// The iptables programs over the kernel's older x_tables.
    #[serde(rename = "iptables-legacy")]
    IptablesLegacy,
}

/// Whose address an upstream sees as the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// This host's, as its routing chooses; what is done when nothing is written.
    Engine,
    /// The client's own.
    Client,
}

/// From which network namespace the engine dials for programs of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dial {
    /// From theirs; what is done for a joined namespace when nothing is written.
    Inside,
    /// From the engine's.
    Outside,
}

/// How DNS is answered where it comes to the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolve {
    /// The resolver to ask instead of the one that the program addressed.
    pub resolver: Option<std::net::SocketAddr>,
    /// Made-up addresses for chosen names, so that a name selects; `None` makes none up.
    pub fake: Option<FakeIp>,
    /// Names whose answers may lead to this host.
    pub rebind: Vec<HostPattern>,
}

/// Made-up addresses that stand for names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FakeIp {
    /// The pools, one a family at most; no empty list.
    pub pools: Vec<Cidr>,
    /// The names that get one; an empty list means `traffic.include.domains`, and where that is
    /// empty too, every name.
    pub names: Vec<HostPattern>,
    /// Names that never get one.
    pub except: Vec<HostPattern>,
    /// Where the mapping is kept over restarts; `None` keeps it in memory.
    pub file: Option<std::path::PathBuf>,
}

impl FakeIp {
    /// Both families' default pools: 198.18.0.0/15 (RFC 2544, never routed) and a /64 of a ULA
    /// prefix (RFC 4193).
    #[must_use]
    pub fn default_pools() -> Vec<Cidr> {
        ["198.18.0.0/15", "fd5e:7ee2:0:f8e1::/64"]
            .map(|net| net.parse().expect("a literal network is valid"))
            .to_vec()
    }
}

/// What in-scope traffic does after the engine crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Goes direct; nothing of ours acts.
    Open,
    /// Is refused at once.
    Closed,
}

/// A port here that goes to one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The address to listen on.
    pub listen: std::net::SocketAddr,
    /// Where its connections go.
    pub to: Destination,
    /// The upstream that they take whatever the rules say.
    pub upstream: Option<String>,
    /// The senders whose connections begin with a PROXY protocol header; it is believed.
    #[serde(default)]
    pub proxy_protocol: Vec<Cidr>,
}

/// Ports of the engine; `None` lets the kernel choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// Where steered connections arrive.
    pub outbound: Option<u16>,
    /// Where connections to this host arrive that are steered on their way in.
    pub inbound: Option<u16>,
    /// Where steered DNS arrives.
    pub dns: Option<u16>,
    /// Where clients that know of the proxy connect.
    pub explicit: Option<std::net::SocketAddr>,
    /// A proxy of others that takes what is steered, and asks the kernel for `SO_ORIGINAL_DST`.
    #[serde(default)]
    pub external: Option<std::net::SocketAddr>,
    /// The name and password that such clients must give.
    pub auth: Option<crate::policy::Credentials>,
    /// The senders whose connections to `explicit` begin with a PROXY protocol header; it is
    /// believed.
    #[serde(default)]
    pub proxy_protocol: Vec<Cidr>,
}

impl OnFailure {
    /// The word in config and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl Intent {
    /// The intent of `run` with nothing written: the command, all its traffic.
    #[must_use]
    pub fn new(instance: Instance, scope: Scope) -> Self {
        Self {
            instance,
            scope,
            traffic: Traffic::default(),
            on_failure: None,
            forward: Vec::new(),
            listen: Listen::default(),
            bypass: Mark::BYPASS,
            steer: None,
            source: None,
            dial: None,
            resolve: Resolve::default(),
            backend: None,
            confine: Confine::default(),
            link: Link::default(),
            relay: None,
            proxied: false,
            identify: false,
        }
    }

    /// What happens after a crash: as written, else `closed` for a command and `open` for a host.
    #[must_use]
    pub fn failure(&self) -> OnFailure {
        self.on_failure.unwrap_or(if self.scope.command {
            OnFailure::Closed
        } else {
            OnFailure::Open
        })
    }

    /// What the sockets carry that answer datagrams in a destination's name: the usual mark for it,
    /// or the bypass mark where marks are written, of whose other bits nothing is known.
    #[must_use]
    pub fn answer_mark(&self) -> Mark {
        match (self.bypass, self.steer) {
            (Mark::BYPASS, None) => Mark::ANSWER,
            (bypass, _) => bypass,
        }
    }

    /// Which connections pass the engine: as written, else all of them where records or the program are
    /// asked for.
    #[must_use]
    pub fn relays(&self) -> Relay {
        self.relay.unwrap_or(match self.identify {
            true => Relay::Always,
            false => Relay::Needed,
        })
    }

    /// Every key that was written, for a method to honour or refuse.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        let Self {
            instance: _,
            scope:
                Scope {
                    command,
                    of,
                    except,
                },
            traffic:
                Traffic {
                    include,
                    exclude,
                    loopback,
                    dns,
                    quic,
                },
            on_failure,
            forward,
            listen:
                Listen {
                    outbound,
                    inbound,
                    dns: dns_port,
                    explicit,
                    external,
                    auth,
                    proxy_protocol,
                },
            bypass: _,
            steer,
            source,
            dial,
            resolve:
                Resolve {
                    resolver,
                    fake,
                    // Who answers nothing refuses nothing either.
                    rebind: _,
                },
            backend,
            confine: Confine {
                host_loopback,
                publish,
            },
            link:
                Link {
                    mtu,
                    queues,
                    echo,
                    fd,
                    bridge,
                    gateway,
                    dhcp: gives_addresses,
                    advertise,
                },
            relay,
            proxied: _,
            identify: _,
        } = self;
        let mut keys = Vec::new();
        if *command {
            keys.push(Key::Command);
        }
        for selector in [of, except] {
            let Selector {
                host,
                cgroup,
                uid,
                gid,
                command: names,
                pid,
                interface,
                netns,
                inbound: to_this_host,
            } = selector;
            keys.extend(host.then_some(Key::Host));
            keys.extend((!cgroup.is_empty()).then_some(Key::Cgroup));
            keys.extend((!uid.is_empty()).then_some(Key::Uid));
            keys.extend((!gid.is_empty()).then_some(Key::Gid));
            keys.extend((!names.is_empty()).then_some(Key::CommandName));
            keys.extend((!pid.is_empty()).then_some(Key::Pid));
            keys.extend((!interface.is_empty()).then_some(Key::Interface));
            keys.extend(netns.is_some().then_some(Key::Netns));
            keys.extend(to_this_host.then_some(Key::Inbound));
        }
        for (filter, domains) in [
            (include, Key::IncludeDomains),
            (exclude, Key::ExcludeDomains),
        ] {
            let Filter {
                protocols,
                ports,
                cidrs,
                domains: names,
            } = filter;
            keys.extend(protocols.iter().map(|p| match (domains, p) {
                (Key::ExcludeDomains, _) => Key::ExcludeProtocols,
                (_, Protocol::Tcp) => Key::Tcp,
                (_, Protocol::Udp) => Key::Udp,
            }));
            keys.extend((!ports.is_empty()).then_some(Key::Ports));
            keys.extend((!cidrs.is_empty()).then_some(Key::Cidrs));
            keys.extend((!names.is_empty()).then_some(domains));
        }
        keys.extend(loopback.map(|l| match l {
            Loopback::Skip => Key::LoopbackSkip,
            Loopback::Steer => Key::LoopbackSteer,
        }));
        keys.extend(dns.map(|d| match d {
            Dns::Leave => Key::DnsLeave,
            Dns::Capture => Key::DnsCapture,
        }));
        keys.extend(quic.map(|q| match q {
            Quic::Steer => Key::QuicSteer,
            Quic::Reject => Key::QuicReject,
            Quic::Leave => Key::QuicLeave,
        }));
        keys.extend(on_failure.map(|o| match o {
            OnFailure::Open => Key::Open,
            OnFailure::Closed => Key::Closed,
        }));
        keys.extend((!forward.is_empty()).then_some(Key::Forward));
        keys.extend(backend.is_some().then_some(Key::Backend));
        keys.extend(outbound.is_some().then_some(Key::ListenOutbound));
        keys.extend(inbound.is_some().then_some(Key::ListenInbound));
        keys.extend(dns_port.is_some().then_some(Key::ListenDns));
        keys.extend(steer.is_some().then_some(Key::Mark));
        keys.extend((*source == Some(Source::Client)).then_some(Key::SourceClient));
        keys.extend((!host_loopback.is_empty()).then_some(Key::HostLoopback));
        keys.extend((!publish.is_empty()).then_some(Key::Publish));
        keys.extend((*relay == Some(Relay::Needed)).then_some(Key::RelayNeeded));
        keys.extend(mtu.is_some().then_some(Key::DeviceMtu));
        keys.extend(queues.is_some().then_some(Key::DeviceQueues));
        keys.extend(echo.is_some().then_some(Key::DeviceEcho));
        keys.extend(fd.is_some().then_some(Key::DeviceFd));
        keys.extend(bridge.is_some().then_some(Key::DeviceBridge));
        keys.extend((!gateway.is_empty()).then_some(Key::DeviceGateway));
        keys.extend(gives_addresses.then_some(Key::DeviceDhcp));
        keys.extend(advertise.then_some(Key::DeviceAdvertise));
        keys.extend(dial.is_some().then_some(Key::Dial));
        keys.extend(resolver.is_some().then_some(Key::Resolver));
        keys.extend(fake.is_some().then_some(Key::FakeIp));
        keys.extend(external.is_some().then_some(Key::ListenExternal));
        keys.extend(explicit.is_some().then_some(Key::ListenExplicit));
        keys.extend(auth.is_some().then_some(Key::ListenAuth));
        keys.extend((!proxy_protocol.is_empty()).then_some(Key::ListenProxyProtocol));
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}
