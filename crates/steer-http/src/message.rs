//! The heads of messages, the same for every version of HTTP.

use crate::fields::Fields;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The version that it came by.
    pub version: Version,
    /// The method, as it was written.
    pub method: String,
    /// What it is for: `/path?query`, `*`, and of HTTP/1 `http://host/path` or `host:port` where it
    /// was written so. Of HTTP/2 the pseudo-field `:path`.
    pub target: String,
    /// Which host it is for: of HTTP/2 the pseudo-field `:authority`, else what the target or the
    /// field `host` says. Changing it changes where it came from.
    pub authority: Option<String>,
    /// The fields, without pseudo-fields.
    pub fields: Fields,
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The version that it came by.
    pub version: Version,
    /// The status code.
    pub status: u16,
    /// The fields, without pseudo-fields.
    pub fields: Fields,
}

impl Request {
    /// The path, without the query; none for `*` and `host:port`.
    ///
    /// ```
    /// use steer_http::{Fields, Request, Version};
    ///
    /// let mut request = Request {
    ///     version: Version::Http11,
    ///     method: "GET".to_owned(),
    ///     target: "/a/b?c=d".to_owned(),
    ///     authority: None,
    ///     fields: Fields::default(),
    /// };
    /// assert_eq!(request.path(), Some("/a/b"));
    /// request.target = "http://example.com?c".to_owned();
    /// assert_eq!(request.path(), Some("/"));
    /// request.target = "*".to_owned();
    /// assert_eq!(request.path(), None);
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        let target = self.target.as_str();
        let path = if target.starts_with('/') {
            target
        } else {
            let (_, rest) = target.split_once("://")?;
            match rest.find(['/', '?']) {
                Some(at) => &rest[at..],
                None => "/",
            }
        };
        match path.split_once('?') {
            Some(("", _)) => Some("/"),
            Some((path, _)) => Some(path),
            None => Some(path),
        }
    }
}
