//! What runs in the kernel: programs at the socket calls of whoever is in some cgroups.
//!
//! ```text
//! connect, sendmsg ─> decision ─┬─ scope    whose call is it?
//!                               ├─ traffic  is the destination meant?
//!                               ├─ place    where does this namespace's traffic go?
//!                               └─ listener is the engine there?
//!        │ leave, refuse, or to a port
//!        └─> token: an address of its own for each original destination
//!              ├─> established   where the connection comes from; its end
//!              ├─> names         the program sees the peer that it asked for
//!              ├─> datagrams     and the senders of answers
//!              ├─> origin        SO_ORIGINAL_DST, for proxies of others
//!              ├─> packet        it stays on this host, and tells where it comes from
//!              └─> release       the socket is gone
//! sockets   refuses what nobody can take      lookup   what comes in from other hosts
//! ```
//!
//! Everything here is called in the context of a system call or of the network stack, may not
//! wait, and is proven to end and to stay within its memory before the kernel accepts it. The
//! lowest kernel is 6.1 (`bpf_set_retval`, by which a refusal is ECONNREFUSED).
#![no_std]
#![no_main]

#[path = "../../src/abi.rs"]
#[allow(dead_code, reason = "some of it is for the user's side alone")]
mod abi;

mod maps;

mod call;
mod end;
mod engine;

mod decision;
mod listener;
mod place;
mod process;
mod scope;
mod traffic;

mod token;

mod connect;
mod datagrams;
mod established;
mod names;
mod origin;
mod packet;
mod release;

mod lookup;
mod sockets;

/// Some helpers are for programs under the GPL alone; the sources are under both.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the kernel refuses a program that could come here.
    loop {}
}
