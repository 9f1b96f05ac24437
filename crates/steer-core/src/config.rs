//! What a user writes, read once into values that cannot be wrong.
//!
//! ```text
//! bytes ─ document ─> tree of nodes with places ─ scope, traffic, rule, … ─> Config ─> Intent, Policy
//!                                                   └─ report: faults ─> ConfigError, with carets
//! ```
//!
//! # Keys
//!
//! Every key can be left out, and only what is written binds. Where a list is expected, a single
//! value stands for a list of one. Numbers can be quoted.
//!
//! | key | value |
//! | --- | --- |
//! | `name` | the instance: 1 to 12 of `a-z`, `0-9`, `_`, a letter first |
//! | `method` | `auto`, a method, or a list in order of preference |
//! | `backend` | `nft`, `iptables`: the packet filter, for methods that write rules |
//! | `scope.host` | `true`: everybody on this host |
//! | `scope.cgroup` | paths below the root of the cgroup2 hierarchy, with all below them, or units of systemd's by name (`nginx.service`) |
//! | `scope.uid`, `scope.gid` | ids, ranges (`2000-2999`) and names known to this host |
//! | `scope.command` | names of processes as in `/proc/PID/comm`: at most 15 bytes, no patterns |
//! | `scope.pid` | ids of running processes, with what they start; not below `except` |
//! | `scope.interface` | interfaces at which forwarded traffic enters; beside no key about senders here, nor `inbound` |
//! | `scope.netns` | another network namespace: an absolute path, a process id, or the name or id of a container |
//! | `scope.inbound` | `true`: traffic to this host; beside no key about senders here |
//! | `scope.except` | the same keys except `host` and `pid`: who is left out |
//! | `traffic.include`, `traffic.exclude` | `protocols` (`tcp`, `udp`), `ports`, `cidrs`, `domains` (`name`, `"*.name"`) |
//! | `traffic.loopback` | `skip`, `steer` |
//! | `traffic.dns` | `leave`, `capture` |
//! | `traffic.quic` | `steer`, `reject`, `leave` |
//! | `on_failure` | `open`, `closed` |
//! | `upstreams.NAME.url` | `socks5://HOST:PORT` (`socks5h` is the same: a known name always goes to the proxy; port 1080 where none is written) or `http://HOST:PORT` (the port must be written), either with `USER:PASSWORD@`; the same in TLS as `socks5+tls://HOST:PORT` and `https://HOST:PORT`; `tcp://HOST:PORT`: a place that takes every connection as it is |
//! | `upstreams.NAME.username`, `.password` | both or neither; a password is text, `{ env: NAME }` or `{ file: PATH }` |
//! | `rules[].name` | for records; `rule-N` where none is written |
//! | `rules[].match` | `host`, `cidr`, `port`, `protocol`, `uid`, `gid`, `exe` (a program file: an absolute path or a file's name alone, `*` for any characters), `command` (as `scope.command`), `cgroup` (a path, which means all below it too, or a unit's name, wherever in a path it stands), `app` (`tls`, `http1`, `http2`, `quic`, `dns`, `opaque`), and of requests `method`, `path` (`*` for any text) and `header` (`{ NAME: VALUE }`, `*` for any text); no `match` means every connection |
//! | `rules[].action` | `direct`, `reject` |
//! | `upstreams.NAME.via` | another upstream, that this one is reached through |
//! | `upstreams.NAME.tls` | `name` (the certificate is verified for it; else for the host of the URL), `roots` (files of certificates believed beside the host's), `certificate` (`chain` and `key`: what we show); for the URLs with TLS |
//! | `upstreams.NAME.proxy_protocol` | `v1`, `v2`: it is told of the client by the PROXY protocol |
//! | `upstreams.NAME.endpoints` | `HOST:PORT`: where it is beside its URL's; one that fails is followed by the next |
//! | `upstreams.NAME.health` | `interval` (5s), `fall` (3), `rise` (2), `timeout` (2s): how its endpoints are checked; without it the connections alone tell |
//! | `upstreams.NAME.limits` | `connections`: how many at a time; `connect`: how long connecting to an endpoint may take |
//! | `upstreams.NAME.resolve` | `upstream` (it is asked for names), `here` (for addresses alone) |
//! | `rules[].upstream` | instead of an action, the name of an upstream |
//! | `rules[].tls` | `pass`, `intercept`: whether TLS is opened to see the requests in it; with it or `http` the action is `direct` where none is written |
//! | `rules[].http.to` | `http://NAME[:PORT]` or `https://NAME[:PORT]`: where requests go instead |
//! | `rules[].http.plaintext` | `refuse`, `allow`: whether secrets may go to a server that proves no name |
//! | `rules[].http.request`, `.response` | `remove` (names of fields), `set` and `add` (`{ NAME: VALUE }`); of requests also `path.strip` and `path.prefix`; a value is a text, or a mapping with one of `literal`, `env`, `file` and `command` (a program and its arguments, with `lifetime`: `30s`, `5m`, `1h`) and perhaps `prefix` and `suffix` |
//! | `rules[].http.respond` | `status`, `headers`, `body`: a response without asking anybody |
//! | `forward[].listen`, `.to` | an address to listen on, and the `HOST:PORT` its connections go to |
//! | `forward[].upstream` | the upstream they take whatever the rules say |
//! | `forward[].proxy_protocol.from` | networks: connections from there begin with a PROXY protocol header (v1 or v2), whose client is believed |
//! | `listen.outbound` | the port at which steered connections arrive |
//! | `listen.inbound` | the port at which connections to this host arrive that are steered on their way in |
//! | `listen.dns` | the port at which steered DNS arrives, UDP and TCP |
//! | `listen.external` | `ADDRESS:PORT` of another proxy that takes what is steered, in the place of `listen.outbound`, and asks the kernel for the original destinations |
//! | `listen.explicit` | the address at which clients that know of the proxy connect |
//! | `listen.auth` | the `username` and `password` that they must give |
//! | `listen.proxy_protocol.from` | networks: connections from there to `listen.explicit` begin with a PROXY protocol header (v1 or v2), whose client is believed |
//! | `mark.steer`, `mark.bypass` | `"VALUE/MASK"`, decimal or `0x…`: the firewall marks of packets on their way to the engine and of the engine's own; a value alone means its own bits |
//! | `source` | `engine`, `client`: whose address an upstream sees |
//! | `dial` | `inside`, `outside`: whether the engine dials from the namespace of `scope.netns` or from its own |
//! | `relay` | `always`, `needed`: whether every connection passes the engine, or those alone that have to be seen or changed or to take another way, where a method can leave it out; where none is written, `always` if records or the program are asked for, else `needed` |
//! | `netns.host_loopback` | `true`, or ports: services at this host's loopback addresses that a command in namespaces of its own reaches where it has no server itself |
//! | `netns.publish` | `[ADDRESS:]PORT[:INNER]`, or a list of such: TCP ports of a command in namespaces of its own that others reach, at 127.0.0.1 where no address is written |
//! | `device.mtu` | the longest packet of the device of `tun` or `tap`: 1280 to 65520 bytes |
//! | `device.queues` | how many threads read it: 1 to 16 |
//! | `device.echo` | `answer`, `forward`, `refuse`: what becomes of what `ping` sends; where none is written, it is not taken |
//! | `device.fd` | the open descriptor of a TUN or TAP device that somebody else made, from 3 on: all that comes by it is meant, and `scope` can be left out |
//! | `device.bridge` | a bridge of this host that the TAP device becomes a port of: what its stations send to the gateway is meant, and `scope` can be left out |
//! | `device.gateway` | `ADDRESS/PREFIX`, one a family: where stations of the bridge (or of a TAP device by `device.fd`) find the engine |
//! | `device.dhcp` | `true`: stations that ask get an IPv4 address of the gateway's network |
//! | `device.advertise` | `true`: the gateway's IPv6 network, a /64, is advertised to stations |
//! | `dns.resolver` | `ADDRESS` or `ADDRESS:PORT`: asked instead of the resolver that the program addressed; `dns` needs `traffic.dns: capture`, `method: dns` or `method: preload` |
//! | `dns.rebind` | names (`name`, `"*.name"`) whose answers may lead to this host: those of other public names are refused |
//! | `dns.fake_ip` | `true`: made-up addresses for names; or a mapping of the four keys below |
//! | `dns.fake_ip.pools` | networks to take the addresses from, one a family, at least a /24 or /112; `198.18.0.0/15` and `fd5e:7ee2:0:f8e1::/64` where none is written |
//! | `dns.fake_ip.names` | which names get one (`name`, `"*.name"`); where none is written, `traffic.include.domains`, else every name |
//! | `dns.fake_ip.except` | names that never get one |
//! | `dns.fake_ip.file` | where the mapping is kept over restarts |
//! | `log.connections` | `stdout`, `stderr`, `none` or `{ file: PATH }` |
//! | `log.requests` | `same`, `none`: whether the records of requests go where those of connections go |
//! | `log.format` | `json`, `text`: what a line of the records looks like; `text` is for people alone |
//! | `metrics.listen` | the address at which Prometheus finds `/metrics` |
//! | `metrics.expose` | `yes`, `no`: whether that may be an address that others than this host reach |
//! | `events.listen` | `unix:/PATH`: the socket at which events are told |
//!
//! # Example
//!
//! ```
//! use steer_core::config::Config;
//! use steer_core::host::Host;
//!
//! let text = "
//! scope: { uid: 1000 }
//! upstreams: { corp: { url: \"socks5://10.0.0.1:1080\" } }
//! rules: [ { match: { host: \"*.internal\" }, upstream: corp } ]
//! ";
//! let config = Config::parse(text, &Host::example()).unwrap();
//! assert_eq!(config.policy.upstreams[0].name, "corp");
//!
//! let error = Config::parse("scope: { uids: 1000 }", &Host::example()).unwrap_err();
//! assert!(error.to_string().contains("did you mean `uid`?"));
//! ```

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::host::Host;
use crate::instance::Instance;
use crate::intent::{
    Backend, Confine, Dial, Forward, Intent, Link, Listen, OnFailure, Relay, Resolve, Scope,
    Source, Traffic,
};
use crate::mark::Mark;
use crate::policy::{Action, Condition, Policy, Rule, Upstream, UpstreamTls};

