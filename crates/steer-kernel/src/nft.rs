//! The nf_tables driver: rules by netlink, switched in one transaction, without any program.
//!
//! ```text
//! Ruleset ─ rule ─> expr, set ─┐
//!           table ─────────────┴ turn ─> Batch ─ socket ─> kernel
//!           list  <───────────────────────────── socket <─ kernel
//! ```
//!
//! Sets of networks, ports and ids are filled in a transaction before that one, which makes the
//! rules that look them up (`set.rs`). Should the second be refused, the first is taken back.
//!
//! A table that steers is *owned* by the driver's socket (`NFT_TABLE_F_OWNER`): nobody else can
//! change it, a foreign `nft flush ruleset` leaves it, and it vanishes when the last descriptor
//! of the socket closes. See [`NftDriver::lifeline`].

pub(crate) mod expr;
pub(crate) mod list;
mod marks;
pub(crate) mod probe;
pub(crate) mod rule;
pub(crate) mod set;
pub(crate) mod socket;
pub(crate) mod table;
mod turn;
mod wire;

use std::collections::BTreeMap;
use std::hash::RandomState;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use steer_core::driver::{Change, Driver, DriverError, Found, Lifeline};
use steer_core::instance::Instance;
use steer_core::object::{Domain, Object};
use steer_core::plan::Netns;
use steer_core::ruleset::{Role, Ruleset};

use self::list::SeenTable;
use self::rule::Unrenderable;
use self::socket::{Batch, Netlink, Refused};
use self::table::Table;
use self::turn::{Turn, is_ours};
use crate::cgroup::{CgroupError, CgroupTree};
use crate::drivers::netns::within;

/// Puts rules into nf_tables.
#[derive(Debug, Default)]
pub struct NftDriver {
    sockets: BTreeMap<Netns, Netlink>,
    cgroups: Option<CgroupTree>,
    /// Names sets by what they hold.
    names: RandomState,
}

impl NftDriver {
    /// A driver that opens its sockets when they are first needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The socket that owns what steers in a namespace, once the driver has worked there.
    ///
    /// The tables live until its last duplicate is closed, so whoever shall keep them alive beside
    /// this driver holds one.
    #[must_use]
    pub fn lifeline(&self, netns: &Netns) -> Option<BorrowedFd<'_>> {
        self.sockets.get(netns).map(Netlink::as_fd)
    }

    /// Does what `attempt` says on the namespace's rules as they stand, again whenever another
    /// program changes them in between.
    fn transact(
        &mut self,
        netns: &Netns,
        what: &str,
        mut attempt: impl FnMut(&mut Netlink, &mut Option<CgroupTree>) -> Result<Turn, Fault>,
    ) -> Result<(), DriverError> {
        let mut undo = Batch::default();
        let (socket, cgroups) = self.open(netns)?;
        let mut fault = Fault::Refused(Refused::Raced);
        for _ in 0..TURNS {
            let mut turn = || {
                let generation = socket.generation()?;
                let turn = attempt(socket, cgroups)?;
                if turn.ahead.is_empty() {
                    socket.commit(generation, &turn.change)?;
                    return Ok(None);
                }
                socket.commit(generation, &turn.ahead)?;
                Ok(Some(turn.undo))
            };
            match turn() {
                Ok(None) => return Ok(()),
                Ok(Some(made)) => undo.append(made),
                Err(Fault::Refused(Refused::Raced)) => {}
                Err(other) => {
                    fault = other;
                    break;
                }
            }
        }
        take_back(socket, &undo);
        Err(fault.explain(what))
    }

    fn open(
        &mut self,
        netns: &Netns,
    ) -> Result<(&mut Netlink, &mut Option<CgroupTree>), DriverError> {
        let Self {
            sockets,
            cgroups,
            names: _,
        } = self;
        if !sockets.contains_key(netns) {
            let socket = within(Domain::Nft, netns, Netlink::open)?
                .map_err(|errno| Fault::from(Refused::Socket(errno)).explain("open nf_tables"))?;
            sockets.insert(netns.clone(), socket);
        }
        let socket = sockets.get_mut(netns).expect("it was inserted above");
        Ok((socket, cgroups))
    }
}

