//! Network namespaces beside that of the engine: whoever finds one has every intake of the steering
//! listen there.
//!
//! ```text
//! a process of the scope ──┐                    ┌─> sockets ─> Want (each listener of the plan)
//! EVENTS of the hooks ─────┴─> Places::enter ───┼─> route of IPv6
//!                                               └─> PLACES: the hooks lead there
//! ```

mod reach;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use aya::maps::{HashMap as Map, MapData};
use nix::sys::resource::{Resource, getrlimit};
use steer_core::address::Protocol;
use steer_core::instance::Instance;
use steer_core::intake::Sockets;
use steer_core::intent::{Dial, Intent};
use steer_core::listen::listen;
use steer_core::mark::Mark;
use steer_core::netns::Inside;
use steer_core::object::{Listener, Reach};
use steer_core::policy::App;
use steer_kernel::cgroup::{CgroupTree, command_cgroup};
use tokio::sync::{mpsc, watch};

use super::identity::Identities;
use super::maps::{self, Maps};
use super::namespace::{self, Namespace};
use super::tries::Tries;
use crate::abi::{PLACE_V4, PLACE_V6, PLACES_MOST, Place};
use crate::plan;
use reach::{Reachable, route};

/// What an intake takes, wherever it does so.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) listener: Listener,
    pub(super) identities: Identities,
    pub(super) bypass: Mark,
    /// Whether what programs of other namespaces ask for is dialled from there.
    pub(super) dials_inside: bool,
}

/// Sockets of a namespace for one intake.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) sockets: Sockets,
    pub(super) inside: Inside,
    /// Closed when nobody is left in the namespace.
    pub(super) stay: watch::Receiver<()>,
}

/// The namespaces of one steering.
#[derive(Debug)]
pub(super) struct Places {
    /// Which steering it is.
    id: u32,
    intent: Intent,
    /// That of the engine.
    own: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    wants: Vec<(Want, mpsc::UnboundedSender<Opened>)>,
    map: Map<MapData, u64, Place>,
    known: HashMap<u64, Known>,
    tries: Tries,
    complaints: Tries,
}

/// A namespace in which all of them listen.
#[derive(Debug)]
struct Known {
    namespace: Namespace,
    place: Place,
    /// Whether nobody was in it when it was last looked at.
    deserted: bool,
    stay: watch::Sender<()>,
}

impl Want {
    pub(super) fn new(intent: &Intent, listener: Listener) -> Self {
        Self {
            listener,
            identities: Identities::new(intent.identify),
            bypass: intent.bypass,
            dials_inside: intent.dial != Some(Dial::Outside),
        }
    }
}

impl Places {
    /// Those of the steering that the maps are of, and whether nobody else has joined it before.
    pub(super) fn join(intent: &Intent, maps: &Maps) -> io::Result<(Arc<Self>, bool)> {
        let id = maps.id("TOKENS")?;
        let mut all = table();
        all.retain(|places| places.strong_count() > 0);
        let known = all.iter().filter_map(Weak::upgrade).find(|p| p.id == id);
        if let Some(known) = known {
            return Ok((known, false));
        }
        let map = Map::try_from(maps.open("PLACES")?).map_err(io::Error::other)?;
        let places = Arc::new(Self {
            id,
            intent: intent.clone(),
            own: namespace::cookie()?,
            state: Mutex::new(State {
                wants: Vec::new(),
                map,
                known: HashMap::new(),
                tries: Tries::every(LOOK_EVERY),
                complaints: Tries::every(COMPLAIN_EVERY),
            }),
        });
        all.push(Arc::downgrade(&places));
        Ok((places, true))
    }

    /// Whether programs of other namespaces are meant at all.
    pub(super) fn are_meant(&self) -> bool {
        plan::reach(&self.intent) == Reach::All
    }

    /// Has an intake listen in every namespace that is known or comes to be.
    pub(super) fn want(&self, want: Want) -> mpsc::UnboundedReceiver<Opened> {
        let (opened_tx, opened) = mpsc::unbounded_channel();
        let mut state = self.state();
        let State {
            wants, map, known, ..
        } = &mut *state;
        for (cookie, known) in known {
            let port = open(&want, known, &opened_tx);
            let port = port.inspect_err(|error| complain(&known.namespace, error));
            set_port(&mut known.place, &want.listener, port.unwrap_or(0));
            if let Err(error) = map.insert(cookie, known.place, 0) {
                complain(&known.namespace, &io::Error::other(error));
            }
        }
        wants.push((want, opened_tx));
        opened
    }

