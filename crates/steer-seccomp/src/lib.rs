//! The method `seccomp`: socket calls of the command come to a supervisor.
//!
//! ```text
//! Intent ─> plan ─> control listener, families, "supervised"
//!
//!  command ── connect, send*, getpeername, SO_ERROR ──> kernel ── notice ──> supervisor (a thread)
//!     ^                                                                         │
//!     │                       call: arguments copied once, socket duplicated <──┤
//!     │                                                                         v
//!     │      loopback, DNS, what is left out: the kernel goes on <── traffic ── call
//!     │      other datagrams: refused                                           │ TCP
//!     │                                                                         v
//!     └── errno or 0 <── joining (takeover: bind mode) <── Answer <── Steered ── intake ─> engine
//!                    └── its own socket, connected by us (hand-over) <──────────────────────┘
//! ```
//!
//! The program's socket stays the program's: to hand a connection over, the supervisor connects
//! the duplicate that it has, which is the same open socket, to the address that it has copied.
//! Nothing is injected, so that nothing that the program did with the socket before (an epoll
//! registration, an option, a dup) is lost.

#![deny(unsafe_code)]

mod method;
mod plan;
mod probe;
mod profile;
mod requirements;

mod control;
mod intake;
mod orphans;
mod supervisor;

mod call;
mod memory;
mod name;
mod notice;
mod process;
mod traffic;

mod connect;
mod holders;
mod joining;
mod own;
mod query;
mod send;
mod waiting;
mod watch;

mod office;
mod sys;

pub use method::Seccomp;
