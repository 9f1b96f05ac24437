//! The programs of the kernel's side by themselves: loaded without the crate's user side, at a
//! cgroup and in network namespaces of the test's own, under real sockets.
//!
//! `STEER_EBPF_OBJECT` names another object than the committed one.

#[path = "../../src/abi.rs"]
#[allow(dead_code, reason = "some of it is for the kernel's side alone")]
mod abi;
mod bench;

mod datagrams;
mod generations;
mod guard;
mod streams;