    /// Listens in the namespaces of the processes that are in the scope.
    pub(super) fn enter_all(&self) {
        let mut seen = std::collections::BTreeSet::new();
        for pid in self.processes() {
            if namespace::inode(pid).is_some_and(|inode| seen.insert(inode))
                && let Ok(namespace) = Namespace::of(pid)
            {
                self.enter(namespace);
            }
        }
    }

    /// Listens in the namespace that the hooks have seen a process try to connect from.
    pub(super) fn enter_of(&self, cookie: u64, pid: u32) {
        {
            let State { known, tries, .. } = &mut *self.state();
            if known.contains_key(&cookie) || !tries.may(cookie, Instant::now()) {
                return;
            }
        }
        match Namespace::seek(cookie, pid) {
            Some(namespace) => self.enter(namespace),
            None => tracing::debug!(cookie, pid, "a network namespace could not be found"),
        }
    }

    fn enter(&self, namespace: Namespace) {
        let mut state = self.state();
        let State {
            wants,
            map,
            known,
            complaints,
            ..
        } = &mut *state;
        let cookie = namespace.cookie;
        let mut complain = |namespace: &Namespace, error: &io::Error| {
            if complaints.may(cookie, Instant::now()) {
                complain(namespace, error);
            }
        };
        // The driver has told the hooks of the one that the plan is in.
        if cookie == self.own
            || known.contains_key(&cookie)
            || matches!(maps::found(map.get(&cookie, 0)), Ok(Some(_)))
        {
            return;
        }
        if known.len() >= places_most() {
            complain(
                &namespace,
                &io::Error::other("it is in too many of them already"),
            );
            return;
        }
        let mut entered = Known {
            namespace,
            place: Place::default(),
            deserted: false,
            stay: watch::Sender::new(()),
        };
        let done = self.open_all(wants, &mut entered).and_then(|()| {
            let inserted = map.insert(cookie, entered.place, 0);
            inserted.map_err(io::Error::other)
        });
        match done {
            Ok(()) => {
                tracing::info!(
                    inode = entered.namespace.inode,
                    "listening in another namespace"
                );
                known.insert(cookie, entered);
            }
            Err(error) => complain(&entered.namespace, &error),
        }
    }

    fn open_all(
        &self,
        wants: &[(Want, mpsc::UnboundedSender<Opened>)],
        known: &mut Known,
    ) -> io::Result<()> {
        if !known.namespace.within(reach::is_loopback_up)?? {
            return Err(io::Error::new(
                io::ErrorKind::NetworkDown,
                "its loopback device is down: `ip link set lo up` in it",
            ));
        }
        known.place.flags = PLACE_V4;
        for (want, opened_tx) in wants {
            let port = open(want, known, opened_tx)?;
            set_port(&mut known.place, &want.listener, port);
            if want
                .listener
                .addresses
                .iter()
                .any(std::net::IpAddr::is_ipv6)
            {
                known.place.flags |= PLACE_V6;
            }
        }
        if known.place.flags & PLACE_V6 != 0 {
            let set = known
                .namespace
                .within(|| route(&self.intent.instance, Reachable::Made))?;
            // Another one may have the same route. A namespace of IPv4 alone is common
            // (`net.ipv6.conf.all.disable_ipv6`).
            if let Err(error) = set
                && !reach::leads_to_tokens(&known.namespace.path(), self.intent.bypass)?
            {
                known.place.flags &= !PLACE_V6;
                tracing::info!(
                    inode = known.namespace.inode,
                    error = &error as &dyn std::error::Error,
                    "only IPv4 is steered in another namespace"
                );
            }
        }
        Ok(())
    }

    /// Forgets namespaces in which nobody has been for two looks.
    pub(super) fn tidy(&self) {
        let mut state = self.state();
        if state.known.is_empty() {
            return;
        }
        let inhabited = namespace::inhabited();
        let State { map, known, .. } = &mut *state;
        known.retain(|cookie, known| {
            let deserted = !inhabited.contains(&known.namespace.inode);
            let over = deserted && known.deserted;
            known.deserted = deserted;
            if over {
                known.leave(*cookie, map, &self.intent.instance);
            }
            !over
        });
    }

