//! What a program asks about a connection: its peer, and why it failed.

use core::ffi::{c_int, c_void};
use core::ptr;

use crate::address::{self, AF_INET, AF_INET6};
use crate::connect::{
    IPPROTO_MPTCP, IPPROTO_TCP, SO_DOMAIN, SO_PROTOCOL, SOL_SOCKET, TCP_CLOSE, TCP_INFO,
};
use crate::control::Question;
use crate::real;
use crate::settings::{Settings, settings};
use crate::sys::{self, ECONNRESET};
use crate::wire::{Address, Ask, Reply, Request};

/// getpeername(2): the peer that the program asked for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getpeername(fd: c_int, to: *mut u8, length: *mut u32) -> c_int {
    let Some(settings) = settings().filter(|_| !length.is_null() && !to.is_null()) else {
        // SAFETY: as the caller says.
        return unsafe { real::getpeername(fd, to, length) };
    };
    // SAFETY: as the caller says.
    let room = unsafe { *length };
    // SAFETY: as the caller says.
    let result = unsafe { real::getpeername(fd, to, length) };
    if result != 0 || room == 0 {
        return result;
    }
    let before = sys::errno();
    // SAFETY: the kernel has written so much of it.
    if let Some((bytes, full)) = unsafe { meant(settings, fd, to, room.min(*length)) } {
        // SAFETY: no more than the caller has room for.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), to, room.min(full) as usize);
            *length = full;
        }
    }
    sys::set_errno(before);
    0
}

/// The peer that the program asked for, where that is not the one that the kernel tells.
///
/// # Safety
/// So many bytes of the address are there.
unsafe fn meant(
    settings: &Settings,
    fd: c_int,
    peer: *const u8,
    length: u32,
) -> Option<([u8; 28], u32)> {
    // SAFETY: as the caller says. What is cut short is asked about all the same.
    let told = unsafe { address::read(peer, length) };
    if told.is_some_and(|told| !address::is_loopback(&told)) {
        return None;
    }
    let number = |name| {
        // SAFETY: these options are ints.
        unsafe { sys::option::<c_int>(fd, SOL_SOCKET, name) }.ok()
    };
    let domain = number(SO_DOMAIN).filter(|domain| matches!(*domain, AF_INET | AF_INET6))?;
    number(SO_PROTOCOL).filter(|protocol| matches!(*protocol, IPPROTO_TCP | IPPROTO_MPTCP))?;
    match ask(settings, fd, Ask::Peer)? {
        Reply::Address(address) => address::write(&address, domain),
        Reply::Errno(_) | Reply::Own(_) => None,
    }
}

/// getsockopt(2): the error of a connection that failed in the background.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut u32,
) -> c_int {
    // SAFETY: as the caller says.
    let result = unsafe { real::getsockopt(fd, level, name, value, length) };
    let Some(settings) = settings() else {
        return result;
    };
    if (result, level, name) != (0, SOL_SOCKET, SO_ERROR) {
        return result;
    }
    // SAFETY: the kernel has written so much.
    let told = (unsafe { *length } == 4).then(|| unsafe { *value.cast::<c_int>() });
    let doubtful = match told {
        // What the kernel says of every connection that failed while nobody waited.
        Some(ECONNRESET) => true,
        // No error, and no connection: one goes on whose call a signal ended.
        Some(0) => {
            // SAFETY: the first byte of the option is the state.
            let state = unsafe { sys::option::<u8>(fd, IPPROTO_TCP, TCP_INFO) };
            state == Ok(TCP_CLOSE)
        }
        _ => false,
    };
    if doubtful {
        let before = sys::errno();
        if let Some(Reply::Errno(errno)) = ask(settings, fd, Ask::Failure)
            && errno != 0
        {
            // SAFETY: the kernel has written an int there.
            unsafe { *value.cast::<c_int>() = errno };
        }
        sys::set_errno(before);
    }
    0
}

/// Tells the engine that the program disconnects a socket.
pub fn forget(settings: &Settings, fd: c_int) {
    // SAFETY: these options are ints.
    let protocol = unsafe { sys::option::<c_int>(fd, SOL_SOCKET, SO_PROTOCOL) };
    if matches!(protocol, Ok(IPPROTO_TCP | IPPROTO_MPTCP)) {
        let before = sys::errno();
        let _ = ask(settings, fd, Ask::Forget);
        sys::set_errno(before);
    }
}

/// Asks the engine about a socket that it may know.
fn ask(settings: &Settings, fd: c_int, about: Ask) -> Option<Reply> {
    let request = Request::new(about, Address::default());
    let question = Question::ask(settings, &request, &[], Some(fd)).ok()?;
    question.answer()
}

const SO_ERROR: c_int = 4;
