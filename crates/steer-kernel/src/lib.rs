//! steer-kernel
#![deny(unsafe_code)]

pub mod cgroup;
pub mod child;
pub mod drivers;
pub mod fake;
pub mod host;
pub mod iptables;
pub mod journal;
pub mod keeper;
pub mod netns;
pub mod nft;
pub mod sock_diag;
mod sys;
