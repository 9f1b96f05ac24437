//! steer-kernel
pub mod cgroup;
pub mod drivers;
pub mod nft;
mod sys;
