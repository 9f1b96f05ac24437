//! The journal: who steers what, on disk, written before anything is changed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::address::IdRange;
use crate::intent::{Scope, Selector};
use crate::keeper::Job;
use crate::object::Domain;
use crate::plan::Netns;

/// One steering, as the keeper writes it to `<run directory>/<instance>.json`.
///
/// The run directory is `$STEER_RUN_DIR`, else `/run/steer` for root, else
/// `$XDG_RUNTIME_DIR/steer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// What was asked for.
    pub job: Job,
    /// The engine.
    pub engine: ProcessId,
    /// The keeper.
    pub keeper: ProcessId,
    /// The network namespace in which the job was put in force, as `dev:inode`.
    pub netns: String,
    /// The other namespaces that the job has objects in, by their paths, each as `dev:inode`: a
    /// path may lead elsewhere by the time it is read again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespaces: BTreeMap<String, String>,
    /// How far it is.
    pub state: State,
    /// What the keeper could not undo, in its words: it has no terminal to say it on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}

impl Journal {
    /// The network namespaces that the job has objects in, as `dev:inode`.
    #[must_use]
    pub fn places(&self) -> BTreeSet<&str> {
        let objects = self.job.objects.iter();
        objects
            // Cgroups are in no network namespace.
            .filter(|planned| planned.object.domain() != Domain::Cgroup)
            .filter_map(|planned| self.place(&planned.netns))
            .collect()
    }

    /// What a namespace of the job is, as `dev:inode`.
    #[must_use]
    pub fn place(&self, netns: &Netns) -> Option<&str> {
        match netns {
            Netns::Here => Some(&self.netns),
            // Gone with the process that holds it: nothing there has to be found again.
            Netns::New => None,
            Netns::Path(path) => self.namespaces.get(path).map(String::as_str),
        }
    }
}

/// A process, told apart from a later one that got the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id.
    pub pid: u32,
    /// Its start time in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub started: u64,
}

/// How far a steering is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Being put in force: some objects may stand.
    Committing,
    /// In force.
    Engaged,
    /// The engine died; what `closed` leaves stands.
    Crashed,
    /// The engine ended in order; what `closed` leaves stands until the processes that the
    /// command left behind are gone.
    Lingering,
}

/// The keys in which two scopes name the same traffic of one network namespace, if they can at
/// all.
///
/// Whether both are in one namespace the caller knows: two keys may name the same one in two ways,
/// as a path and as a process, or one may be there already. What passes through a host
/// (`interface`), what comes to it (`inbound`) and what its sockets send are three things.
///
/// Every key of a scope must hold, so two scopes are apart as soon as one key that both write
/// has no value in common. Scopes with no key in common may overlap in a process that holds both,
/// which is named by the keys of either.
#[must_use]
pub fn overlap(a: &Scope, b: &Scope) -> Option<String> {
    if a.command || b.command {
        // A command's own cgroup is nobody else's; a wider scope around it is the user's choice.
        return None;
    }
    let (x, y) = (&a.of, &b.of);
    if x.is_empty() || y.is_empty() || way(x) != way(y) {
        return None;
    }
    let ids = |p: &[IdRange], q: &[IdRange]| {
        p.is_empty()
            || q.is_empty()
            || p.iter().any(|r| {
                q.iter()
                    .any(|s| r.first() <= s.last() && s.first() <= r.last())
            })
    };
    let cgroups = x.cgroup.is_empty()
        || y.cgroup.is_empty()
        || x.cgroup
            .iter()
            .any(|p| y.cgroup.iter().any(|q| nested(p, q) || nested(q, p)));
    // Of processes, descendants count as well; whether one is another's, numbers do not tell.
    let others =
        meet(&x.interface, &y.interface) && meet(&x.command, &y.command) && meet(&x.pid, &y.pid);
    if !(ids(&x.uid, &y.uid) && ids(&x.gid, &y.gid) && cgroups && others) {
        return None;
    }
    if excepted(a, b) || excepted(b, a) {
        return None;
    }
    let mut keys = Vec::new();
    for (name, written) in [
        ("host", x.host || y.host),
        ("cgroup", !x.cgroup.is_empty() || !y.cgroup.is_empty()),
        ("uid", !x.uid.is_empty() || !y.uid.is_empty()),
        ("gid", !x.gid.is_empty() || !y.gid.is_empty()),
        ("command", !x.command.is_empty() || !y.command.is_empty()),
        ("pid", !x.pid.is_empty() || !y.pid.is_empty()),
        (
            "interface",
            !x.interface.is_empty() || !y.interface.is_empty(),
        ),
        ("inbound", x.inbound || y.inbound),
        ("netns", x.netns.is_some() || y.netns.is_some()),
    ] {
        if written {
            keys.push(name);
        }
    }
    Some(keys.join(", "))
}

