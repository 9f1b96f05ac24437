//! What can be wrong at one place of a configuration.

use std::net::SocketAddr;

use super::device::DeviceError;
use super::dns::PoolError;
use super::mark::MarkError;
use super::program::ProgramError;
use super::rule::RequestFault;
use super::upstream::UpstreamFault;
use super::url::UrlError;
use super::words::{guess, in_section, listed, quoted};
use crate::address::{CidrError, DestinationError, HostNameError, RangeError};
use crate::instance::InstanceError;
use crate::intent::PublishError;
use crate::method::UnknownMethod;
use crate::policy::ExePatternError;

/// One mistake, without its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The text is no YAML.
    #[error("this is not YAML: {0}")]
    Syntax(String),
    /// The bytes are no UTF-8.
    #[error("the file is not UTF-8 text")]
    Utf8,
    /// The file, its nesting or what its aliases expand to is too large.
    #[error("the configuration is too large or too deeply nested")]
    TooLarge,
    /// An alias without an anchor: most likely a pattern without quotes.
    #[error("`*` and `&` mean aliases and anchors in YAML, and no such anchor is defined before")]
    Star,
    /// An anchor that contains its own alias.
    #[error("the alias lies within the value that it stands for")]
    Cycle,
    /// A second document.
    #[error("the file holds more than one YAML document")]
    Documents,
    /// A tag.
    #[error("the tag `{0}` has no meaning here")]
    Tag(String),
    /// A key that is a list, a mapping or empty.
    #[error("a key must be a word")]
    KeyText,
    /// A key that is not known here.
    #[error("unknown key `{key}`{}", in_section(.section))]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands; empty at the top.
        section: String,
        /// The key that it looks like.
        near: Option<&'static str>,
        /// The keys that are known here.
        known: &'static [&'static str],
    },
    /// A key and its value without `: ` between them.
    #[error("no colon and space end the key `{0}`")]
    NoColon(String),
    /// A key of the format that this build does not implement.
    #[error("`{0}` is not supported by this build of steer")]
    Unsupported(String),
    /// A key that stands twice.
    #[error("the key `{key}` stands twice; the first is on line {first}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// The line of the first.
        first: usize,
    },
    /// A key that must be there.
    #[error("{section} lacks the key `{key}`")]
    MissingKey {
        /// Where it must stand.
        section: String,
        /// The key.
        key: &'static str,
        /// What to write.
        example: &'static str,
    },
    /// A value of the wrong kind.
    #[error("{} cannot be {found}", quoted(.key))]
    Kind {
        /// The key.
        key: String,
        /// What stands there.
        found: &'static str,
        /// What must stand there.
        expected: String,
    },
    /// A list or section in which nothing stands.
    #[error("`{0}` is empty")]
    Empty(String),
    /// A word that is none of the known ones.
    #[error("`{word}` is no value of `{key}`")]
    Word {
        /// The key.
        key: String,
        /// The word.
        word: String,
        /// The word that it looks like.
        near: Option<&'static str>,
        /// The known words.
        known: &'static [&'static str],
    },
    /// A port or id, or a range of them.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A network.
    #[error(transparent)]
    Cidr(#[from] CidrError),
    /// A host pattern.
    #[error("{0}")]
    Host(HostNameError),
    /// A destination.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// An instance name.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// A method.
    #[error("{error}")]
    Method {
        /// The name, and those that exist.
        error: UnknownMethod,
        /// The method that it looks like.
        near: Option<&'static str>,
    },
    /// `auto` among other methods.
    #[error("`auto` stands in a list of methods")]
    AutoInList,
    /// A value that stands twice in a list.
    #[error("{0} stands twice")]
    Twice(String),
    /// An address to listen on.
    #[error("{0:?} is not an address to listen on")]
    Listen(String),
    /// A single port.
    #[error("{0:?} is not a port")]
    Port(String),
    /// A user or group that this host does not have.
    #[error("no {kind} is called {name:?} on this host")]
    Account {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// A name that it looks like.
        near: Option<String>,
    },
    /// A path of a cgroup.
    #[error("{0:?} is not a cgroup below the root of the hierarchy")]
    Cgroup(String),
    /// A process.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A program file.
    #[error(transparent)]
    Exe(#[from] ExePatternError),
    /// A name of a network interface.
    #[error("{0:?} is not the name of a network interface")]
    Interface(String),
    /// What should lead to a network namespace.
    #[error("{0:?} leads to no network namespace")]
    Netns(String),
    /// A port to publish.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A firewall mark.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The address of a resolver.
    #[error("{0:?} is not the address of a resolver")]
    Resolver(String),
    /// A pool of made-up addresses.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A key that means something beside another one only.
    #[error("`{key}` means nothing without {needs}")]
    Needs {
        /// The key.
        key: &'static str,
        /// What must stand beside it.
        needs: &'static str,
    },
    /// Two keys that nothing can fulfil together.
    #[error("no traffic is both of `{key}` and of `{other}`")]
    Apart {
        /// The key.
        key: String,
        /// What it cannot stand beside.
        other: String,
    },
    /// A name of an upstream or rule.
    #[error("{0:?} is not a name")]
    Name(String),
    /// A name with a meaning of its own.
    #[error("the name `{0}` has a meaning of its own")]
    Reserved(String),
    /// A rule name that stands twice.
    #[error("another rule is called `{name}`, on line {first}")]
    DuplicateRule {
        /// The name.
        name: String,
        /// The line of the first.
        first: usize,
    },
    /// A rule that neither matches nor does anything.
    #[error("the rule has no match and no action")]
    RuleEmpty,
    /// A rule that does nothing.
    #[error("the rule says which connections, but not what happens to them")]
    RuleActionless,
    /// A rule with two actions.
    #[error("the rule has both `action` and `upstream`")]
    RuleTwoActions,
    /// An upstream that is not defined.
    #[error("no upstream is called `{name}`")]
    UnknownUpstream {
        /// The name.
        name: String,
        /// A name that it looks like.
        near: Option<String>,
        /// The upstreams that are defined.
        known: Vec<String>,
    },
    /// What a rule says of requests.
    #[error(transparent)]
    Request(#[from] RequestFault),
    /// The address of a proxy.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// An upstream.
    #[error(transparent)]
    Upstream(#[from] UpstreamFault),
    /// Credentials in the URL and beside it.
    #[error("the upstream has credentials in its URL and as keys")]
    CredentialsTwice,
    /// A user name or password without the other.
    #[error("{section} has a `{present}` but no `{absent}`")]
    HalfCredentials {
        /// Where.
        section: String,
        /// What stands there.
        present: &'static str,
        /// What is missing.
        absent: &'static str,
    },
    /// A user name or password that the protocol cannot carry.
    #[error("the {part} cannot be sent: {why}")]
    Unsendable {
        /// `user name` or `password`.
        part: &'static str,
        /// What the protocol demands.
        why: &'static str,
    },
    /// A destination that is one of our listeners.
    #[error("{what} is steer itself, which listens on {listen}")]
    Ourselves {
        /// What leads to ourselves.
        what: String,
        /// The listener.
        listen: SocketAddr,
    },
    /// A listener of ours where another proxy takes what is steered.
    #[error("`{key}` is a listener of steer's, and `listen.external` names a proxy in its place")]
    External {
        /// The key of our listener.
        key: String,
    },
    /// A listener that others than this host can reach, where nobody has said so.
    #[error("others than this host can reach {0}")]
    Exposed(SocketAddr),
    /// Where events are told.
    #[error("{0:?} is not the path of a socket")]
    Socket(String),
    /// A path of a file or folder.
    #[error("{0:?} is not a path")]
    Path(String),
    /// Two listeners that cannot both be.
    #[error("{listen} is already taken by `{other}`, on line {first}")]
    ListenTwice {
        /// The address.
        listen: SocketAddr,
        /// The key that has it.
        other: String,
        /// The line of that key.
        first: usize,
    },
}

impl Fault {
    /// What would be right.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Syntax(_) => "put text that contains any of `: # { } [ ] , * & ! | > @ %` in \
                 quotes, and indent with spaces"
                .to_owned(),
            Self::Utf8 => "save the file as UTF-8".to_owned(),
            Self::TooLarge => {
                "the bounds are 1 MiB, 24 levels and 100000 values; split the rules over several \
                 instances"
                    .to_owned()
            }
            Self::Star => "put a pattern in quotes: \"*.example.com\"".to_owned(),
            Self::Cycle => "write the value out".to_owned(),
            Self::Documents => "remove everything from the second `---` on".to_owned(),
            Self::Tag(_) => "remove the tag".to_owned(),
            Self::KeyText => "write `key: value`".to_owned(),
            Self::UnknownKey { near, known, .. } => guess(*near, "the keys here are", known),
            Self::NoColon(key) => format!("write `{key}: VALUE`"),
            Self::Unsupported(_) => "remove it: it has no effect here".to_owned(),
            Self::DuplicateKey { .. } => "join the two, or remove one".to_owned(),
            Self::MissingKey { example, .. } => format!("write `{example}`"),
            Self::Kind { expected, .. } => format!("write {expected}"),
            Self::Empty(_) => {
                "write a value, or remove the key: an empty one would say nothing".to_owned()
            }
            Self::Word { near, known, .. } => guess(*near, "the values are", known),
            Self::Range(RangeError::Port(_)) => {
                "write a port, a range like 3000-5000, or a list of them".to_owned()
            }
            Self::Range(RangeError::Id(_)) => {
                "write an id, a range like 2000-2999, a name, or a list of them".to_owned()
            }
            Self::Range(RangeError::Order(_)) => "swap the two numbers".to_owned(),
            Self::Cidr(CidrError::Address(_) | CidrError::Prefix { .. }) => {
                "write a network in quotes, \"2001:db8::/32\"; one address is a network too"
                    .to_owned()
            }
            Self::Cidr(CidrError::HostBits { meant, .. }) => format!("write {meant}"),
            Self::Host(_) => {
                "write a name, or \"*.name\" for every name below it; addresses go into cidrs"
                    .to_owned()
            }
            Self::Destination(_) => "write NAME:PORT, ADDRESS:PORT or \"[IPv6]:PORT\"".to_owned(),
            Self::Instance(_) => "choose a short name, `egress` for instance".to_owned(),
            Self::Method {
                near: Some(near), ..
            } => format!("did you mean `{near}`?"),
            Self::Method { near: None, .. } => {
                "write `auto`, one method, or a list in order of preference".to_owned()
            }
            Self::AutoInList => "write `method: auto` alone, or name the methods".to_owned(),
            Self::Twice(_) => "remove one of them".to_owned(),
            Self::Listen(_) => {
                "write ADDRESS:PORT with a port from 1 to 65535: \"127.0.0.1:15080\" or \
                 \"[::1]:15080\""
                    .to_owned()
            }
            Self::Port(_) => "write a number from 1 to 65535".to_owned(),
            Self::Account { kind, near, .. } => match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write the number of the {kind}, or create it"),
            },
            Self::Cgroup(_) => "write the path below the root, like `app.slice` or \
                 `system.slice/nginx.service`, or a unit's name, like `nginx.service`; for every \
                 process, `host: true`"
                .to_owned(),
            Self::Program(error) => error.help(),
            Self::Exe(_) => "write /the/whole/path, or the file's name alone, which is found in \
                 every directory; `*` stands for any characters"
                .to_owned(),
            Self::Interface(_) => "`ip link` lists the interfaces".to_owned(),
            Self::Netns(_) => "write a path like /run/netns/NAME, a process id, or the name or id \
                 of a container"
                .to_owned(),
            Self::Publish(_) => {
                "use ports from 1 to 65535, and an address of this host in quotes: \
                 8080, \"8080:80\" or \"127.0.0.1:8080:80\""
                    .to_owned()
            }
            Self::Device(error) => error.help(),
            Self::Mark(error) => error.help(),
            Self::Resolver(_) => "write an address, with a port where it is not 53: 192.0.2.53, \
                 \"192.0.2.53:5353\" or \"[2001:db8::53]:5353\""
                .to_owned(),
            Self::Pool(error) => error.help(),
            Self::Needs { needs, .. } => format!("add {needs}, or remove the key"),
            Self::Apart { .. } => "remove one of them: packets that enter at an interface come \
                 from no program, user or cgroup of this host, and go on or end here; write a \
                 second steering for the others"
                .to_owned(),
            Self::Name(_) => "use 1 to 64 letters, digits, `-`, `_` and `.`".to_owned(),
            Self::Reserved(_) => {
                "choose another name: records use `direct` and `none`, and `cli` is the upstream \
                 of the command line"
                    .to_owned()
            }
            Self::DuplicateRule { .. } => {
                "give each rule its own name, so that records can tell them apart".to_owned()
            }
            Self::RuleEmpty | Self::RuleActionless => {
                "add `action: direct`, `action: reject` or `upstream: NAME`".to_owned()
            }
            Self::RuleTwoActions => "remove one of the two".to_owned(),
            Self::UnknownUpstream { name, near, known } => match (name.as_str(), near) {
                ("direct", _) => "write `action: direct` instead".to_owned(),
                (_, Some(near)) => format!("did you mean `{near}`?"),
                (_, None) if known.is_empty() => {
                    format!(
                        "define it: `upstreams: {{ {name}: {{ url: \"socks5://HOST:PORT\" }} }}`"
                    )
                }
                (_, None) => format!("the upstreams are {}", listed(known, "and")),
            },
            Self::Request(error) => error.help(),
            Self::Url(error) => error.help(),
            Self::Upstream(error) => error.help(),
            Self::CredentialsTwice => {
                "keep `username` and `password`, and take them out of the URL".to_owned()
            }
            Self::HalfCredentials { absent, .. } => format!("add `{absent}`"),
            Self::Unsendable { .. } => {
                "write it on one line, in quotes, or choose other credentials at the proxy"
                    .to_owned()
            }
            Self::Ourselves { .. } => "write another address, or move the listener".to_owned(),
            Self::External { .. } => "remove one of the two".to_owned(),
            Self::Exposed(_) => "write an address of loopback, \"127.0.0.1:15020\", or add \
                 `expose: yes` where everybody who reaches it may read it"
                .to_owned(),
            Self::Socket(_) => "write `unix:` and an absolute path of at most 107 bytes: \
                 \"unix:/run/steer/main.events\""
                .to_owned(),
            Self::Path(_) => {
                "write a path from the root on, or from your home: /etc/ca.pem, ~/ca.pem".to_owned()
            }
            Self::ListenTwice { .. } => "choose another port for one of them".to_owned(),
        }
    }
}
