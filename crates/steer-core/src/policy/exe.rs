//! Program files that a rule asks for.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A program file, or a pattern of some: `*` stands for any characters, slashes included.
///
/// One that begins with a slash is compared with the whole path, any other, which has no slash,
/// with the last part of it.
///
/// ```
/// use std::path::Path;
/// use steer_core::policy::ExePattern;
///
/// let curl = Path::new("/usr/bin/curl");
/// for text in ["curl", "c*l", "/usr/bin/curl", "/usr/*"] {
///     assert!(text.parse::<ExePattern>().unwrap().matches(curl), "{text}");
/// }
/// assert!(!"/bin/curl".parse::<ExePattern>().unwrap().matches(curl));
/// assert!("bin/curl".parse::<ExePattern>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExePattern(String);

/// Why a text is no program file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither the absolute path of a program file nor a file's name")]
pub struct ExePatternError(pub String);

impl ExePattern {
    /// Whether the file is meant. One that was replaced while its program ran, as an update does,
    /// is the file that it was.
    #[must_use]
    pub fn matches(&self, exe: &Path) -> bool {
        let path = exe.as_os_str().as_bytes();
        // Said by the kernel in /proc/PID/exe (`d_path` of fs/d_path.c).
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        let compared = if self.0.starts_with('/') {
            path
        } else {
            path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
        };
        fits(self.0.as_bytes(), compared)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text fits a pattern whose stars stand for any bytes.
pub(super) fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where the last star is, and how much of the text stands for it so far: of several stars only
    // the last one may have to take more.
    let mut last: Option<(usize, usize)> = None;
    while read < text.len() {
        if pattern.get(at) == Some(&b'*') {
            last = Some((at, read));
            at += 1;
        } else if pattern.get(at) == Some(&text[read]) {
            at += 1;
            read += 1;
        } else if let Some((star, taken)) = last {
            last = Some((star, taken + 1));
            at = star + 1;
            read = taken + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl FromStr for ExePattern {
    type Err = ExePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let anchored = text.starts_with('/') || !text.contains('/');
        let is_file = !text.is_empty() && !text.ends_with('/');
        if !anchored || !is_file || text.contains(char::is_control) {
            return Err(ExePatternError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ExePattern {
    type Error = ExePatternError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ExePattern> for String {
    fn from(pattern: ExePattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for ExePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        pattern
            .parse::<ExePattern>()
            .unwrap()
            .matches(Path::new(path))
    }

    #[test]
    fn a_path_means_that_file_and_a_name_the_file_wherever_it_is() {
        for (pattern, path, meant) in [
            ("/usr/bin/curl", "/usr/bin/curl", true),
            ("/usr/bin/curl", "/opt/usr/bin/curl", false),
            ("/usr/bin/cur", "/usr/bin/curl", false),
            ("curl", "/usr/local/bin/curl", true),
            ("curl", "/usr/bin/libcurl", false),
            ("curl", "/curl/bin/wget", false),
            ("python3*", "/usr/bin/python3.12", true),
            ("python3*", "/usr/lib/python3/helper", false),
            ("/nix/store/*/bin/git", "/nix/store/abc-git/bin/git", true),
            ("/opt/*", "/opt/a/b/c", true),
            ("*", "/anything/at/all", true),
            ("/usr/bin/nginx", "/usr/bin/nginx (deleted)", true),
            ("nginx", "/usr/bin/nginx (deleted)", true),
        ] {
            assert_eq!(matches(pattern, path), meant, "{pattern} {path}");
        }
    }

    #[test]
    fn what_could_be_no_file_is_refused() {
        for text in ["", "bin/curl", "./curl", "/usr/bin/", "/", "cu\nrl"] {
            assert!(text.parse::<ExePattern>().is_err(), "{text:?}");
        }
    }

    /// What a star means, said as simply as it can be.
    fn simply(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|taken| simply(rest, &text[taken..])),
            Some((byte, rest)) => text.first() == Some(byte) && simply(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_star_stands_for_any_characters(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(fits(pattern, text), simply(pattern, text));
        }

        #[test]
        fn a_pattern_is_read_back_as_it_was_written(text in "[a-z*/. ]{1,12}") {
            if let Ok(pattern) = text.parse::<ExePattern>() {
                let json = serde_json::to_string(&pattern).unwrap();
                prop_assert_eq!(serde_json::from_str::<ExePattern>(&json).unwrap(), pattern);
            }
        }
    }
}
