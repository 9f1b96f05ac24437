//! The programs of the kernel's side by themselves: loaded without the crate's user side, at a
//! cgroup and in network namespaces of the test's own, under real sockets.
//!
//! `STEER_EBPF_OBJECT` names another object than the committed one.

mod bench;

mod datagrams;
mod generations;
mod guard;
mod scope;
mod streams;
mod traffic;