/// Whether two lists have a value in common, where an empty one means every value.
fn meet<T: PartialEq>(p: &[T], q: &[T]) -> bool {
    p.is_empty() || q.is_empty() || p.iter().any(|value| q.contains(value))
}

/// Where the packets that a selector means meet a namespace.
#[derive(PartialEq, Eq)]
enum Way {
    /// Sent by its sockets.
    Out,
    /// Addressed to it.
    In,
    /// On the way through it.
    Through,
}

fn way(selector: &Selector) -> Way {
    if selector.inbound {
        Way::In
    } else if selector.interface.is_empty() {
        Way::Out
    } else {
        Way::Through
    }
}

/// Whether one scope leaves out everybody whom the other means.
fn excepted(a: &Scope, b: &Scope) -> bool {
    let ids = |meant: &[IdRange], out: &[IdRange]| {
        let covers = |r: &IdRange, s: &IdRange| r.first() <= s.first() && s.last() <= r.last();
        !meant.is_empty() && meant.iter().all(|s| out.iter().any(|r| covers(r, s)))
    };
    let (out, meant) = (&a.except, &b.of);
    let names = |meant: &[String], out: &[String]| {
        !meant.is_empty() && meant.iter().all(|name| out.contains(name))
    };
    ids(&meant.uid, &out.uid)
        || ids(&meant.gid, &out.gid)
        || names(&meant.interface, &out.interface)
        || names(&meant.command, &out.command)
        || (!meant.cgroup.is_empty()
            && meant
                .cgroup
                .iter()
                .all(|p| out.cgroup.iter().any(|q| below(p, q))))
}

/// Whether a cgroup can be another one or below it. A unit's name says no path: it is taken to be
/// where systemd puts services, and wherever a path names it.
fn nested(p: &str, q: &str) -> bool {
    let placed = || below(&format!("system.slice/{p}"), q);
    let named = || q.split('/').any(|part| part == p);
    below(p, q) || is_unit(p) && (named() || placed())
}

/// Whether a text is the name of a unit that has processes, rather than a path.
fn is_unit(name: &str) -> bool {
    let ends = [".service", ".scope", ".socket", ".mount", ".swap"];
    !name.contains('/') && ends.iter().any(|end| name.ends_with(end))
}

