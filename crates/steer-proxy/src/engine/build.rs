//! From policy and settings to a running engine.
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, RwLock};

use steer_core::address::HostName;
use steer_core::datagram::Budget;
use steer_core::intent::Source;
use steer_core::names::{Conversation, Follower, Names};
use steer_core::policy::{Policy, SecretError};
use steer_tls::{AuthorityError, ConnectorError, Distrust};
use tokio::sync::watch;

use super::course::{Checks, Course};
use super::dns;
use super::flood::Flood;
use super::lanes::Lanes;
use super::live::Live;
use super::loops::{Loops, Place, Returning};
use super::udp::held::HELD;
use super::{Engine, Limits, Shared};
use crate::events::Events;
use crate::handler::Handler;
use crate::metrics::Metrics;
use crate::record::Recorder;
use crate::upstream::direct::{Dialler, needs_tuning};
use crate::upstream::{PlainSockets, Resolver, SocketFactory, SystemResolver};
use crate::value::ValueError;

/// Why an engine cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A rule names an upstream that is not defined.
    #[error("the rule {rule:?} names the upstream {upstream:?}, which is not defined")]
    UnknownUpstream {
        /// The rule.
        rule: String,
        /// The name.
        upstream: String,
    },
    /// An upstream is one of the engine's own listeners.
    #[error("the upstream {upstream:?} at {address} is this engine itself")]
    OwnUpstream {
        /// The upstream.
        upstream: String,
        /// Its address.
        address: SocketAddr,
    },
    /// An upstream goes through one that is not defined.
    #[error("the upstream {upstream:?} goes through {via:?}, which is not defined")]
    UnknownVia {
        /// The upstream.
        upstream: String,
        /// The name.
        via: String,
    },
    /// An upstream goes through itself.
    #[error("the upstream {0:?} goes through itself")]
    Circle(String),
    /// What an upstream's TLS needs could not be read.
    #[error("the TLS of the upstream {upstream:?} cannot be")]
    Sealing {
        /// The upstream.
        upstream: String,
        /// Why.
        source: Box<ConnectorError>,
    },
    /// A name that no certificate can be for.
    #[error("no certificate can be for the name {0}")]
    ServerName(HostName),
    /// A password could not be read.
    #[error("the password of the upstream {upstream:?} could not be read")]
    Secret {
        /// The upstream.
        upstream: String,
        /// Why.
        source: SecretError,
    },
    /// A user name or password that the upstream's protocol cannot carry.
    #[error("the {part} of the upstream {upstream:?} cannot be sent: {why}")]
    Unsendable {
        /// The upstream.
        upstream: String,
        /// `user name` or `password`.
        part: &'static str,
        /// What the protocol demands.
        why: &'static str,
    },
    /// A value that a rule puts into a field could not be had.
    #[error("a value that a rule puts into a field could not be had")]
    Value(#[from] ValueError),
    /// What servers are believed by could not be read.
    #[error("TLS with servers cannot be begun")]
    Connector(#[source] Box<ConnectorError>),
    /// The local certificate authority cannot be used.
    #[error("TLS cannot be opened: there is no local certificate authority")]
    Authority(#[source] Box<AuthorityError>),
}

impl EngineError {
    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::UnknownUpstream { upstream, .. } => {
                format!("define {upstream:?} under upstreams, or correct the rule")
            }
            Self::OwnUpstream { upstream, .. } => {
                format!("give {upstream:?} the address of another proxy")
            }
            Self::UnknownVia { via, .. } => {
                format!("define {via:?} under upstreams, or correct `via`")
            }
            Self::Circle(upstream) => {
                format!("take `via` out of {upstream:?} or of those that it goes through")
            }
            Self::Sealing { source, .. } => source.help(),
            Self::ServerName(_) => "write `tls: { name: NAME }` in the upstream".to_owned(),
            Self::Secret { source, .. } => source.help(),
            Self::Value(source) => source.help(),
            Self::Connector(source) => source.help(),
            Self::Authority(source) => source.help(),
            Self::Unsendable { part, upstream, .. } => {
                format!("choose another {part} at the proxy that {upstream:?} names")
            }
        }
    }
}

/// The settings of an engine.
#[derive(Debug)]
pub struct EngineBuilder {
    policy: Policy,
    limits: Limits,
    listeners: Vec<SocketAddr>,
    sockets: Arc<dyn SocketFactory>,
    resolver: Arc<dyn Resolver>,
    recorder: Recorder,
    metrics: Arc<Metrics>,
    events: Events,
    source: Source,
    returning: Returning,
    names: Option<Arc<dyn Names>>,
    conversation: Arc<dyn Conversation>,
    dns_resolver: Option<SocketAddr>,
    follower: Option<Arc<dyn Follower>>,
    handlers: Vec<Arc<dyn Handler>>,
    http: steer_http::Limits,
}