mod choice;
mod device;
mod dns;
mod document;
mod error;
mod fault;
mod listen;
mod log;
mod mark;
mod metrics;
mod nearest;
mod netns;
mod program;
mod report;
mod rule;
mod scope;
mod secrecy;
mod section;
mod snippet;
mod tls;
mod top;
mod traffic;
mod upstream;
mod url;
mod value;
mod words;

pub use choice::{MethodChoice, MethodChoiceError};
pub use device::DeviceError;
pub use dns::PoolError;
pub use error::{ConfigError, Mistake, Mistakes};
pub use fault::Fault;
pub use log::{Log, LogFormat, LogTarget, RequestLog};
pub use mark::{MarkError, Marks};
pub use metrics::{Events, Metrics};
pub use program::ProgramError;
pub use rule::RequestFault;
pub use upstream::UpstreamFault;
pub use url::UrlError;

use document::Span;
use error::Mistakes as Wrong;
use report::Report;

/// Everything that a user can choose, from a file and the command line.
///
/// The default is `steer run` without a file: the method `auto`, no scope but the command's, all
/// its traffic, no rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The name of the steering, where one is written.
    pub name: Option<Instance>,
    /// Which methods may be used.
    pub method: MethodChoice,
    /// The packet filter to use; `None` was not written.
    pub backend: Option<Backend>,
    /// Whose traffic; its `command` is never set by a file.
    pub scope: Scope,
    /// Which of it.
    pub traffic: Traffic,
    /// What if the engine dies; `None` was not written.
    pub on_failure: Option<OnFailure>,
    /// Ports that go to one destination each.
    pub forward: Vec<Forward>,
    /// Where the engine listens.
    pub listen: Listen,
    /// Firewall marks instead of the usual ones.
    pub mark: Marks,
    /// Whose address an upstream sees; `None` was not written.
    pub source: Option<Source>,
    /// Where the engine dials for another namespace; `None` was not written.
    pub dial: Option<Dial>,
    /// What passes the walls of namespaces of the command's own.
    pub confine: Confine,
    /// What the device is like, for methods that make one.
    pub link: Link,
    /// Which connections pass the engine; `None` was not written.
    pub relay: Option<Relay>,
    /// How DNS is answered where it comes to the engine.
    pub resolve: Resolve,
    /// What the engine does with a connection.
    pub policy: Policy,
    /// Where records go.
    pub log: Log,
    /// Where metrics are served; `None` was not written.
    pub metrics: Option<Metrics>,
    /// Where events are told; `None` was not written.
    pub events: Option<Events>,
}

