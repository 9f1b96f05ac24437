//! nf_tables in the kernel, and what neighbours have in it.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use steer_core::host::{Neighbour, Presence};
use steer_core::ruleset::Base;

use crate::iptables::{compat, state::owner};
use crate::nft::list::SeenMark;
use crate::nft::socket::{Netlink, Refused};
use crate::nft::{NFPROTO_INET, list, probe};

/// What the kernel says when it is asked for the number of the ruleset's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The number: nf_tables works, and we may change it.
    Works,
    /// We have no right to ask.
    Forbidden,
    /// There is no nf_tables.
    Missing,
    /// It could not be asked.
    Failed(Errno),
}

/// Asks for the number of the ruleset's state, which changes nothing.
pub(super) fn ask() -> Answer {
    match exchange() {
        Ok(()) => Answer::Works,
        Err(Errno::EPERM | Errno::EACCES) => Answer::Forbidden,
        // No netlink family, or no such part of netfilter in it.
        Err(Errno::EPROTONOSUPPORT | Errno::EINVAL | Errno::EOPNOTSUPP) => Answer::Missing,
        Err(errno) => Answer::Failed(errno),
    }
}

pub(super) fn presence(answer: Answer) -> Presence {
    match answer {
        Answer::Works => Presence::Present,
        Answer::Missing => Presence::Absent("the kernel has no nf_tables".to_owned()),
        Answer::Failed(errno) => Presence::Unknown(format!("netfilter does not answer: {errno}")),
        Answer::Forbidden if has("nf_tables") => Presence::Present,
        Answer::Forbidden => Presence::Unknown(ONLY_WITH.to_owned()),
    }
}

/// Whether a module is part of the kernel or one that it would load when asked.
fn lists_module(module: &str) -> bool {
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    ["modules.builtin", "modules.dep"].iter().any(|list| {
        fs::read_to_string(format!("/lib/modules/{release}/{list}"))
            .is_ok_and(|text| text.lines().any(|l| lists(l, module)))
    })
}

/// Whether the line of a module list is about the module: `kernel/net/netfilter/nf_tables.ko.xz: …`.
fn lists(line: &str, module: &str) -> bool {
    let path = line.split(':').next().unwrap_or(line);
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next() == Some(module)
}

/// Whether nf_tables can hand packets to transparent sockets.
pub(super) fn tproxy(answer: Answer) -> Presence {
    let absent = || Presence::Absent("the kernel has no nft_tproxy or no nft_socket".to_owned());
    match answer {
        Answer::Missing => Presence::Absent("the kernel has no nf_tables".to_owned()),
        Answer::Failed(_) => presence(answer),
        Answer::Works => match probe::transparent() {
            probe::Answer::Yes => Presence::Present,
            probe::Answer::No => absent(),
            probe::Answer::Failed(refused) => Presence::Unknown(refused.to_string()),
        },
        Answer::Forbidden if ["nft_tproxy", "nft_socket"].into_iter().all(has) => Presence::Present,
        Answer::Forbidden => Presence::Unknown(ONLY_WITH.to_owned()),
    }
}

/// What others have in nf_tables: their chains at hooks, and the marks that their rules set or
/// look at. Nothing where it cannot be listed.
pub(super) fn neighbours() -> Vec<Neighbour> {
    for _ in 0..TURNS {
        match look() {
            Err(Refused::Raced) => {}
            Err(refused) => {
                tracing::debug!(%refused, "the rules of neighbours in nf_tables are not known");
                return Vec::new();
            }
            Ok(found) => return found.into_iter().collect(),
        }
    }
    tracing::debug!("the rules of neighbours in nf_tables keep changing");
    Vec::new()
}

fn look() -> Result<BTreeSet<Neighbour>, Refused> {
    let mut socket = Netlink::open()?;
    let mut found = BTreeSet::new();
    for family in FAMILIES {
        let ours: BTreeSet<String> = list::tables(&mut socket, family)?
            .into_iter()
            .filter(|table| table.tag().is_some())
            .map(|table| table.name)
            .collect();
        let is_ours = |table: &str, chain: &str| ours.contains(table) || owner(chain).is_some();
        for chain in list::chains(&mut socket, family)? {
            let Some(Base {
                kind,
                hook,
                priority,
            }) = chain.base
            else {
                continue;
            };
            let made_for_iptables = chain.comment.as_deref() == Some(compat::TAG);
            if !is_ours(&chain.table, &chain.name) && !made_for_iptables {
                found.insert(Neighbour::Chain {
                    kind,
                    hook,
                    priority,
                    by: place(family, &chain.table, &chain.name),
                });
            }
        }
        for seen in list::marks(&mut socket, family)? {
            let SeenMark {
                table,
                chain,
                usage,
                bits: mark,
            } = seen;
            if !is_ours(&table, &chain) {
                let by = place(family, &table, &chain);
                found.insert(Neighbour::Mark { mark, usage, by });
            }
        }
    }
    Ok(found)
}

fn place(family: u8, table: &str, chain: &str) -> String {
    let family = match family {
        NFPROTO_INET => "inet",
        NFPROTO_IPV4 => "ip",
        _ => "ip6",
    };
    format!("nft table {family} {table}, chain {chain}")
}

/// Whether a module is loaded, or would be when asked for.
pub(super) fn has(module: &str) -> bool {
    Path::new("/sys/module").join(module).exists() || lists_module(module)
}

fn exchange() -> Result<(), Errno> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    // The kernel answers within the send; the bound only keeps a surprise from hanging us.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(2, 0))?;
    let mut request = Vec::with_capacity(20);
    request.extend(20_u32.to_ne_bytes());
    request.extend(GETGEN.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend([0; 12]);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let answer = &answer[..length];
    let kind = answer.get(4..6).map(|b| u16::from_ne_bytes([b[0], b[1]]));
    let errno = answer
        .get(16..20)
        .map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    match (kind, errno) {
        (Some(NLMSG_ERROR), Some(errno)) if errno != 0 => Err(Errno::from_raw(-errno)),
        (Some(_), _) => Ok(()),
        (None, _) => Err(Errno::EBADMSG),
    }
}

/// The families in which the chains of others meet our packets.
const FAMILIES: [u8; 3] = [NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6];
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// How often the rules are listed while others change them.
const TURNS: u32 = 8;
pub(super) const ONLY_WITH: &str = "the kernel tells it only with CAP_NET_ADMIN";
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN` of `linux/netfilter/nfnetlink.h` and `nf_tables.h`.
const GETGEN: u16 = 10 << 8 | 16;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_list_is_searched_by_file_name() {
        assert!(lists(
            "kernel/net/netfilter/nf_tables.ko.xz: kernel/net/netfilter/nfnetlink.ko.xz",
            "nf_tables"
        ));
        assert!(lists("kernel/net/netfilter/nf_tables.ko", "nf_tables"));
        assert!(!lists(
            "kernel/net/netfilter/nft_nat.ko: kernel/net/netfilter/nf_tables.ko",
            "nf_tables"
        ));
    }

    #[test]
    fn without_the_right_to_ask_nothing_is_said_to_be_missing() {
        assert!(!matches!(presence(Answer::Forbidden), Presence::Absent(_)));
        assert!(matches!(presence(Answer::Missing), Presence::Absent(_)));
    }
}
