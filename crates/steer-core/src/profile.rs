//! What a method can and cannot do, as data.

use serde::Serialize;

use crate::address::Protocol;
use crate::intent::Intent;
use crate::key::Key;
use crate::method::Method;

/// What a method can do.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Profile {
    /// The method.
    pub method: Method,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Whether programs need not know of it.
    pub transparent: bool,
    /// The protocols that it steers.
    pub protocols: &'static [Protocol],
    /// The keys that it honours.
    pub keys: &'static [Key],
    /// What it needs, and while doing what.
    pub privileges: &'static [Privilege],
    /// Known limits, a sentence each.
    pub limits: &'static [&'static str],
}

/// A privilege that a method needs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Privilege {
    /// `CAP_NET_ADMIN`, for instance.
    pub what: &'static str,
    /// What it is needed for.
    pub why: &'static str,
}

impl Profile {
    /// The written keys that the method cannot honour.
    #[must_use]
    pub fn refused(&self, intent: &Intent) -> Vec<Key> {
        intent
            .keys()
            .into_iter()
            .filter(|key| !self.keys.contains(key))
            .collect()
    }
}
