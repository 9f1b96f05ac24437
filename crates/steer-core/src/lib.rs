//! wip
pub mod address;
pub mod driver;
pub mod instance;
pub mod mark;
pub mod method;
pub mod object;
pub mod plan;
pub mod ruleset;
pub mod symbol;
