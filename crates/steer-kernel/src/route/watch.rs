//! What others do to routes, rules and devices while something of ours is in force.
//!
//! The kernel's messages about changes (RTNLGRP_… of rtnetlink(7)) say only that something happened:
//! then everything that matters is looked at and compared with what was found before, so that no
//! message that is lost leaves a wrong picture. Default routes of others are told of as they come.

mod noticed;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use steer_core::object::{Domain, Object};
use steer_core::plan::{Netns, Planned};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

pub use self::noticed::Noticed;
use self::state::{is_about, lapses, look};
use super::entry;
use crate::drivers::netns::within;
use crate::netlink::message::messages;
use crate::netlink::{Netlink, Refused};
use crate::sys::socket::watched;

/// What is expected to stand, by whoever put it in force; clones are about the same.
#[derive(Clone, Debug, Default)]
pub struct Watched(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    expected: watch::Sender<BTreeMap<Netns, Vec<Object>>>,
    lapsed: Notify,
}

impl Watched {
    /// Expects the routes, rules and devices among these objects, whose symbols are resolved.
    #[must_use]
    pub fn new(objects: &[Planned]) -> Self {
        let watched = Self::default();
        watched.expect(objects);
        watched
    }

    /// Expects others instead; none while they are changed.
    pub fn expect(&self, objects: &[Planned]) {
        let mut places: BTreeMap<Netns, Vec<Object>> = BTreeMap::new();
        for planned in objects {
            // In a namespace of the command's own there is nobody else.
            let is_ours_alone = planned.netns == Netns::New;
            if matches!(planned.object.domain(), Domain::Device | Domain::Route) && !is_ours_alone {
                let place = places.entry(planned.netns.clone()).or_default();
                place.push(planned.object.clone());
            }
        }
        self.0.expected.send_replace(places);
    }

    /// Waits until a device has lost routes or addresses because it was down for a while, or too
    /// narrow for IPv6: whoever put them in force can do it again. Cancel safe.
    pub async fn lapsed(&self) {
        self.0.lapsed.notified().await;
    }

    /// Logs what is noticed; returns only where there is nothing to watch or nothing can be seen.
    pub async fn report(self) {
        let (noticed_tx, mut noticed_rx) = mpsc::channel(QUEUE);
        let watching = self.tell(noticed_tx);
        let logging = async {
            while let Some(noticed) = noticed_rx.recv().await {
                noticed.log();
            }
        };
        tokio::join!(watching, logging);
    }

    /// Sends what is noticed; returns as [`Watched::report`] does, or when nobody listens.
    pub async fn tell(self, noticed_tx: mpsc::Sender<Noticed>) {
        let mut places = JoinSet::new();
        for netns in self.places() {
            let (watched, noticed_tx) = (self.clone(), noticed_tx.clone());
            places.spawn(async move {
                if let Err(error) = watched.follow(&netns, &noticed_tx).await {
                    tracing::warn!(%error, "changes of routes by others are not noticed");
                }
            });
        }
        drop(noticed_tx);
        while places.join_next().await.is_some() {}
    }

    async fn follow(&self, netns: &Netns, noticed_tx: &mpsc::Sender<Noticed>) -> io::Result<()> {
        // Listens before it looks, so that nothing comes between.
        let (events, mut asking) = within(Domain::Route, netns, || {
            Ok::<_, Errno>((subscribe()?, Netlink::open(SockProtocol::NetlinkRoute)?))
        })
        .map_err(io::Error::other)??;
        let events = watched(events)?;
        // What others had before ours came is what the plan was made for.
        let mut known: BTreeSet<Noticed> = look(&mut asking, &self.of(netns))?
            .into_iter()
            .filter(Noticed::is_of_others)
            .collect();
        let mut expected = self.0.expected.subscribe();
        let mut buffer = vec![0; BUFFER];
        let (mut looks, mut told) = (true, Vec::new());
        // Devices that were in a state in which the kernel takes from them what it does not give
        // back; they may have been so between two looks.
        let mut lapsing = BTreeSet::new();
        loop {
            let ours = self.of(netns);
            // While ours is changed nothing is compared.
            if looks && !ours.is_empty() {
                let found = look(&mut asking, &ours)?;
                let lapses: BTreeSet<&str> = found.iter().filter_map(Noticed::lapsing).collect();
                lapsing.extend(lapses.iter().map(|name| (*name).to_owned()));
                let mut news: Vec<Noticed> = found.difference(&known).cloned().collect();
                if lapses.is_empty() && !lapsing.is_empty() {
                    let lapsed = std::mem::take(&mut lapsing);
                    if found.iter().any(Noticed::is_missing) {
                        // It went with the state, and nobody is to be blamed.
                        news.retain(|noticed| !noticed.is_missing());
                        let lapsed = lapsed.into_iter();
                        news.extend(lapsed.map(|name| Noticed::DeviceLapsed { name }));
                        self.0.lapsed.notify_one();
                    }
                }
                told.extend(news);
                known = found;
            }
            for noticed in told {
                if noticed_tx.send(noticed).await.is_err() {
                    return Ok(());
                }
            }
            let mut ready = tokio::select! {
                ready = events.readable() => ready?,
                _ = expected.changed() => {
                    (looks, told) = (true, Vec::new());
                    continue;
                }
            };
            (looks, told) = match ready.try_io(|fd| Ok(receive(fd.get_ref(), &mut buffer)?)) {
                Ok(Ok(length)) => {
                    let bytes = &buffer[..length];
                    let ours = self.of(netns);
                    lapsing.extend(messages(bytes).filter_map(|message| lapses(message, &ours)));
                    self.read(netns, &mut asking, bytes)?
                }
                // Messages were lost.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => (true, Vec::new()),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => (false, Vec::new()),
            };
        }
    }

    /// Whether messages are a reason to look, and what they say by themselves.
    fn read(
        &self,
        netns: &Netns,
        asking: &mut Netlink,
        bytes: &[u8],
    ) -> Result<(bool, Vec<Noticed>), Refused> {
        let expected = self.of(netns);
        let mut looks = false;
        let mut told = Vec::new();
        for message in messages(bytes) {
            looks |= is_about(message, &expected);
            let is_there = message.kind == libc::RTM_NEWROUTE;
            if !is_there && message.kind != libc::RTM_DELROUTE {
                continue;
            }
            if let Some(route) = entry::read(message)
                && route.is_default_of_others()
            {
                told.push(Noticed::default_route(asking, &route, is_there)?);
            }
        }
        Ok((looks, told))
    }

    fn of(&self, netns: &Netns) -> Vec<Object> {
        self.0
            .expected
            .borrow()
            .get(netns)
            .cloned()
            .unwrap_or_default()
    }

    fn places(&self) -> Vec<Netns> {
        self.0.expected.borrow().keys().cloned().collect()
    }
}

/// A socket that is told of changes in the calling thread's namespace.
fn subscribe() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let route = SockProtocol::NetlinkRoute;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, route)?;
    let groups = GROUPS.iter().fold(0, |all, group| all | 1 << (group - 1));
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(fd)
}

fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    recv(fd.as_fd().as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)
}

/// `RTNLGRP_` LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE.
const GROUPS: [u32; 7] = [1, 5, 7, 8, 9, 11, 19];
/// Larger than any message about one change.
const BUFFER: usize = 64 * 1024;
/// Whoever logs is never far behind.
const QUEUE: usize = 16;