    /// The processes of the scope that run.
    fn processes(&self) -> Vec<u32> {
        let of = &self.intent.scope.of;
        let mut pids = of.pid.clone();
        let Ok(tree) = CgroupTree::open() else {
            return pids;
        };
        let below = tree.find("").unwrap_or_default();
        let made = command_cgroup(&self.intent.instance);
        let is_meant = |path: &str| {
            let mut above = std::iter::successors(Some(path), |path| {
                path.rsplit_once('/').map(|(above, _)| above)
            });
            above.any(|path| {
                let name = path.rsplit('/').next().unwrap_or(path);
                // A unit is written by its name alone.
                name == made || of.cgroup.iter().any(|c| c == path || c == name)
            })
        };
        for path in below.iter().filter(|path| is_meant(path)) {
            if let Ok(cgroup) = tree.cgroup(path) {
                pids.extend(cgroup.processes().unwrap_or_default());
            }
        }
        pids
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let instance = &self.intent.instance;
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (cookie, known) in state.known.drain() {
            known.leave(cookie, &mut state.map, instance);
        }
    }
}

impl Known {
    /// Has the hooks lead there no more, and takes the route away: the namespace may have a name that
    /// keeps it.
    fn leave(&self, cookie: u64, map: &mut Map<MapData, u64, Place>, instance: &Instance) {
        // The steering may be gone already, and its maps with it.
        if let Err(error) = maps::found(map.remove(&cookie)) {
            tracing::debug!(%error, "a namespace's place stays");
        }
        if self.place.flags & PLACE_V6 == 0 {
            return;
        }
        match self.namespace.within(|| route(instance, Reachable::Gone)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => complain(&self.namespace, &io::Error::other(error)),
            Err(error) => complain(&self.namespace, &error),
        }
    }
}

/// Opens the sockets of an intake in a namespace, and gives their port.
fn open(want: &Want, known: &Known, opened_tx: &mpsc::UnboundedSender<Opened>) -> io::Result<u16> {
    let wish = Listener {
        port: None,
        ..want.listener.clone()
    };
    let listening = known.namespace.within(|| listen(&wish))?;
    let (port, sockets) = listening.map_err(io::Error::other)?;
    sockets.mark(want.bypass)?;
    let opened = Opened {
        sockets,
        inside: Inside::of(&known.namespace.path())?,
        stay: known.stay.subscribe(),
    };
    // An intake that is gone takes nothing anywhere.
    Ok(if opened_tx.send(opened).is_ok() {
        port
    } else {
        0
    })
}

fn set_port(place: &mut Place, listener: &Listener, port: u16) {
    let slot = match (listener.protocol, listener.app) {
        (Protocol::Tcp, Some(App::Dns)) => &mut place.dns_streams,
        (Protocol::Udp, Some(App::Dns)) => &mut place.dns_datagrams,
        (Protocol::Tcp, _) => &mut place.streams,
        (Protocol::Udp, _) => &mut place.datagrams,
    };
    *slot = port;
}

fn complain(namespace: &Namespace, error: &io::Error) {
    tracing::warn!(
        inode = namespace.inode,
        %error,
        help = "programs in it are refused under closed and go direct under open; look for it with \
                `lsns -t net`, and check `ulimit -n`",
        "the engine could not listen in another network namespace"
    );
}

/// In how many namespaces to listen: each takes up to 16 descriptors, and connections need some as
/// well.
fn places_most() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(DESCRIPTORS, |(soft, _)| soft);
    let most = usize::try_from(limit / 32).unwrap_or(usize::MAX);
    most.min(PLACES_MOST.try_into().unwrap_or(usize::MAX))
}

/// The least time between two looks for one namespace.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The least time between two complaints of one.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The usual limit of descriptors.
const DESCRIPTORS: u64 = 1024;

/// The steerings of this process, as its descriptors are: the intakes of one find each other here.
fn table() -> MutexGuard<'static, Vec<Weak<Places>>> {
    static ALL: Mutex<Vec<Weak<Places>>> = Mutex::new(Vec::new());
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