impl Engine {
    /// Settings for an engine with this policy.
    pub fn builder(policy: Policy) -> EngineBuilder {
        EngineBuilder {
            policy,
            limits: Limits::default(),
            listeners: Vec::new(),
            sockets: Arc::new(PlainSockets),
            resolver: Arc::new(SystemResolver),
            recorder: Recorder::none(),
            metrics: Arc::default(),
            events: Events::default(),
            source: Source::Engine,
            returning: Returning::Possible,
            names: None,
            conversation: Arc::new(dns::Plain),
            dns_resolver: None,
            follower: None,
            handlers: Vec::new(),
            http: steer_http::Limits::default(),
        }
    }
}

impl EngineBuilder {
    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Says that no dial can come back: the intakes are in a network that no packet of the engine's
    /// reaches. Equal addresses there and here are then different ones.
    pub fn apart(mut self) -> Self {
        self.returning = Returning::Impossible;
        self
    }

    /// Names an address at which an intake of this engine listens, so that it is never dialled.
    pub fn listener(mut self, address: SocketAddr) -> Self {
        self.listeners.push(address);
        self
    }

    /// Sets what makes the sockets for dialling. Connections that are dialled from where their
    /// program is ([`Steered::inside`]) have theirs made there, with the same mark.
    ///
    /// [`Steered::inside`]: steer_core::steered::Steered::inside
    pub fn sockets(mut self, sockets: impl SocketFactory + 'static) -> Self {
        self.sockets = Arc::new(sockets);
        self
    }

    /// Sets what looks names up, from wherever a connection is then dialled.
    pub fn resolver(mut self, resolver: impl Resolver + 'static) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    /// Sets whose address upstreams see. The client's needs CAP_NET_ADMIN, and rules that bring
    /// the answers back to this host.
    pub fn source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Sets what tells the names that addresses stand for.
    pub fn names(mut self, names: Arc<dyn Names>) -> Self {
        self.names = Some(names);
        self
    }

    /// Sets what takes part in DNS conversations; without it they are passed on as they are.
    pub fn conversation(mut self, conversation: Arc<dyn Conversation>) -> Self {
        self.conversation = conversation;
        self
    }

    /// Sets the resolver that is asked instead of the one that a program addressed.
    pub fn dns_resolver(mut self, resolver: SocketAddr) -> Self {
        self.dns_resolver = Some(resolver);
        self
    }

    /// Sets who learns the addresses of names before the programs do.
    pub fn follower(mut self, follower: Arc<dyn Follower>) -> Self {
        self.follower = Some(follower);
        self
    }

    /// Adds a handler behind those that were added before.
    pub fn handler(mut self, handler: Arc<dyn Handler>) -> Self {
        self.handlers.push(handler);
        self
    }

    /// Sets what sessions of HTTP let clients and servers do.
    pub fn http(mut self, limits: steer_http::Limits) -> Self {
        self.http = limits;
        self
    }

    /// Sets where the records go.
    pub fn recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = recorder;
        self
    }

    /// Sets where is counted; engines that share it are counted together.
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sets where is told what happens.
    pub fn events(mut self, events: Events) -> Self {
        self.events = events;
        self
    }

    /// Makes the engine; reads the secrets of the upstreams. [`Engine::change`] puts others in their
    /// place.
    pub fn build(self) -> Result<Engine, EngineError> {
        let Self {
            policy,
            limits,
            listeners,
            sockets,
            resolver,
            recorder,
            metrics,
            events,
            source,
            returning,
            names,
            conversation,
            dns_resolver,
            follower,
            handlers,
            http,
        } = self;
        let loops = Arc::new(Loops::new(listeners, returning));
        let course = Course::new(policy, &loops, sockets.as_ref(), &[])?;
        let shared = Shared {
            course: RwLock::new(Arc::new(course)),
            checks: Checks::default(),
            limits,
            dialler: Arc::new(Dialler {
                sockets,
                place: Place::default(),
                resolver,
                loops,
                retune: needs_tuning(),
                source,
            }),
            recorder: RwLock::new(recorder),
            metrics,
            events,
            lost: AtomicU64::new(0),
            names,
            conversation,
            dns_resolver,
            follower,
            handlers,
            http,
            distrust: Distrust::default(),
            live: Live::default(),
            flows: Live::default(),
            lanes: Lanes::default(),
            flood: Flood::default(),
            talks: Live::default(),
            held: Budget::new(HELD),
            accepted: AtomicU64::new(0),
            starved: AtomicU64::new(0),
            stop: watch::Sender::new(false),
            serving: watch::Sender::new(0),
            stopping: Arc::default(),
            stops: AtomicBool::new(false),
        };
        Ok(Engine {
            shared: Arc::new(shared),
        })
    }
}