impl Config {
    /// Reads a file; `host` resolves the names of users and groups.
    ///
    /// # Errors
    /// The file cannot be read, or is wrong; the error names the file, line and column.
    pub fn read(path: &Path, host: &Host) -> Result<Self, ConfigError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(SIZE_MAX as u64 + 1).read_to_end(&mut bytes))
            .map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            })?;
        Self::from_bytes(&bytes, host).map_err(|error| error.in_file(path))
    }

    /// Reads a text; `host` resolves the names of users and groups.
    ///
    /// # Errors
    /// The text is wrong: the error holds every mistake that was found, in the order of the text.
    pub fn parse(text: &str, host: &Host) -> Result<Self, ConfigError> {
        if text.len() > SIZE_MAX {
            return Err(wrong(text, &(0..0), Fault::TooLarge));
        }
        let root = document::read(text).map_err(|(span, fault)| wrong(text, &span, fault))?;
        let mut report = Report::new(text, host);
        let config = top::read(&root, &mut report);
        report.conclude(config, &secrecy::held(text, &root))
    }

    /// Reads bytes, which must be UTF-8; `host` resolves the names of users and groups.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn from_bytes(bytes: &[u8], host: &Host) -> Result<Self, ConfigError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text, host),
            Err(error) => {
                let at = error.valid_up_to();
                let text = String::from_utf8_lossy(bytes);
                Err(wrong(&text, &(at..at), Fault::Utf8))
            }
        }
    }

    /// The intent that the configuration states, for a steering of this name.
    ///
    /// Who opened a connection is found out where a rule, a record or an event asks for it.
    #[must_use]
    pub fn intent(&self, instance: Instance) -> Intent {
        let asks = |rule: &Rule| rule.condition.asks_for_identity();
        let told = self.log.connections != LogTarget::None || self.events.is_some();
        let identify = told || self.policy.rules.iter().any(asks);
        Intent {
            instance,
            scope: self.scope.clone(),
            traffic: self.traffic.clone(),
            on_failure: self.on_failure,
            forward: self.forward.clone(),
            listen: self.listen.clone(),
            bypass: self.mark.bypass.unwrap_or(Mark::BYPASS),
            steer: self.mark.steer,
            source: self.source,
            dial: self.dial,
            confine: self.confine.clone(),
            link: self.link.clone(),
            relay: self.relay,
            resolve: self.resolve.clone(),
            backend: self.backend,
            proxied: !self.policy.upstreams.is_empty(),
            identify,
        }
    }

    /// The same, for the command that `steer run` starts and its descendants.
    #[must_use]
    pub fn with_command(mut self) -> Self {
        self.scope.command = true;
        self
    }

    /// The same, with every connection that no rule decides going through one more upstream,
    /// called `cli`; of several calls the last one counts.
    ///
    /// # Errors
    /// The text is no URL of a proxy, or names one of our own listeners.
    pub fn with_upstream(mut self, url: &str) -> Result<Self, UrlError> {
        let parsed = url::parse(url)?;
        let mut bound = listen::bound(&self.listen, &self.forward);
        if bound.any(|listen| listen::reaches(&parsed.address, listen)) {
            return Err(UrlError::Ourselves);
        }
        drop(bound);
        self.policy
            .upstreams
            .retain(|upstream| upstream.name != CLI);
        self.policy.rules.retain(|rule| rule.name != CLI);
        self.policy.upstreams.push(Upstream {
            credentials: parsed.credentials,
            tls: parsed.tls.then(UpstreamTls::default),
            ..Upstream::new(CLI, parsed.kind, parsed.address)
        });
        self.policy.rules.push(Rule::new(
            CLI,
            Condition::default(),
            Action::Upstream(CLI.to_owned()),
        ));
        Ok(self)
    }

    /// The same, with records going there.
    #[must_use]
    pub fn with_log(mut self, target: LogTarget) -> Self {
        self.log.connections = target;
        self
    }

    /// The same, with other methods.
    #[must_use]
    pub fn with_method(mut self, choice: impl Into<MethodChoice>) -> Self {
        self.method = choice.into();
        self
    }
}

/// An error about a text that could not be read as a tree.
fn wrong(text: &str, span: &Span, fault: Fault) -> ConfigError {
    let secrets = secrecy::suspected(text, span.start);
    ConfigError::Wrong(Wrong::new(text, vec![(span.clone(), fault)], &secrets, 0))
}

/// The upstream and the rule of the command line.
const CLI: &str = "cli";
/// Bytes of a file: a list of some ten thousand names fits.
const SIZE_MAX: usize = 1 << 20;
