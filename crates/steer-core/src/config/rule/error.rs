//! What can be wrong about what a rule says of requests.

use crate::policy::PathPatternError;

/// What can be wrong about what a rule says of requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFault {
    /// A name of a field that has characters that names do not have.
    #[error("{0:?} is not the name of a header field")]
    FieldName(String),
    /// A field that says how a message is framed, or is about one connection.
    #[error("the field `{0}` is about the connection or the framing, which are not changed")]
    FieldOfFraming(String),
    /// The field that names the host.
    #[error("the field `host` says whom a request is for")]
    FieldOfHost,
    /// The same field twice in one section.
    #[error("the field `{0}` stands twice; capitals make no difference")]
    FieldTwice(String),
    /// A text that no field can have as its value. It is not shown: it may be a secret.
    #[error("the value of `{0}` holds a line break or another control character")]
    FieldValue(String),
    /// A method.
    #[error("{0:?} is not a method of HTTP")]
    Method(String),
    /// A pattern of paths.
    #[error(transparent)]
    Path(#[from] PathPatternError),
    /// A text that begins no path.
    #[error("{0:?} is not the beginning of a path")]
    Beginning(String),
    /// A value without a source, or with several.
    #[error("`{0}` has {1}, and a value has one")]
    Sources(String, &'static str),
    /// A lifetime of something that is not run.
    #[error("`{0}` means nothing without `command`")]
    Lifetime(String),
    /// A time.
    #[error("{0:?} is not a time from 1s to 24h")]
    Time(String),
    /// The name of an environment variable.
    #[error("{0:?} is not the name of an environment variable")]
    Variable(String),
    /// A command that is no program with its arguments.
    #[error("{0:?} is not a program: no shell reads a command")]
    Command(String),
    /// A place that requests are sent to.
    #[error("{url:?} is not a place for requests: {why}")]
    To {
        /// The text.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A secret that would go to whom nobody has verified.
    #[error("the requests get a secret, and `to` is spoken to in plain text")]
    ToPlain,
    /// A secret for every server that has a certificate.
    #[error("the requests get a secret, and the rule does not say for which host")]
    Anybody,
    /// A status.
    #[error("{0:?} is not a status from 200 to 599")]
    Status(String),
    /// A response of ours beside what is about those of others.
    #[error("`respond` asks nobody, and `{0}` is about whom to ask and what to say")]
    RespondBeside(&'static str),
    /// Changes of what is not let through.
    #[error("`action: reject` lets nothing pass that `{0}` could be about")]
    RejectBeside(&'static str),
    /// A rule about requests that no request can meet.
    #[error("the rule is about requests, and `{0}` names connections that have none")]
    NoRequests(&'static str),
    /// A rule that opens what is no TLS.
    #[error("`tls: intercept` opens TLS, and `{0}` names connections that have none")]
    NoTls(&'static str),
}

impl RequestFault {
    /// What would be right.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::FieldName(_) => {
                "use letters, digits and any of ! # $ % & ' * + - . ^ _ ` | ~".to_owned()
            }
            Self::FieldOfFraming(_) => "remove it: steer keeps these right itself".to_owned(),
            Self::FieldOfHost => {
                "match it by `match.host`; change it by `http.to: \"https://NAME\"`".to_owned()
            }
            Self::FieldTwice(_) => {
                "keep one; `add` gives a field one more value beside that of `set`".to_owned()
            }
            Self::FieldValue(_) => "write it on one line".to_owned(),
            Self::Method(text) if text.chars().all(|c| c.is_ascii_lowercase()) => format!(
                "write {}: capitals matter in methods",
                text.to_ascii_uppercase()
            ),
            Self::Method(_) => "write a word like GET, POST or PROPFIND".to_owned(),
            Self::Path(error) => error.help(),
            Self::Beginning(_) => {
                "write whole segments from the first `/` on, without patterns: /api/v1".to_owned()
            }
            Self::Sources(..) => SOURCES.to_owned(),
            Self::Lifetime(_) => {
                "remove it: a file is read again when it has changed, and the rest stays".to_owned()
            }
            Self::Time(_) => "write a number and a unit: 30s, 5m, 1h".to_owned(),
            Self::Variable(_) => "write the name alone, without `$`".to_owned(),
            Self::Command(text) => match text.split_whitespace().collect::<Vec<_>>() {
                words if words.len() > 1 => {
                    format!("write a list, program first: [{}]", words.join(", "))
                }
                _ => "write a list, program first: [op, read, \"op://vault/item\"]".to_owned(),
            },
            Self::To { .. } => {
                "write \"https://NAME\" or \"http://NAME:PORT\"; `http.request.path` changes paths"
                    .to_owned()
            }
            Self::ToPlain => {
                "write `https://`, or let it be read on the way by `plaintext: allow`".to_owned()
            }
            Self::Anybody => "add `match.host`, or `http.to`: whoever has a certificate for any \
                 name would get it"
                .to_owned(),
            Self::Status(_) => "write a number like 200, 403 or 503".to_owned(),
            Self::RespondBeside(_) | Self::RejectBeside(_) => "remove one of the two".to_owned(),
            Self::NoRequests(_) => {
                "requests are seen by TCP, where `app` is http1 or http2, or tls that is opened"
                    .to_owned()
            }
            Self::NoTls(_) => {
                "remove one of the two; by TCP, `app` is tls, or http1 and http2 for what is inside"
                    .to_owned()
            }
        }
    }
}

/// The forms of a value.
pub(super) const SOURCES: &str = "write a text, or one of { literal: TEXT }, { env: NAME }, \
     { file: PATH } and { command: [PROGRAM, ARGUMENT] }, with `prefix` and `suffix` beside it";
