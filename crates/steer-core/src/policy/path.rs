//! Paths of requests, and patterns of some.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::exe::fits;

/// A path of a request in the one form that all its spellings have (RFC 3986, section 6.2.2), so
/// that no other spelling of a path passes by the rule for it.
///
/// Unreserved characters are not encoded, what is encoded has capital digits, and there are no dot
/// segments. An encoded slash stays encoded, and two slashes in a row stay two. Servers differ in
/// what they make of these, so such a path is known in its other readings as well: with slashes
/// merged, and with what is an encoded slash, a backslash or a parameter (`;x`) to some taken as
/// that.
///
/// ```
/// use steer_core::policy::NormalPath;
///
/// for (text, normal) in [
///     ("/a/../admin", "/admin"),
///     ("/%61dmin", "/admin"),
///     ("/a/%2e%2e/b", "/b"),
///     ("/a%2fb", "/a%2Fb"),
///     ("", "/"),
/// ] {
///     assert_eq!(NormalPath::of(text).unwrap().as_str(), normal);
/// }
/// assert!(NormalPath::of("/100%").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'a> {
    normal: Cow<'a, str>,
    /// What else servers may read.
    others: Vec<String>,
}

impl<'a> NormalPath<'a> {
    /// The form of a path without its query; none of one that has `%` without two digits behind
    /// it, which servers read in ways that cannot be told, and of one that does not begin with `/`.
    #[must_use]
    pub fn of(path: &'a str) -> Option<Self> {
        if path.is_empty() {
            return Some(Self {
                normal: Cow::Borrowed("/"),
                others: Vec::new(),
            });
        }
        if !path.starts_with('/') {
            return None;
        }
        let spelt = spelt(path)?;
        let others = others(&spelt);
        let normal = match spelt {
            Cow::Borrowed(path) if !has_dots(path) => Cow::Borrowed(path),
            other => Cow::Owned(without_dots(&other)),
        };
        Some(Self { normal, others })
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.normal
    }

    /// What servers may read, the normal form first.
    fn readings(&self) -> impl Iterator<Item = &str> {
        let others = self.others.iter().map(String::as_str);
        std::iter::once(&*self.normal).chain(others)
    }
}

/// Whether a path has what servers read in different ways.
fn is_doubtful(spelt: &str) -> bool {
    let signs = ["//", "%2F", "%5C", ";"];
    signs.iter().any(|sign| spelt.contains(sign))
}

/// What servers may make of a path beside its normal form.
fn others(spelt: &str) -> Vec<String> {
    if !is_doubtful(spelt) {
        return Vec::new();
    }
    let merged = |path: &str| {
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let mut merged: String = segments.flat_map(|segment| ["/", segment]).collect();
        if path.ends_with('/') {
            merged.push('/');
        }
        without_dots(&merged)
    };
    let decoded = spelt.replace("%2F", "/").replace("%5C", "/");
    let plain = |segment| str::split(segment, ';').next().unwrap_or(segment);
    let bare: Vec<&str> = decoded.split('/').map(plain).collect();
    vec![merged(spelt), merged(&decoded), merged(&bare.join("/"))]
}

/// A path with `*` for any text, `/` too; compared with the normal form of a request's path.
///
/// ```
/// use steer_core::policy::{NormalPath, PathPattern};
///
/// let pattern: PathPattern = "/admin*".parse().unwrap();
/// assert!(pattern.matches(&NormalPath::of("/x/../admin/users").unwrap()));
/// assert!(!pattern.matches(&NormalPath::of("/x/admin").unwrap()));
/// assert!("admin".parse::<PathPattern>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern(String);

/// Why a text is no pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// It begins with something else.
    #[error("the path {0:?} begins with neither `/` nor `*`")]
    Start(String),
    /// It has a query or a fragment.
    #[error("the path {0:?} holds `{1}`, and what begins there is no part of a path")]
    Query(String, char),
    /// It has a percent sign that encodes nothing.
    #[error("the path {0:?} has a `%` without two hexadecimal digits behind it")]
    Percent(String),
    /// No path could fit it.
    #[error("the path {0:?} has a segment `.` or `..`, which paths are compared without")]
    Dots(String),
}

impl PathPatternError {
    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Start(text) => {
                format!("write \"/{text}\", or \"*/{text}\" for every path that ends so")
            }
            Self::Query(text, at) => format!(
                "write {:?}: rules look at paths alone",
                text.split(*at).next().unwrap_or_default()
            ),
            Self::Percent(_) => "write a percent sign as %25".to_owned(),
            Self::Dots(_) => "write the path that is meant".to_owned(),
        }
    }
}

impl PathPattern {
    /// Whether a path is meant, however a server reads it; a pattern that holds such a sign itself
    /// means the path as it is.
    #[must_use]
    pub fn matches(&self, path: &NormalPath<'_>) -> bool {
        if is_doubtful(&self.0) {
            return self.fits(path.as_str());
        }
        path.readings().all(|reading| self.fits(reading))
    }

