//! What can be wrong about an upstream alone.

/// What can be wrong about an upstream alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamFault {
    /// A time.
    #[error("{0:?} is not a time from 1ms to 60m")]
    Time(String),
    /// A number of something.
    #[error("{0:?} is not a number from 1 on")]
    Count(String),
    /// Upstreams that lead to each other and nowhere else.
    #[error("the upstreams go through each other in a circle: {}", .0.join(" -> "))]
    Circle(Vec<String>),
    /// An endpoint without a port, or with the port 0.
    #[error("{0:?} is not HOST:PORT")]
    Endpoint(String),
    /// Who resolves names, where nobody is asked for any.
    #[error("a `tcp://` upstream is asked for nothing, so that nobody there resolves a name")]
    NothingAsked,
    /// A certificate of ours for a proxy without a name.
    #[error("our certificate is shown by name, and the proxy is at a bare address")]
    Nameless,
}

impl UpstreamFault {
    /// What would be right.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Time(_) => "write a number and a unit: 500ms, 5s, 1m",
            Self::Count(_) => "write a whole number, or remove the key",
            Self::Circle(_) => "take `via` out of one of them: that one is reached directly",
            Self::Endpoint(_) => "write \"HOST:PORT\", with an IPv6 address in brackets",
            Self::Nameless => "write the name that the proxy's certificate is for as `tls.name`",
            Self::NothingAsked => "remove `resolve`",
        }
        .to_owned()
    }
}