/// Whether a cgroup is another one or below it.
fn below(p: &str, q: &str) -> bool {
    p == q || p.strip_prefix(q).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(of: &str) -> Selector {
        Selector {
            uid: vec![of.parse().unwrap()],
            ..Selector::default()
        }
    }

    fn scope(of: Selector) -> Scope {
        Scope {
            of,
            ..Scope::default()
        }
    }

    #[test]
    fn scopes_overlap_where_one_sender_can_be_in_both() {
        let host = scope(Selector {
            host: true,
            ..Selector::default()
        });
        let (low, high) = (scope(users("1000-1999")), scope(users("2000")));
        assert_eq!(overlap(&low, &high), None);
        assert_eq!(overlap(&low, &scope(users("1999"))).as_deref(), Some("uid"));
        assert_eq!(overlap(&host, &low).as_deref(), Some("host, uid"));
        assert_eq!(overlap(&host, &Scope::command()), None);
    }

    #[test]
    fn what_is_sent_passes_through_and_comes_in_does_not_overlap() {
        let through = |names: &[&str]| {
            scope(Selector {
                interface: names.iter().map(|n| (*n).to_owned()).collect(),
                ..Selector::default()
            })
        };
        let inbound = scope(Selector {
            inbound: true,
            ..Selector::default()
        });
        let host = scope(Selector {
            host: true,
            ..Selector::default()
        });
        let both = through(&["eth0", "eth1"]);
        for other in [&inbound, &host, &scope(users("0"))] {
            assert_eq!(overlap(&both, other), None);
        }
        assert_eq!(overlap(&inbound, &host), None);
        assert_eq!(overlap(&inbound, &inbound).as_deref(), Some("inbound"));
        assert_eq!(overlap(&both, &through(&["eth2"])), None);
        let shared = overlap(&both, &through(&["eth1", "eth2"]));
        assert_eq!(shared.as_deref(), Some("interface"));
    }

    #[test]
    fn a_whole_namespace_overlaps_what_is_meant_inside_it_however_it_is_named() {
        let of = |netns: &str, uid: &[&str]| {
            scope(Selector {
                netns: Some(netns.to_owned()),
                uid: uid.iter().map(|u| u.parse().unwrap()).collect(),
                ..Selector::default()
            })
        };
        let (all, some) = (of("web", &[]), of("/proc/7/ns/net", &["7"]));
        assert_eq!(overlap(&all, &some).as_deref(), Some("uid, netns"));
        assert_eq!(overlap(&of("web", &["8"]), &some), None);
        // The one whose engine is in there already.
        assert_eq!(
            overlap(&all, &scope(users("7"))).as_deref(),
            Some("uid, netns")
        );
    }

    #[test]
    fn programs_by_name_and_processes_by_number_are_apart_where_they_have_none_in_common() {
        let named = |names: &[&str]| {
            scope(Selector {
                command: names.iter().map(|name| (*name).to_owned()).collect(),
                ..Selector::default()
            })
        };
        let process = |pid: &[u32]| {
            scope(Selector {
                pid: pid.to_vec(),
                ..Selector::default()
            })
        };
        let (web, curl) = (named(&["curl", "wget"]), named(&["curl"]));
        assert_eq!(overlap(&web, &curl).as_deref(), Some("command"));
        assert_eq!(overlap(&curl, &named(&["git"])), None);
        assert_eq!(overlap(&process(&[7]), &process(&[8])), None);
        assert_eq!(
            overlap(&process(&[7, 8]), &process(&[8])).as_deref(),
            Some("pid")
        );
        // One process can be both.
        assert_eq!(
            overlap(&curl, &process(&[7])).as_deref(),
            Some("command, pid")
        );
        let mut host = scope(Selector {
            host: true,
            ..Selector::default()
        });
        assert_eq!(overlap(&host, &curl).as_deref(), Some("host, command"));
        host.except.command.push("curl".to_owned());
        assert_eq!(overlap(&host, &curl), None);
        assert!(overlap(&host, &web).is_some());
    }

    #[test]
    fn a_unit_is_where_its_name_says_whatever_its_path() {
        let at = |cgroup: &str| {
            scope(Selector {
                cgroup: vec![cgroup.to_owned()],
                ..Selector::default()
            })
        };
        let nginx = at("nginx.service");
        for (other, shared) in [
            ("nginx.service", true),
            ("system.slice/nginx.service", true),
            ("system.slice/nginx.service/workers", true),
            ("system.slice", true),
            ("system.slice/redis.service", false),
            ("redis.service", false),
            ("user.slice", false),
        ] {
            let other = at(other);
            assert_eq!(overlap(&nginx, &other).is_some(), shared, "{other:?}");
            assert_eq!(overlap(&other, &nginx).is_some(), shared, "{other:?}");
        }
    }

    #[test]
    fn whoever_is_excepted_can_be_another_instance_s() {
        let mut host = scope(Selector {
            host: true,
            ..Selector::default()
        });
        host.except = users("1000-1999");
        assert_eq!(overlap(&host, &scope(users("1500"))), None);
        assert_eq!(overlap(&scope(users("1500")), &host), None);
        assert!(overlap(&host, &scope(users("1500-2500"))).is_some());
        host.except.cgroup.push("web.slice".to_owned());
        let web = scope(Selector {
            cgroup: vec!["web.slice/blog".to_owned()],
            ..Selector::default()
        });
        assert_eq!(overlap(&host, &web), None);
    }
}
