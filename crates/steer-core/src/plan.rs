//! What would be done to the host, before anything is done.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::method::Method;
use crate::object::{Domain, Namespace, Object};
use crate::ruleset::Test;
use crate::symbol::{Bindings, CgroupRef, MarkRef, NameSet, Unbound};

/// Typed objects in the order in which they are made.
///
/// Equal inputs give equal plans. Plans concatenate ([`Plan::join`]), so that methods compose
/// without knowing each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The method that made it.
    pub method: Method,
    /// What has to exist.
    pub objects: Vec<Planned>,
    /// What the reader should know: the strictest that was chosen where nothing was written, and
    /// what is not covered.
    pub notes: Vec<String>,
}

/// An object with its place and its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The network namespace that it lives in.
    pub netns: Netns,
    /// What becomes of it when steering ends.
    pub life: Life,
    /// The object.
    pub object: Object,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Netns {
    /// The one that steer was started in.
    Here,
    /// One that has a path, `/run/netns/name` or `/proc/PID/ns/net`.
    Path(String),
    /// The one that is made for the command ([`Object::Namespace`]).
    New,
}

/// What becomes of an object when steering ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// Carries others; made first, removed last, left while a guard needs it.
    Support,
    /// Refuses what is not steered; outlives a crash.
    Guard,
    /// Steers; made last, removed first, never outlives the engine.
    Steer,
}

impl Plan {
    /// An empty plan.
    #[must_use]
    pub const fn new(method: Method) -> Self {
        Self {
            method,
            objects: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds an object in the namespace that steer was started in.
    pub fn push(&mut self, life: Life, object: Object) {
        self.objects.push(Planned {
            netns: Netns::Here,
            life,
            object,
        });
    }

    /// Adds what the reader should know.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// This plan followed by another.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        let Self {
            method: _,
            objects,
            notes,
        } = other;
        self.objects.extend(objects);
        self.notes.extend(notes);
        self
    }

    /// The namespace that is made for the command, where the plan has one.
    #[must_use]
    pub fn namespace(&self) -> Option<&Namespace> {
        self.objects.iter().find_map(|p| match &p.object {
            Object::Namespace(namespace) => Some(namespace),
            _ => None,
        })
    }

    /// Adds an object in the namespace that is made for the command.
    pub fn push_inside(&mut self, life: Life, object: Object) {
        self.objects.push(Planned {
            netns: Netns::New,
            life,
            object,
        });
    }

    /// Whether something of this host itself is changed: rules, routes, cgroups. What is in a
    /// namespace of the command's own is not.
    #[must_use]
    pub fn changes_the_host(&self) -> bool {
        self.objects.iter().any(|p| {
            p.netns != Netns::New
                && !matches!(
                    p.object.domain(),
                    Domain::Listener | Domain::Child | Domain::Namespace
                )
        })
    }

    /// Whether the plan needs a cgroup for the command.
    #[must_use]
    pub fn wants_command_cgroup(&self) -> bool {
        self.objects
            .iter()
            .any(|p| p.object == Object::Cgroup(CgroupRef::Command))
    }

    /// Whether the plan's packets carry a mark of the instance's own.
    #[must_use]
    pub fn wants_slot(&self) -> bool {
        !self.marked_in().is_empty()
    }

    /// The namespaces in which the plan's packets carry a mark of the instance's own, each once.
    #[must_use]
    pub fn marked_in(&self) -> Vec<Netns> {
        let marks = |p: &&Planned| match &p.object {
            Object::Rule(rule) => rule.mark == MarkRef::Steer,
            Object::Nft(rules) | Object::Iptables(rules, _) => rules.marks(),
            _ => false,
        };
        let marking = self.objects.iter().filter(marks);
        let places: BTreeSet<&Netns> = marking.map(|p| &p.netns).collect();
        places.into_iter().cloned().collect()
    }

    /// The names that its rules follow.
    #[must_use]
    pub fn followed(&self) -> BTreeSet<NameSet> {
        let hooks = self.objects.iter().filter_map(|p| match &p.object {
            Object::Hooks(hooks) => Some(hooks.followed()),
            _ => None,
        });
        let rulesets = self.objects.iter().filter_map(|p| match &p.object {
            Object::Nft(rules) | Object::Iptables(rules, _) => Some(rules),
            _ => None,
        });
        rulesets
            .flat_map(|rules| &rules.chains)
            .flat_map(|chain| &chain.rules)
            .flat_map(|rule| &rule.tests)
            .filter_map(|test| match test {
                Test::ToNames(names, _) => Some(*names),
                _ => None,
            })
            .chain(hooks.flatten())
            .collect()
    }

    /// What the host's drivers make, symbols replaced, in the order of lives: support, guard,
    /// steer. Listeners and child settings are not the host's.
    pub fn host_objects(&self, bindings: &Bindings) -> Result<Vec<Planned>, Unbound> {
        let mut objects = self
            .objects
            .iter()
            .filter(|p| {
                !matches!(
                    p.object.domain(),
                    Domain::Listener | Domain::Child | Domain::Namespace
                )
            })
            .map(|p| {
                Ok(Planned {
                    object: p.object.resolve(bindings)?,
                    ..p.clone()
                })
            })
            .collect::<Result<Vec<_>, Unbound>>()?;
        objects.sort_by_key(|p| p.life);
        Ok(objects)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "method {}", self.method)?;
        for planned in &self.objects {
            writeln!(f, "{planned}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.netns {
            Netns::Here => {}
            Netns::Path(path) => write!(f, "[{path}] ")?,
            Netns::New => write!(f, "[inside] ")?,
        }
        self.object.fmt(f)
    }
}
