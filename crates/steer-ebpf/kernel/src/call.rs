//! A socket call with an address in it: `connect`, `sendmsg`, `recvmsg`, `getpeername`.

use core::ffi::c_void;
use core::ptr::{addr_of, addr_of_mut, write_volatile};

use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::generated::{
    bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval, bpf_setsockopt,
    bpf_skc_to_mptcp_sock,
};
use aya_ebpf::programs::SockAddrContext;

use crate::end::{End, Words};

/// How the address of a call is read and written. Only programs of a family may touch its fields,
/// so that it is a type, and each program is compiled for its own.
pub trait Form {
    /// Reads the address, that of IPv4 mapped.
    fn read(context: *mut bpf_sock_addr) -> Words;
    /// Writes it.
    fn write(context: *mut bpf_sock_addr, words: Words);
}

/// Calls with an address of IPv4.
pub struct V4;
/// Calls with an address of IPv6, mapped ones of IPv4 among them.
pub struct V6;

impl Form for V4 {
    #[inline(always)]
    fn read(context: *mut bpf_sock_addr) -> Words {
        // SAFETY: the kernel's context; the verifier checks the field.
        End::v4(unsafe { (*context).user_ip4 }, 0).words
    }

    #[inline(always)]
    fn write(context: *mut bpf_sock_addr, words: Words) {
        // Volatile here and below: two stores side by side would be merged into one, of a size
        // that the verifier refuses.
        // SAFETY: as above.
        unsafe { write_volatile(addr_of_mut!((*context).user_ip4), words[3]) };
    }
}

impl Form for V6 {
    #[inline(always)]
    fn read(context: *mut bpf_sock_addr) -> Words {
        // SAFETY: as above. Word by word, as the verifier wants it.
        unsafe {
            let words = addr_of_mut!((*context).user_ip6).cast::<u32>();
            [
                words.read_volatile(),
                words.add(1).read_volatile(),
                words.add(2).read_volatile(),
                words.add(3).read_volatile(),
            ]
        }
    }

    #[inline(always)]
    fn write(context: *mut bpf_sock_addr, words: Words) {
        // SAFETY: as above.
        unsafe {
            let to = addr_of_mut!((*context).user_ip6).cast::<u32>();
            to.write_volatile(words[0]);
            to.add(1).write_volatile(words[1]);
            to.add(2).write_volatile(words[2]);
            to.add(3).write_volatile(words[3]);
        }
    }
}

/// Whether this kernel has MPTCP, and these programs may ask for its sockets; written and read as what
/// `process` has.
#[unsafe(no_mangle)]
static HAS_MPTCP: u32 = 0;

/// The protocols that tokens are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
    Other,
}

/// A call as its program was given it.
#[derive(Clone, Copy)]
pub struct Call {
    context: *mut bpf_sock_addr,
}

impl Call {
    #[inline(always)]
    pub fn new(context: &SockAddrContext) -> Self {
        let context = context.sock_addr;
        Self { context }
    }

    /// The address of the call.
    #[inline(always)]
    pub fn end<F: Form>(self) -> End {
        // SAFETY: the kernel's context.
        let port = unsafe { (*self.context).user_port };
        End {
            words: F::read(self.context),
            port: u16::from_be(port as u16),
        }
    }

    /// Gives the call another address.
    #[inline(always)]
    pub fn redirect<F: Form>(self, end: End) {
        F::write(self.context, end.words);
        let port = u32::from(end.port.to_be());
        // SAFETY: the kernel's context.
        unsafe { write_volatile(addr_of_mut!((*self.context).user_port), port) };
    }

    #[inline(always)]
    pub fn protocol(self) -> Protocol {
        // SAFETY: the kernel's context.
        match unsafe { (*self.context).protocol } {
            TCP => Protocol::Tcp,
            UDP => Protocol::Udp,
            _ => Protocol::Other,
        }
    }

    /// The socket, for `bpf_sk_storage_get`.
    #[inline(always)]
    pub fn socket(self) -> *mut c_void {
        self.sock().cast()
    }

    /// The socket that the program has, where the call's is a connection of it (MPTCP).
    #[inline(always)]
    pub fn outer(self) -> Option<*mut c_void> {
        // SAFETY: a static that lives for ever.
        if unsafe { addr_of!(HAS_MPTCP).read_volatile() } == 0 {
            return None;
        }
        // SAFETY: the socket is there as long as the call, and so is the one that has it.
        let outer = unsafe { bpf_skc_to_mptcp_sock(self.socket()) };
        (!outer.is_null()).then_some(outer.cast())
    }

    #[inline(always)]
    fn sock(self) -> *mut bpf_sock {
        // SAFETY: the kernel's context; in these programs there always is a socket.
        unsafe { (*self.context).__bindgen_anon_1.sk }
    }

    /// The context, for helpers that find the socket by it.
    #[inline(always)]
    pub fn context(self) -> *mut c_void {
        self.context.cast()
    }

    /// The socket's number.
    #[inline(always)]
    pub fn cookie(self) -> u64 {
        // SAFETY: the kernel's context.
        unsafe { bpf_get_socket_cookie(self.context()) }
    }

    /// The number of the socket's network namespace (Linux 5.7 and later).
    #[inline(always)]
    pub fn netns(self) -> u64 {
        // SAFETY: the kernel's context.
        unsafe { bpf_get_netns_cookie(self.context()) }
    }

    /// The socket's mark.
    #[inline(always)]
    pub fn mark(self) -> u32 {
        // SAFETY: the socket is there as long as the call.
        unsafe { (*self.sock()).mark }
    }

    /// The interface that the socket is bound to; 0 is none.
    #[inline(always)]
    pub fn interface(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.sock()).bound_dev_if }
    }

    /// Takes reno for the socket: what follows stays on this host, where the default of some hosts
    /// (BBR, which paces) is several times slower. Where it is refused the socket keeps what it has.
    #[inline(always)]
    pub fn prefer_reno(self) {
        let mut name = *b"reno";
        let to = name.as_mut_ptr().cast();
        // SAFETY: the kernel copies four bytes of the stack.
        let _ = unsafe { bpf_setsockopt(self.context(), SOL_TCP, TCP_CONGESTION, to, 4) };
    }
}

/// The verdict of a program: go on.
pub const ALLOW: i32 = 1;

/// The verdict of a program: fail as if nobody listened there.
///
/// `bpf_set_retval` is there since Linux 6.1 for programs of this kind; without it every refusal were EPERM.
#[inline(always)]
pub fn refuse() -> i32 {
    // SAFETY: takes a number alone.
    let _ = unsafe { bpf_set_retval(-ECONNREFUSED) };
    0
}

const TCP: u32 = 6;
const UDP: u32 = 17;
const SOL_TCP: i32 = 6;
const TCP_CONGESTION: i32 = 13;
const ECONNREFUSED: i32 = 111;
