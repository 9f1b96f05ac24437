//! Where a request goes, and above all where a secret may go.
//!
//! A program names the host of a request, and the address that it is sent to, and either may be a
//! lie. So a request that gets a secret goes to where the engine itself finds the name to be, and
//! the server there proves it by its certificate; without secrets it goes where the program wanted.
use steer_core::address::{Destination, HostName};
use steer_core::policy::{Http, Plaintext, Scheme, Target};
use steer_tls::ServerName;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Where its connection goes, by TLS where that was opened.
    Own,
    /// To where the engine finds a name to be.
    Found(Found),
}

/// A name that the engine looks up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) host: HostName,
    pub(super) port: u16,
    /// What the server proves by TLS; none where plain text is spoken.
    pub(super) proof: Option<ServerName<'static>>,
}

/// Why a request with a secret goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::engine) enum Guarded {
    /// No server could prove to be the one that is meant.
    #[error("the request does not name its host, so that no server can prove to be it")]
    NoName,
    /// No certificate can have the name.
    #[error("no server can prove a name like that of the request")]
    Unprovable,
    /// The server would send it back (RFC 9110, section 9.3.8).
    #[error("TRACE has the server show the request to the program, with what is put into it")]
    Traced,
}

/// Refuses a request whose response would show the program what a rule puts into it.
pub(super) fn keep(http: &Http, method: &str) -> Result<(), Guarded> {
    match http.has_secret() && method.eq_ignore_ascii_case("TRACE") {
        true => Err(Guarded::Traced),
        false => Ok(()),
    }
}

/// Where a request goes that a rule does this to. `host` is what it names, `port` what its
/// connection asks for, and `opened` whether it came by TLS.
pub(super) fn aim(
    http: &Http,
    host: Option<&HostName>,
    port: u16,
    opened: bool,
) -> Result<Aim, Guarded> {
    let secret = http.has_secret();
    let allowed = http.plaintext == Plaintext::Allow;
    if let Some(Target { scheme, host, port }) = &http.to {
        let proven = *scheme == Scheme::Https || secret && !allowed;
        let found = found(host, *port, *scheme == Scheme::Https, proven)?;
        return Ok(Aim::Found(found));
    }
    if !secret {
        return Ok(Aim::Own);
    }
    let host = host.ok_or(Guarded::NoName)?;
    Ok(Aim::Found(found(host, port, opened, opened || !allowed)?))
}

/// A name, at the port of TLS where plain text was meant and must not be.
fn found(host: &HostName, port: u16, asked: bool, proven: bool) -> Result<Found, Guarded> {
    let proof = match proven {
        true => Some(name_of(host).ok_or(Guarded::Unprovable)?),
        false => None,
    };
    Ok(Found {
        host: host.clone(),
        port: if proven && !asked && port == HTTP {
            HTTPS
        } else {
            port
        },
        proof,
    })
}

impl Found {
    pub(super) fn destination(&self) -> Destination {
        Destination::Name {
            host: self.host.clone(),
            port: self.port,
        }
    }

    /// How a request names it.
    pub(super) fn authority(&self) -> String {
        let usual = if self.proof.is_some() { HTTPS } else { HTTP };
        match self.port == usual {
            true => self.host.to_string(),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// A name as certificates have it; none where no certificate could.
pub(in crate::engine) fn name_of(host: &HostName) -> Option<ServerName<'static>> {
    ServerName::try_from(host.as_str().to_owned()).ok()
}

const HTTP: u16 = 80;
const HTTPS: u16 = 443;

#[cfg(test)]
mod tests {
    use steer_core::policy::{Edits, Value, ValueSource};

    use super::*;

    fn secret() -> Http {
        let source = ValueSource::Env("TOKEN".to_owned());
        let value = Value {
            source,
            prefix: "Bearer ".to_owned(),
            suffix: String::new(),
        };
        Http {
            request: Edits {
                set: vec![("authorization".to_owned(), value)],
                ..Edits::default()
            },
            ..Http::default()
        }
    }

    fn host(text: &str) -> HostName {
        HostName::new(text).unwrap()
    }

    fn scheme_of(found: &Found) -> Scheme {
        match found.proof {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        }
    }

    fn to(http: &Http, port: u16, opened: bool) -> (u16, Scheme) {
        let Ok(Aim::Found(found)) = aim(http, Some(&host("api.example")), port, opened) else {
            panic!("it is not looked up");
        };
        (found.port, scheme_of(&found))
    }

    #[test]
    fn what_gets_no_secret_goes_where_its_program_wanted() {
        for opened in [false, true] {
            assert_eq!(aim(&Http::default(), None, 80, opened), Ok(Aim::Own));
        }
    }

    #[test]
    fn a_secret_goes_by_tls_to_the_name_alone() {
        assert_eq!(to(&secret(), 80, false), (443, Scheme::Https));
        assert_eq!(to(&secret(), 8080, false), (8080, Scheme::Https));
        assert_eq!(to(&secret(), 443, true), (443, Scheme::Https));
        // A program that speaks TLS to port 80 means that port.
        assert_eq!(to(&secret(), 80, true), (80, Scheme::Https));
        assert_eq!(aim(&secret(), None, 443, true), Err(Guarded::NoName));
    }

    #[test]
    fn a_secret_goes_in_plain_text_only_where_that_was_allowed_and_never_from_tls() {
        let allowed = Http {
            plaintext: Plaintext::Allow,
            ..secret()
        };
        assert_eq!(to(&allowed, 80, false), (80, Scheme::Http));
        assert_eq!(to(&allowed, 443, true), (443, Scheme::Https));
        assert_eq!(aim(&allowed, None, 80, false), Err(Guarded::NoName));
    }

    #[test]
    fn another_target_is_the_name_that_counts() {
        let target = |scheme, port| Target {
            scheme,
            host: host("elsewhere.example"),
            port,
        };
        for (http, scheme, port, expected) in [
            (Http::default(), Scheme::Http, 80, (80, Scheme::Http)),
            (Http::default(), Scheme::Https, 8443, (8443, Scheme::Https)),
            (secret(), Scheme::Http, 80, (443, Scheme::Https)),
            (secret(), Scheme::Http, 8080, (8080, Scheme::Https)),
            (secret(), Scheme::Https, 443, (443, Scheme::Https)),
        ] {
            let http = Http {
                to: Some(target(scheme, port)),
                ..http
            };
            for opened in [false, true] {
                let Ok(Aim::Found(found)) = aim(&http, None, 1, opened) else {
                    panic!("it is looked up");
                };
                assert_eq!(found.host, host("elsewhere.example"));
                assert_eq!((found.port, scheme_of(&found)), expected);
            }
        }
    }

    #[test]
    fn a_name_is_written_with_its_port_where_that_is_not_the_usual_one() {
        let named = |port, proven| found(&host("a.example"), port, true, proven).unwrap();
        assert_eq!(named(443, true).authority(), "a.example");
        assert_eq!(named(80, false).authority(), "a.example");
        assert_eq!(named(80, true).authority(), "a.example:80");
    }

    #[test]
    fn a_name_that_no_certificate_can_have_gets_no_secret() {
        for name in ["-.example", "127.1"] {
            let aimed = aim(&secret(), Some(&host(name)), 80, false);
            if let Ok(Aim::Found(found)) = aimed {
                assert!(found.proof.is_some(), "{name}");
            }
        }
    }
}