impl Driver for NftDriver {
    fn domain(&self) -> Domain {
        Domain::Nft
    }

    fn set(&mut self, change: &Change<'_>) -> Result<(), DriverError> {
        let Change {
            instance,
            netns,
            from: _,
            to,
        } = *change;
        // What stands is asked of the kernel: it knows better than a predecessor that crashed.
        let wanted = tables(instance, to)?;
        let what = format!("change the rules of {instance}");
        let names = &self.names.clone();
        self.transact(netns, &what, |socket, cgroups| {
            let seen = list::tables(socket, NFPROTO_INET)?;
            let mut turn = Turn::default();
            for role in [Role::Guard, Role::Steer] {
                let name = table::name(instance, role);
                let standing = seen.iter().find(|table| table.name == name);
                let wanted = wanted.iter().find(|table| table.role == role);
                if let Some(seen) = standing
                    && !is_ours(seen, instance, role, socket.port(), wanted.is_some())?
                {
                    continue;
                }
                let mut locate = |path: &str| locate(cgroups, path);
                turn.push(socket, names, &mut locate, standing, wanted)?;
            }
            Ok(turn)
        })
    }

    fn observe(&mut self, netns: &Netns) -> Result<Vec<Found>, DriverError> {
        let (socket, _) = self.open(netns)?;
        for _ in 0..TURNS {
            let tables = match list::tables(socket, NFPROTO_INET) {
                Err(Refused::Raced) => continue,
                other => other.map_err(|e| Fault::from(e).explain("look for our tables"))?,
            };
            return Ok(tables
                .iter()
                .filter_map(|table| {
                    let (instance, role) = table.tag()?;
                    (table::name(&instance, role) == table.name).then(|| Found {
                        domain: Domain::Nft,
                        netns: netns.clone(),
                        instance: Some(instance),
                        role: Some(role),
                        what: format!("nft table inet {}", table.name),
                    })
                })
                .collect());
        }
        Err(Fault::from(Refused::Raced).explain("look for our tables"))
    }

    fn remove(&mut self, found: &Found) -> Result<(), DriverError> {
        let Found {
            domain: _,
            netns,
            instance,
            role,
            what,
        } = found;
        let Some(instance) = instance else {
            return Ok(());
        };
        let role = role.unwrap_or(Role::Steer);
        self.transact(netns, &format!("remove {what}"), |socket, _| {
            let seen = list::tables(socket, NFPROTO_INET)?;
            let name = table::name(instance, role);
            let mut turn = Turn::default();
            if let Some(seen) = seen.iter().find(|table| table.name == name)
                && is_ours(seen, instance, role, socket.port(), false)?
            {
                table::push_delete(&mut turn.change, NFPROTO_INET, &name);
            }
            Ok(turn)
        })
    }

    fn lifelines(&self) -> io::Result<Vec<Lifeline>> {
        let mut lifelines = Vec::new();
        for (netns, socket) in &self.sockets {
            lifelines.push(Lifeline {
                domain: Domain::Nft,
                netns: netns.clone(),
                label: "table".to_owned(),
                fd: socket.as_fd().try_clone_to_owned()?,
            });
        }
        Ok(lifelines)
    }

    fn adopt(&mut self, lifeline: Lifeline) {
        let Lifeline {
            domain: _,
            netns,
            label: _,
            fd,
        } = lifeline;
        match Netlink::adopt(fd) {
            Ok(socket) => {
                self.sockets.insert(netns, socket);
            }
            // Without it the tables are found owned by another, which the next change reports.
            Err(errno) => tracing::warn!(%errno, "a lifeline of nf_tables cannot be used"),
        }
    }
}

/// Takes back what was made ahead of a change that failed.
fn take_back(socket: &mut Netlink, undo: &Batch) {
    for _ in 0..TURNS {
        let done = socket
            .generation()
            .and_then(|generation| socket.commit(generation, undo));
        match done {
            Err(Refused::Raced) => {}
            Ok(()) => return,
            // Nothing looks them up, and the next change replaces them.
            Err(error) => {
                tracing::warn!(%error, "sets of a change that failed could not be removed");
                return;
            }
        }
    }
}

