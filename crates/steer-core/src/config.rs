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
//! | `scope.cgroup` | paths below the root of the cgroup2 hierarchy, with all below them |
//! | `scope.uid`, `scope.gid` | ids, ranges (`2000-2999`) and names known to this host |
//! | `scope.interface` | interfaces at which forwarded traffic enters |
//! | `scope.netns` | another network namespace: a path, a pid or a container |
//! | `scope.inbound` | `true`: traffic to this host |
//! | `scope.except` | the same keys except `host`: who is left out |
//! | `traffic.include`, `traffic.exclude` | `protocols` (`tcp`, `udp`), `ports`, `cidrs`, `domains` (`name`, `"*.name"`) |
//! | `traffic.loopback` | `skip`, `steer` |
//! | `traffic.dns` | `leave`, `capture` |
//! | `traffic.quic` | `steer`, `reject`, `leave` |
//! | `on_failure` | `open`, `closed` |
//! | `upstreams.NAME.url` | `socks5://HOST:PORT` (`socks5h` is the same: a known name always goes to the proxy; port 1080 where none is written) or `http://HOST:PORT` (the port must be written), either with `USER:PASSWORD@` |
//! | `upstreams.NAME.username`, `.password` | both or neither; a password is text, `{ env: NAME }` or `{ file: PATH }` |
//! | `rules[].name` | for records; `rule-N` where none is written |
//! | `rules[].match` | `host`, `cidr`, `port`, `protocol`, `uid`, `app` (`tls`, `http1`, `http2`, `quic`, `dns`, `opaque`); no `match` means every connection |
//! | `rules[].action` | `direct`, `reject` |
//! | `rules[].upstream` | instead of an action, the name of an upstream |
//! | `forward[].listen`, `.to` | an address to listen on, and the `HOST:PORT` its connections go to |
//! | `forward[].upstream` | the upstream they take whatever the rules say |
//! | `listen.outbound` | the port at which steered connections arrive |
//! | `listen.explicit` | the address at which clients that know of the proxy connect |
//! | `listen.auth` | the `username` and `password` that they must give |
//! | `log.connections` | `stdout`, `stderr`, `none` or `{ file: PATH }` |
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

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::host::Host;
use crate::instance::Instance;
use crate::intent::{Backend, Forward, Intent, Listen, OnFailure, Resolve, Scope, Traffic};
use crate::mark::Mark;
use crate::policy::{Action, Condition, Policy, Rule, Upstream};

mod choice;
mod document;
mod error;
mod fault;
mod listen;
mod log;
mod nearest;
mod report;
mod rule;
mod scope;
mod secrecy;
mod section;
mod snippet;
mod traffic;
mod upstream;
mod url;
mod value;

pub use choice::{MethodChoice, MethodChoiceError};
pub use error::{ConfigError, Mistake, Mistakes};
pub use fault::Fault;
pub use log::{Log, LogTarget};
pub use url::UrlError;

use document::{Node, Span};
use error::Mistakes as Wrong;
use listen::Listeners;
use report::Report;
use rule::Rules;
use section::{Keys, Section};
use upstream::Upstreams;

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
    /// What the engine does with a connection.
    pub policy: Policy,
    /// Where records go.
    pub log: Log,
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
        let config = whole(&root, &mut report);
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
    /// Who opened a connection is asked for where a rule or a record says it.
    #[must_use]
    pub fn intent(&self, instance: Instance) -> Intent {
        let by_user = |rule: &Rule| !rule.condition.uid.is_empty();
        let identify =
            self.log.connections != LogTarget::None || self.policy.rules.iter().any(by_user);
        Intent {
            instance,
            scope: self.scope.clone(),
            traffic: self.traffic.clone(),
            on_failure: self.on_failure,
            forward: self.forward.clone(),
            listen: self.listen.clone(),
            bypass: Mark::BYPASS,
            steer: None,
            source: None,
            dial: None,
            resolve: Resolve::default(),
            backend: self.backend,
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
            name: CLI.to_owned(),
            kind: parsed.kind,
            address: parsed.address,
            credentials: parsed.credentials,
        });
        self.policy.rules.push(Rule {
            name: CLI.to_owned(),
            condition: Condition::default(),
            action: Action::Upstream(CLI.to_owned()),
        });
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

/// Reads the whole configuration, noting all that is wrong.
fn whole(root: &Node, report: &mut Report<'_>) -> Option<Config> {
    let top = Section::open(root, "", KEYS, report)?;
    let name = top
        .at("name")
        .and_then(|node| value::parsed(node, "name", "an instance name", Fault::Instance, report));
    let method = top.at("method").and_then(|node| choice::read(node, report));
    let backend = top.at("backend").and_then(|node| {
        let words = [("nft", Backend::Nft), ("iptables", Backend::Iptables)];
        value::word(node, "backend", &words, &["nft", "iptables"], report)
    });
    let scope = top.at("scope").and_then(|node| scope::read(node, report));
    let traffic = top
        .at("traffic")
        .and_then(|node| traffic::read(node, report));
    let on_failure = top
        .at("on_failure")
        .and_then(|node| traffic::on_failure(node, report));
    let log = top.at("log").and_then(|node| log::read(node, report));
    let mut listeners = Listeners::default();
    if let Some(node) = top.at("listen") {
        listeners.read_listen(node, report);
    }
    if let Some(node) = top.at("forward") {
        listeners.read_forward(node, report);
    }
    let upstreams = match top.at("upstreams") {
        Some(node) => upstream::read(node, report),
        None => Upstreams::default(),
    };
    let rules = match top.at("rules") {
        Some(node) => rule::read(node, report),
        None => Rules::default(),
    };
    listeners.check(&upstreams.read, report);
    resolve(&listeners.references, &upstreams.names, report);
    resolve(&rules.references, &upstreams.names, report);
    Some(Config {
        name,
        method: method.unwrap_or_default(),
        backend,
        scope: scope.unwrap_or_default(),
        traffic: traffic.unwrap_or_default(),
        on_failure,
        forward: listeners.forward,
        listen: listeners.listen,
        policy: Policy {
            upstreams: upstreams
                .read
                .into_iter()
                .map(|(upstream, _)| upstream)
                .collect(),
            rules: rules.read,
        },
        log: log.unwrap_or_default(),
    })
}

/// Notes every name of an upstream that is not defined.
fn resolve(references: &[(String, Span)], names: &[String], report: &mut Report<'_>) {
    let defined: HashSet<&str> = names.iter().map(String::as_str).collect();
    for (name, span) in references {
        if !defined.contains(name.as_str()) {
            let known = names.iter().map(String::as_str);
            let fault = Fault::UnknownUpstream {
                name: name.clone(),
                near: nearest::nearest(name, known).map(str::to_owned),
                known: names.to_vec(),
            };
            report.fault(span, fault);
        }
    }
}

/// An error about a text that could not be read as a tree.
fn wrong(text: &str, span: &Span, fault: Fault) -> ConfigError {
    let secrets = secrecy::suspected(text, span.start);
    ConfigError::Wrong(Wrong::new(text, vec![(span.clone(), fault)], &secrets, 0))
}

/// The keys at the top.
const KEYS: Keys = Keys {
    known: &[
        "name",
        "method",
        "backend",
        "scope",
        "traffic",
        "on_failure",
        "upstreams",
        "rules",
        "forward",
        "listen",
        "log",
    ],
    unsupported: &["http", "tls", "metrics"],
};
/// The upstream and the rule of the command line.
const CLI: &str = "cli";
/// Bytes of a file: a list of some ten thousand names fits.
const SIZE_MAX: usize = 1 << 20;
