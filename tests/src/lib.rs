//! The comparison matrix: every case, for every method, by the real command.
//!
//! ```text
//! Mount (a row of methods) ─┐
//! Stage (app ── srv) ───────┼─> Rig ─┬─ connect ─> lab::Client, or Refused
//! Gateway (app ─ gate ─ srv)┤        ├─ udp ─────> Datagrams
//! Setup (scope, rules …) ───┘        ├─ Records  (what the log says, as maps)
//!   UpstreamProxy (what it was asked)
//!   binary (the `steer` command) ────┘  on drop: stopped, and nothing is left
//!
//! table (cases x mounts, Mount::cannot) ─> docs/matrix.md
//! ```
//!
//! A case is a function of a [`Mount`]; the macro of the test binary mounts it once for each.
//! Clients of the methods that are not transparent speak to the proxy port first, so the body
//! of a case is the same for all.

mod binary;
mod gateway;
mod mount;
mod stage;

mod name;
mod record;
mod refused;
mod speech;

mod setup;

mod datagrams;
mod zone;

mod rig;

mod upstream;

mod table;

pub use binary::steer;
pub use datagrams::Datagrams;
pub use gateway::Gateway;
pub use mount::{Asked, Cannot, Mount, mounted};
pub use name::instance_name;
pub use record::{Record, Records};
pub use refused::Refused;
pub use rig::{Rig, refusal_of};
pub use setup::{Setup, User};
pub use speech::{Speech, connect_with_login};
pub use stage::Stage;
pub use table::{About, Theme, hold_table};
pub use upstream::{Login, Request, UpstreamProxy};
