//! The laboratory in which real kernels, real packets and real programs are tested.
//!
//! ```text
//! require! ─> Lab ─> Host ──┬─ serve ──> Server  (what it saw)     ┐
//!              └─ link      ├─ serve_dns, resolve, serve_web ──────┤
//!                           ├─ connect -> Client, Live, many       │
//!                           ├─ udp     -> UdpClient                ├─ compared by the test
//!                           ├─ program -> Proc, Pty, Output        │
//!                           ├─ Agent   -> sockets made by a child  │
//!                           ├─ Container (another namespace)       │
//!                           ├─ run_guest (another kernel)          │
//!                           ├─ Capture  (the witness outside)      ┘
//!                           └─ Snapshot (before) == Snapshot (after)
//! ```
//!
//! A host is a network namespace of its own, a link is a veth pair, and both vanish with the
//! last handle, also when a test panics. Without root, a test that needs namespaces runs again
//! in a user namespace, where it is root over its own ([`Need::Namespaces`]). Everything waits on events with a [`DEADLINE`].
//!
//! ```no_run
//! use lab::{Family, Lab, Service};
//!
//! let lab = Lab::new("hello");
//! let (app, srv) = (lab.host("app"), lab.host("srv"));
//! lab.link(&app, &srv);
//!
//! let server = srv.serve(7, Service::Echo);
//! let mut client = app.connect(srv.at(Family::V4, 7)).expect("the server listens");
//! client.send(b"hello").expect("the connection stands");
//! assert_eq!(client.receive(5).as_deref(), Ok(&b"hello"[..]));
//! server.wait_for(|seen| seen[0].received == 5);
//! ```

mod golden;
mod need;
mod rootless;

mod namespace;
mod sys;

mod family;
mod host;
mod network;

mod pattern;
mod watched;

mod server;

mod client;
mod datagrams;
mod live;

mod dns;
mod iperf;
mod web;

mod cgroup;
mod hierarchy;
mod proc;
mod program;
mod pty;

mod agent;
mod capture;
mod container;
mod guest;

mod snapshot;

pub use agent::{Agent, serve_agent};
pub use capture::{Capture, Direction, Flags, Packet};
pub use cgroup::{Cgroup, cgroup2_mount};
pub use client::{Client, Download, End, Failure};
pub use container::Container;
pub use datagrams::UdpClient;
pub use dns::{DnsQuery, DnsReply, DnsServer, Kind, Record, Resolver, Transport};
pub use family::Family;
pub use golden::assert_golden;
pub use hierarchy::Hierarchy;
pub use host::{Host, Interface};
pub use iperf::Iperf;
pub use live::{Live, LiveConnection};
pub use need::{Need, require};
pub use network::Lab;
pub use pattern::{Digest, Pattern};
pub use proc::{Proc, Status};
pub use program::{Output, Program};
pub use pty::Pty;
pub use server::{Connection, Datagram, Server, Service, UdpServer};
pub use snapshot::{Section, Snapshot};
pub use watched::{DEADLINE, eventually};
pub use web::{WebClient, WebServer, grpc_python};

pub use nix::sys::signal::Signal;