    /// Whether a path may be meant: to some servers it is.
    ///
    /// ```
    /// use steer_core::policy::{NormalPath, PathPattern};
    ///
    /// let pattern: PathPattern = "/admin*".parse().unwrap();
    /// for path in ["//admin", "/x/..%2fadmin", "/x/..;/admin", "/%5cadmin"] {
    ///     let path = NormalPath::of(path).unwrap();
    ///     assert!(pattern.may_match(&path) && !pattern.matches(&path));
    /// }
    /// ```
    #[must_use]
    pub fn may_match(&self, path: &NormalPath<'_>) -> bool {
        path.readings().any(|reading| self.fits(reading))
    }

    fn fits(&self, path: &str) -> bool {
        fits(self.0.as_bytes(), path.as_bytes())
    }

    /// Whether every path is meant, and a request without one too (`OPTIONS *`, `CONNECT`).
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PathPattern {
    type Err = PathPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.starts_with(['/', '*']) {
            return Err(PathPatternError::Start(text.to_owned()));
        }
        if let Some(at) = text.chars().find(|c| matches!(c, '?' | '#')) {
            return Err(PathPatternError::Query(text.to_owned(), at));
        }
        let Some(spelt) = spelt(text) else {
            return Err(PathPatternError::Percent(text.to_owned()));
        };
        if has_dots(&spelt) {
            return Err(PathPatternError::Dots(text.to_owned()));
        }
        Ok(Self(spelt.into_owned()))
    }
}

impl TryFrom<String> for PathPattern {
    type Error = PathPatternError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text with every character encoded that has to be, none that has not, and capital digits.
fn spelt(text: &str) -> Option<Cow<'_, str>> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !ENCODED.contains(&byte);
    if text.bytes().all(plain) {
        return Some(Cow::Borrowed(text));
    }
    let mut spelt = String::with_capacity(text.len() + 16);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let meant = match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other if plain(other) => {
                spelt.push(char::from(other));
                continue;
            }
            other => other,
        };
        if meant.is_ascii_alphanumeric() || b"-._~".contains(&meant) {
            spelt.push(char::from(meant));
        } else {
            spelt.push('%');
            for digit in [meant >> 4, meant & 15] {
                spelt.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    Some(Cow::Owned(spelt))
}

fn hex(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

fn has_dots(path: &str) -> bool {
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// A path without its dot segments (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/').skip(1) {
        ends_open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if ends_open || normal.is_empty() {
        normal.push('/');
    }
    normal
}

/// What a path does not hold as it is (RFC 3986, sections 2.2 and 3.3), and the sign that encodes.
const ENCODED: &[u8] = b"%\"<>\\^`{|}";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(path: &str) -> String {
        NormalPath::of(path).unwrap().as_str().to_owned()
    }

    #[test]
    fn spellings_of_a_path_are_one() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/./b/../c", "/a/c"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/%2E%2e/a", "/a"),
            ("/a%2F..%2Fb", "/a%2F..%2Fb"),
            ("/a%2f", "/a%2F"),
            ("//a", "//a"),
            ("/a//../b", "/a/b"),
            ("/ä b", "/%C3%A4%20b"),
            ("/%c3%a4", "/%C3%A4"),
            ("/a\\b", "/a%5Cb"),
            ("/%7euser/%41", "/~user/A"),
            ("/a;b=c,d@e:f!$&'()*+", "/a;b=c,d@e:f!$&'()*+"),
            ("/...", "/..."),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
    }

    #[test]
    fn a_path_that_cannot_be_read_has_no_normal_form() {
        for path in ["/%", "/%4", "/%zz", "/a%2", "/%%41", "a", "*"] {
            assert_eq!(NormalPath::of(path), None, "{path}");
        }
    }

    #[test]
    fn a_pattern_is_compared_in_the_same_form() {
        for (pattern, path, fits) in [
            ("/admin*", "/a/../admin", true),
            ("/admin*", "/%61dmin/x", true),
            ("/admin*", "/x/admin", false),
            ("/%61dmin", "/admin", true),
            ("/a%2fb", "/a%2Fb", true),
            ("/a%2fb", "/a/b", false),
            ("/ä*", "/%c3%a4/x", true),
            ("*.png", "/x/y.png", true),
            ("/v1/*", "/v1", false),
            ("/v1/*", "/v1/", true),
            ("*", "/", true),
        ] {
            let pattern: PathPattern = pattern.parse().unwrap();
            let path = NormalPath::of(path).unwrap();
            assert_eq!(pattern.matches(&path), fits, "{pattern} {path:?}");
        }
    }

    #[test]
    fn what_no_path_could_be_is_no_pattern() {
        for text in [
            "",
            "a",
            "/a?b",
            "/a#b",
            "/100%",
            "/a/../b",
            "/%2e%2e/b",
            "/a/.",
        ] {
            let error = text.parse::<PathPattern>().unwrap_err();
            assert!(!error.help().is_empty(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_path_is_its_own_normal_form(path in "/[a./%2e]{0,20}") {
            if let Some(normal) = NormalPath::of(&path) {
                let again = NormalPath::of(normal.as_str());
                let again = again.as_ref().map(NormalPath::as_str);
                prop_assert_eq!(again, Some(normal.as_str()));
                prop_assert!(!has_dots(normal.as_str()));
            }
        }

        #[test]
        fn a_normal_path_is_plain_ascii_that_begins_with_a_slash(path in "\\PC{0,20}") {
            if let Some(normal) = NormalPath::of(&format!("/{path}")) {
                prop_assert!(normal.as_str().starts_with('/'));
                prop_assert!(normal.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
