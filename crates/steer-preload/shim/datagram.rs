//! Sending with an address, and sockets of families that no method steers.

use core::ffi::{c_int, c_uint, c_void};
use core::ptr;

use crate::address::{self, AF_ALG, AF_INET, AF_INET6, AF_NETLINK, AF_UNIX};
use crate::connect::{SO_DOMAIN, SO_TYPE, SOCK_STREAM, SOL_SOCKET, Way, connect, way};
use crate::real;
use crate::settings::settings;
use crate::sys::{self, EAFNOSUPPORT, ECONNREFUSED};

/// sendto(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendto(
    fd: c_int,
    bytes: *const c_void,
    count: usize,
    flags: c_int,
    to: *const u8,
    length: u32,
) -> isize {
    // SAFETY: as the caller says.
    match unsafe { judged(fd, flags, to, length) } {
        // SAFETY: as the caller says.
        Sending::Plain => unsafe { real::sendto(fd, bytes, count, flags, to, length) },
        Sending::Connected => {
            let flags = flags & !MSG_FASTOPEN;
            // SAFETY: as the caller says.
            unsafe { real::sendto(fd, bytes, count, flags, ptr::null(), 0) }
        }
        Sending::Failed => -1,
    }
}

/// sendmsg(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmsg(fd: c_int, message: *const Message, flags: c_int) -> isize {
    if !sys::is_readable(message.cast(), size_of::<Message>()) {
        // The kernel has a word for it.
        // SAFETY: as the caller says.
        return unsafe { real::sendmsg(fd, message.cast(), flags) };
    }
    // SAFETY: it is a message.
    let mut copy = unsafe { *message };
    // As the kernel does (`copy_msghdr_from_user` of net/socket.c): what is longer is cut.
    copy.name_length = copy.name_length.min(LONGEST);
    // SAFETY: as the caller says.
    match unsafe { judged(fd, flags, copy.name, copy.name_length) } {
        // SAFETY: as the caller says.
        Sending::Plain => unsafe { real::sendmsg(fd, message.cast(), flags) },
        Sending::Connected => {
            let copy = Message {
                name: ptr::null(),
                name_length: 0,
                ..copy
            };
            // SAFETY: as the caller says.
            unsafe { real::sendmsg(fd, (&raw const copy).cast(), flags & !MSG_FASTOPEN) }
        }
        Sending::Failed => -1,
    }
}

/// sendmmsg(2): one message after the other, as the kernel has it, too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmmsg(
    fd: c_int,
    messages: *mut Counted,
    count: c_uint,
    flags: c_int,
) -> c_int {
    let count = count.min(MOST);
    let named = |at: usize| {
        // SAFETY: it is asked of messages that can be read.
        !unsafe { (*messages.wrapping_add(at)).message.name }.is_null()
    };
    let size = count as usize * size_of::<Counted>();
    let plain = || sys::is_readable(messages.cast(), size) && !(0..count as usize).any(named);
    if settings().is_none() || plain() {
        // SAFETY: as the caller says.
        return unsafe { real::sendmmsg(fd, messages.cast(), count, flags) };
    }
    let mut sent = 0;
    while sent < count {
        let message = messages.wrapping_add(sent as usize);
        // SAFETY: as the caller says; a message that is not there fails.
        let length = unsafe { sendmsg(fd, message.cast(), flags) };
        if length < 0 {
            // What is before it is sent, and the number tells so.
            return if sent == 0 { -1 } else { sent as c_int };
        }
        // SAFETY: the kernel has read it.
        unsafe { (*message).length = length as c_uint };
        sent += 1;
    }
    sent as c_int
}

/// socket(2): families in which nothing is steered are refused, like the addresses of those that
/// are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let known = matches!(domain, AF_UNIX | AF_INET | AF_INET6 | AF_NETLINK | AF_ALG);
    if !known && settings().is_some_and(|settings| !settings.datagrams) {
        return sys::fail(EAFNOSUPPORT);
    }
    // SAFETY: as the caller says.
    unsafe { real::socket(domain, kind, protocol) }
}

/// What becomes of bytes that are sent to an address.
enum Sending {
    /// As without us.
    Plain,
    /// The socket is connected; they are sent on it.
    Connected,
    /// Errno is set.
    Failed,
}

/// # Safety
/// The address is as for sendto(2).
unsafe fn judged(fd: c_int, flags: c_int, to: *const u8, length: u32) -> Sending {
    let Some(settings) = settings() else {
        return Sending::Plain;
    };
    // SAFETY: the option is an int.
    let domain = unsafe { sys::option::<c_int>(fd, SOL_SOCKET, SO_DOMAIN) }.unwrap_or(0);
    // SAFETY: as the caller says.
    let Some(destination) = (unsafe { address::sent(to, length, domain) }) else {
        return Sending::Plain;
    };
    // SAFETY: the option is an int.
    let kind = unsafe { sys::option::<c_int>(fd, SOL_SOCKET, SO_TYPE) };
    if kind == Ok(SOCK_STREAM) {
        // An address means something on a stream that is opened by its first bytes alone.
        if flags & MSG_FASTOPEN == 0 {
            return Sending::Plain;
        }
        // SAFETY: as the caller says.
        return match unsafe { connect(fd, to, length) } {
            0 => Sending::Connected,
            _ => Sending::Failed,
        };
    }
    match way(settings, fd, &destination) {
        Way::Own => Sending::Plain,
        Way::Refused | Way::Engine { .. } => {
            sys::set_errno(ECONNREFUSED);
            Sending::Failed
        }
    }
}

/// `struct msghdr`, as far as it matters.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Message {
    name: *const u8,
    name_length: u32,
    parts: *mut c_void,
    count: usize,
    control: *mut c_void,
    control_length: usize,
    flags: c_int,
}

/// `struct mmsghdr`.
#[repr(C)]
pub struct Counted {
    message: Message,
    length: c_uint,
}

const MSG_FASTOPEN: c_int = 0x2000_0000;
/// The size of `struct sockaddr_storage`.
const LONGEST: u32 = 128;
/// The most that the kernel takes at a time (UIO_MAXIOV).
const MOST: c_uint = 1024;