/// The wanted tables: the rulesets by role.
fn tables<'a>(instance: &'a Instance, to: &'a [Object]) -> Result<Vec<Table<'a>>, DriverError> {
    let mut by_role: BTreeMap<Role, Vec<&Ruleset>> = BTreeMap::new();
    for object in to {
        match object {
            Object::Nft(ruleset) => by_role.entry(ruleset.role).or_default().push(ruleset),
            other => {
                return Err(DriverError::new(
                    Domain::Nft,
                    format!("the nft driver cannot make {other}"),
                    MISTAKE,
                ));
            }
        }
    }
    Ok(by_role
        .into_iter()
        .map(|(role, rulesets)| Table {
            instance,
            role,
            rulesets,
        })
        .collect())
}

fn locate(tree: &mut Option<CgroupTree>, path: &str) -> Result<(u32, u64), Unrenderable> {
    let look = |tree: &mut Option<CgroupTree>| -> Result<(u32, u64), CgroupError> {
        if tree.is_none() {
            *tree = Some(CgroupTree::open()?);
        }
        let cgroup = tree.as_ref().expect("it was opened above").cgroup(path)?;
        Ok((cgroup.level(), cgroup.id()?))
    };
    look(tree).map_err(Unrenderable::Cgroup)
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("table inet {} belongs to another program", .0.name)]
    Foreign(SeenTable),
    #[error("table inet {} belongs to a process that runs (netlink port {})", .0.name, .0.owner.unwrap_or_default())]
    Owned(SeenTable),
    #[error(transparent)]
    Unrenderable(#[from] Unrenderable),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Fault {
    fn help(&self) -> String {
        match self {
            Self::Foreign(table) => format!(
                "look at it with nft list table inet {0}; choose another instance name, or delete it: nft delete table inet {0}",
                table.name
            ),
            Self::Owned(_) => "stop the steer process that uses this instance name (the netlink port is usually its process id), or choose another name".to_owned(),
            Self::Unrenderable(Unrenderable::Cgroup(error)) => error.help().to_owned(),
            Self::Unrenderable(
                Unrenderable::NoProtocol { .. }
                | Unrenderable::Mixed { .. }
                | Unrenderable::Unbound { .. }
                | Unrenderable::Interface { .. },
            ) => MISTAKE.to_owned(),
            Self::Refused(Refused::Raced) => {
                "another program keeps changing the rules; find it with nft monitor, then try again"
                    .to_owned()
            }
            Self::Refused(Refused::Message { errno, .. } | Refused::Socket(errno)) => {
                help_with(*errno).to_owned()
            }
        }
    }

    fn explain(self, what: &str) -> DriverError {
        let text = match &self {
            Self::Foreign(_) | Self::Owned(_) => format!("could not {what}: {self}"),
            Self::Refused(
                Refused::Message {
                    errno: Errno::EPERM,
                    ..
                }
                | Refused::Socket(Errno::EPERM),
            ) => {
                format!("could not {what}: changing rules needs CAP_NET_ADMIN")
            }
            Self::Unrenderable(_) | Self::Refused(_) => format!("could not {what} in nf_tables"),
        };
        let help = self.help();
        DriverError::new(Domain::Nft, text, help).because(self)
    }
}

fn help_with(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM | Errno::EACCES => {
            "run as root, or as a service that is given it: AmbientCapabilities=CAP_NET_ADMIN"
        }
        Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT => {
            "the kernel lacks a part of nf_tables (5.13 or later is needed): modprobe -a nf_tables nft_chain_nat nft_redir nft_reject_inet nft_socket nft_tproxy nft_fib_inet nft_ct"
        }
        Errno::EEXIST | Errno::EBUSY => "another program made the same thing meanwhile: try again",
        Errno::ENOMEM | Errno::ENOBUFS | Errno::EMSGSIZE => {
            "the kernel has no memory for that many rules: use fewer, larger networks"
        }
        _ => "look at the cause above and at the rules: nft list ruleset",
    }
}

const MISTAKE: &str = "this is a mistake in steer: please report it with the output of steer plan";
pub(crate) const NFPROTO_INET: u8 = 1;
/// How often a change is tried while other programs change rules too.
const TURNS: u32 = 64;
