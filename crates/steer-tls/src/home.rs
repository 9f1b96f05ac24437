//! Paths that begin at the user's home.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The path that is meant: `~/` at its beginning is HOME. Without a home it stays as it is written,
/// and is not found.
pub(crate) fn expand(path: &Path) -> Cow<'_, Path> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) if home.is_absolute() => Cow::Owned(home.join(rest)),
        _ => Cow::Borrowed(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leading_tilde_is_the_home() {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        for (given, meant) in [
            ("~/ca.pem", home.join("ca.pem")),
            ("/etc/~/ca.pem", "/etc/~/ca.pem".into()),
            ("~x/ca.pem", "~x/ca.pem".into()),
            ("ca.pem", "ca.pem".into()),
        ] {
            assert_eq!(expand(Path::new(given)), meant);
        }
    }
}
