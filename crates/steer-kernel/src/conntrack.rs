//! The kernel's connection tracking, asked by netlink (`linux/netfilter/nfnetlink_conntrack.h`).
//!
//! A rule that redirects rewrites where a packet goes; the entry of its connection is the only
//! place that still knows where it was meant to go.

mod tuple;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;
use steer_core::address::{Family, Protocol, canonical};
use steer_core::mark::Mark;

use self::tuple::Tuple;
use crate::netlink::Netlink;
use crate::netlink::message::{Body, Message};

/// A connection to the connection tracking of one network namespace.
///
/// Opening it and asking needs CAP_NET_ADMIN.
#[derive(Debug)]
pub struct Conntrack {
    // One request at a time: an answer belongs to the request before it.
    socket: Mutex<Netlink>,
}

impl Conntrack {
    /// Opens the connection in the namespace of the calling thread, where it stays.
    ///
    /// For another namespace, open it by [`steer_core::netns::within`].
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: Mutex::new(Netlink::open(SockProtocol::NetlinkNetFilter)?),
        })
    }

    /// Where a flow was meant to go that a redirection brought to a listener of ours.
    ///
    /// `client` is the sender as the listener sees it, `listener` the address that its packet came
    /// to (not the unspecified one). `None` where no such flow is known or nothing was rewritten.
    /// The kernel finds the entry by its hash: two system calls, and no search.
    pub fn original(
        &self,
        protocol: Protocol,
        client: SocketAddr,
        listener: SocketAddr,
    ) -> io::Result<Option<SocketAddr>> {
        let reply = Tuple {
            protocol,
            source: canonical(listener),
            destination: canonical(client),
        };
        let body = header(reply.family()).nest(CTA_TUPLE_REPLY, |body| reply.write(body));
        let asked = self
            .socket()
            .look_up(GET, &body, |message| read(message, CTA_TUPLE_ORIG));
        match asked {
            Ok(original) => Ok(original
                .map(|tuple| tuple.destination)
                .filter(|destination| *destination != reply.source)),
            Err(refused) if refused.errno() == Some(Errno::ENOENT) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    /// The flows that carry one of these marks: who began each, and where it was meant to go.
    pub fn marked(
        &self,
        protocol: Protocol,
        marks: &[Mark],
    ) -> io::Result<Vec<(SocketAddr, SocketAddr)>> {
        let mut socket = self.socket();
        let mut all = Vec::new();
        for family in Family::ALL {
            let flows = socket.list(GET, &header(family), |message| {
                let Tuple {
                    protocol: of,
                    source,
                    destination,
                } = read(message, CTA_TUPLE_ORIG)?;
                let carried = mark(message);
                let ours = of == protocol && marks.iter().any(|ours| ours.matches(carried));
                ours.then_some((source, destination))
            })?;
            all.extend(flows);
        }
        Ok(all)
    }

    /// Forgets the flows that were redirected to one of these ports, and says how many.
    ///
    /// Their next packets are looked at by the rules again.
    pub fn forget(&self, protocol: Protocol, ports: &BTreeSet<u16>) -> io::Result<usize> {
        self.forget_where(|original, reply, _| {
            let ours = reply.protocol == protocol && ports.contains(&reply.source.port());
            ours && original.destination != reply.source
        })
    }

    /// Forgets the flows that carry one of these marks, and says how many.
    pub fn forget_marked(&self, protocol: Protocol, marks: &[Mark]) -> io::Result<usize> {
        self.forget_where(|original, _, mark| {
            original.protocol == protocol && marks.iter().any(|ours| ours.matches(mark))
        })
    }

    /// Forgets the flows of which this holds: both tuples and the mark are asked.
    fn forget_where(&self, ours: impl Fn(&Tuple, &Tuple, u32) -> bool) -> io::Result<usize> {
        let mut socket = self.socket();
        let mut forgotten = 0;
        for family in Family::ALL {
            let entries = socket.list(GET, &header(family), |message| {
                let original = read(message, CTA_TUPLE_ORIG)?;
                let reply = read(message, CTA_TUPLE_REPLY)?;
                ours(&original, &reply, mark(message)).then(|| {
                    let id = message.attrs(HEADER).find(|(kind, _)| *kind == CTA_ID);
                    (reply, id.map(|(_, id)| id.to_vec()))
                })
            })?;
            for (reply, id) in entries {
                let mut body = header(family).nest(CTA_TUPLE_REPLY, |body| reply.write(body));
                if let Some(id) = id {
                    // Of the same ends, another flow may have come meanwhile.
                    body = body.attr(CTA_ID, &id);
                }
                match socket.command(DELETE, 0, &body) {
                    Ok(()) => forgotten += 1,
                    Err(refused) if refused.errno() == Some(Errno::ENOENT) => {}
                    Err(refused) => return Err(refused.into()),
                }
            }
        }
        Ok(forgotten)
    }

    fn socket(&self) -> std::sync::MutexGuard<'_, Netlink> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A `struct nfgenmsg`.
fn header(family: Family) -> Body {
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    let family = u8::try_from(family).expect("address families are below 256");
    Body::new(&[family, 0, 0, 0])
}

/// One of an entry's two tuples.
fn read(message: Message<'_>, wanted: u16) -> Option<Tuple> {
    let (_, value) = message.attrs(HEADER).find(|(kind, _)| *kind == wanted)?;
    Tuple::read(value)
}

/// An entry's mark.
fn mark(message: Message<'_>) -> u32 {
    let mark = message.attrs(HEADER).find(|(kind, _)| *kind == CTA_MARK);
    let mark = mark.and_then(|(_, value)| value.try_into().ok());
    mark.map_or(0, u32::from_be_bytes)
}

const HEADER: usize = 4;
/// `NFNL_SUBSYS_CTNETLINK << 8`, with `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`.
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_MARK: u16 = 8;
const CTA_ID: u16 = 12;
