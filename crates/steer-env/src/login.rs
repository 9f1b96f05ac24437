//! The name and password that clients must give.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use steer_core::policy::{Credentials, SecretError};

/// Why the name and password cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// The password could not be read.
    #[error("the password of listen.auth could not be read")]
    Secret(#[source] SecretError),
    /// The name has a colon, which ends it in HTTP (RFC 7617, section 2).
    #[error("the user name of listen.auth holds a colon, which HTTP clients cannot send")]
    Colon,
}

/// A name and password to compare with.
pub(crate) struct Login {
    username: String,
    password: String,
}

impl Login {
    /// Reads the secret.
    pub(crate) fn read(credentials: &Credentials) -> Result<Self, LoginError> {
        if credentials.username.contains(':') {
            return Err(LoginError::Colon);
        }
        Ok(Self {
            username: credentials.username.clone(),
            password: credentials.password.reveal().map_err(LoginError::Secret)?,
        })
    }

    /// Whether a client gave this name and password.
    pub(crate) fn admits(&self, username: &[u8], password: &[u8]) -> bool {
        // Both are compared in full, so that the time does not tell which one was wrong.
        same(self.username.as_bytes(), username) & same(self.password.as_bytes(), password)
    }

    /// Whether the value of a `Proxy-Authorization` field gives this name and password
    /// (RFC 7617).
    pub(crate) fn admits_basic(&self, value: &[u8]) -> bool {
        let Some((scheme, token)) = split_once(value, b' ') else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return false;
        }
        STANDARD
            .decode(token.trim_ascii())
            .ok()
            .is_some_and(|pair| match split_once(&pair, b':') {
                Some((username, password)) => self.admits(username, password),
                None => false,
            })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

fn same(secret: &[u8], given: &[u8]) -> bool {
    let mut differences = u8::from(secret.len() != given.len());
    for (i, byte) in given.iter().enumerate() {
        differences |= byte ^ secret.get(i).copied().unwrap_or(0);
    }
    differences == 0
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = bytes.iter().position(|b| *b == at)?;
    Some((&bytes[..index], &bytes[index + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use steer_core::policy::Secret;

    fn login() -> Login {
        Login::read(&Credentials {
            username: "ann".to_owned(),
            password: Secret::Literal("a:b".to_owned()),
        })
        .unwrap()
    }

    #[test]
    fn only_the_whole_name_and_the_whole_password_are_admitted() {
        assert!(login().admits(b"ann", b"a:b"));
        for (username, password) in [
            ("ann", "a:"),
            ("ann", "a:b\0"),
            ("ann", ""),
            ("an", "a:b"),
            ("", ""),
            ("ANN", "a:b"),
        ] {
            let admitted = login().admits(username.as_bytes(), password.as_bytes());
            assert!(!admitted, "{username} {password}");
        }
    }

    #[test]
    fn a_basic_password_may_hold_a_colon_and_the_scheme_any_case() {
        let token = STANDARD.encode("ann:a:b");
        assert!(login().admits_basic(format!("bAsIc  {token}").as_bytes()));
        for wrong in [
            String::new(),
            "Basic".to_owned(),
            "Basic !!".to_owned(),
            token.clone(),
            format!("Bearer {token}"),
            format!("Basic {}", STANDARD.encode("ann")),
        ] {
            assert!(!login().admits_basic(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn a_name_that_http_clients_cannot_send_is_refused() {
        let read = Login::read(&Credentials {
            username: "a:b".to_owned(),
            password: Secret::Literal("c".to_owned()),
        });
        assert!(read.unwrap_err().to_string().contains("colon"));
    }

    #[test]
    fn a_login_shows_no_password() {
        assert!(!format!("{:?}", login()).contains("a:b"));
    }
}
