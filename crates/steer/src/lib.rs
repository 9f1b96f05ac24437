//! Force a program's network traffic through a proxy, by whichever method fits the host.
//!
//! ```text
//! Intent ─┐
//! Host ───┴─> choose (auto) ─> Steerer.plan ─> Plan ─> Engaged ─> Intake ─> Engine
//! ```
//!
//! Each method stands behind a feature of its name; [`registry`] knows those that are built in.
//!
//! ```
//! use steer::core::{host::Host, instance::Instance, intent::{Intent, Scope}};
//!
//! let intent = Intent::new(Instance::new("demo")?, Scope::command());
//! let order = steer::auto::order(&intent);
//! let choice = steer::auto::choose(&order, &intent, &Host::example())?;
//! println!("{}", choice.plan);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod auto;
pub mod registry;

pub use steer_core as core;
pub use steer_dns as dns;
pub use steer_kernel as kernel;
pub use steer_proxy as proxy;
pub use steer_tls as tls;
