//! nf_tables in the kernel.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use steer_core::host::Presence;

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
        Answer::Forbidden if Path::new("/sys/module/nf_tables").exists() => Presence::Present,
        Answer::Forbidden if has_module() => Presence::Present,
        Answer::Forbidden => {
            Presence::Unknown("the kernel tells it only with CAP_NET_ADMIN".to_owned())
        }
    }
}

/// Whether nf_tables is part of the kernel or a module that it would load when asked.
fn has_module() -> bool {
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    ["modules.builtin", "modules.dep"].iter().any(|list| {
        fs::read_to_string(format!("/lib/modules/{release}/{list}"))
            .is_ok_and(|text| text.lines().any(|l| lists(l, "nf_tables")))
    })
}

/// Whether the line of a module list is about the module: `kernel/net/netfilter/nf_tables.ko.xz: …`.
fn lists(line: &str, module: &str) -> bool {
    let path = line.split(':').next().unwrap_or(line);
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next() == Some(module)
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
