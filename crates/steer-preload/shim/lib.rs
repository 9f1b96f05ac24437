//! The library that stands before the socket calls of a program (LD_PRELOAD, ld.so(8)).
//!
//! ```text
//! connect, sendto, …  ─> address ─┬─> real (loopback, unix sockets, what is left alone)
//!                                 └─> control ── unix stream ── engine
//! getaddrinfo         ─> control ─> an address that stands for the name ─> real
//! execve, posix_spawn ─> program (would it be steered?) ─> environment ─> real
//! ```
//!
//! It is loaded into programs that know nothing of it, so it has nothing of its own: no allocator,
//! no threads, no dependency (not even on a C library by name, so that one file serves every C
//! library), and no state but what it read of the environment when it was loaded. Each question to
//! the engine is a connection of its own: a fork, a thread or a signal handler in between finds
//! nothing half done.
//!
//! Everything here is a function of C, called by C, with pointers of programs: unsafe code is not
//! gathered in one file as elsewhere, since there would be nothing left for the others.
#![no_std]
#![allow(
    clippy::missing_safety_doc,
    reason = "the functions are those of POSIX"
)]

mod address;
mod connect;
mod control;
mod datagram;
mod environment;
mod exec;
mod names;
mod peer;
mod program;
mod real;
mod settings;
mod spawn;
mod sys;
mod text;
mod variadic;
#[allow(dead_code, reason = "each end says one half and reads the other")]
mod wire;

/// Nothing here panics on purpose; what does all the same must not unwind into C.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::abort()
}
