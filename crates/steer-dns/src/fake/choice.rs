use std::collections::HashSet;

use steer_core::address::{HostName, HostPattern};

/// Which names get a made-up address.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// `None` means every name.
    names: Option<Patterns>,
    except: Patterns,
}

/// Patterns in a form in which a long list costs no more than a short one.
#[derive(Clone, Debug, Default)]
struct Patterns {
    exact: HashSet<String>,
    below: HashSet<String>,
}

impl Choice {
    /// No names means every name.
    pub(crate) fn new<'a>(
        names: &[HostPattern],
        except: impl IntoIterator<Item = &'a HostPattern>,
    ) -> Self {
        Self {
            names: (!names.is_empty()).then(|| Patterns::of(names)),
            except: Patterns::of(except),
        }
    }

    pub(crate) fn takes(&self, host: &HostName) -> bool {
        let chosen = match &self.names {
            Some(names) => names.hold(host),
            None => !is_special(host),
        };
        chosen && !self.except.hold(host)
    }
}

impl Patterns {
    fn of<'a>(patterns: impl IntoIterator<Item = &'a HostPattern>) -> Self {
        let mut of = Self::default();
        for pattern in patterns {
            match pattern {
                HostPattern::Exact(name) => of.exact.insert(name.as_str().to_owned()),
                HostPattern::Below(apex) => of.below.insert(apex.as_str().to_owned()),
            };
        }
        of
    }

    fn hold(&self, host: &HostName) -> bool {
        let mut rest = host.as_str();
        if self.exact.contains(rest) {
            return true;
        }
        while let Some((_, parent)) = rest.split_once('.') {
            if self.below.contains(parent) {
                return true;
            }
            rest = parent;
        }
        false
    }
}

/// Names that mean something else than a host of the network: they are answered by this host
/// (RFC 6761), by neighbours (RFC 6762), or are about addresses.
fn is_special(host: &HostName) -> bool {
    let last = host.as_str().rsplit('.').next();
    matches!(last, Some("localhost" | "local" | "arpa" | "invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(names: &[&str], except: &[&str], host: &str) -> bool {
        let parse = |all: &[&str]| -> Vec<HostPattern> {
            all.iter().map(|text| text.parse().unwrap()).collect()
        };
        Choice::new(&parse(names), &parse(except)).takes(&HostName::new(host).unwrap())
    }

    #[test]
    fn a_choice_means_what_its_patterns_mean() {
        let names = ["a.example", "*.b.example"];
        for host in ["a.example", "x.b.example", "x.y.b.example"] {
            assert!(takes(&names, &[], host), "{host}");
        }
        for host in ["x.a.example", "b.example", "xb.example", "example"] {
            assert!(!takes(&names, &[], host), "{host}");
        }
        assert!(!takes(&names, &["*.b.example"], "x.b.example"));
        assert!(takes(&names, &["x.b.example"], "y.b.example"));
    }

    #[test]
    fn every_name_is_taken_where_none_is_chosen_but_for_special_ones() {
        assert!(takes(&[], &[], "anything.example") && takes(&[], &[], "host"));
        for host in ["localhost", "a.localhost", "printer.local", "resolver.arpa"] {
            assert!(!takes(&[], &[], host), "{host}");
        }
        assert!(
            takes(&["printer.local"], &[], "printer.local"),
            "as written"
        );
    }
}
