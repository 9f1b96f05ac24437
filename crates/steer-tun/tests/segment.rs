//! The link of a TAP, before the kernel's own stations, real clients, another codec, and frames that
//! make no sense.

#[path = "segment/scene.rs"]
mod scene;

#[path = "segment/dhcp.rs"]
mod dhcp;
#[path = "segment/hostile.rs"]
mod hostile;
#[path = "segment/resolution.rs"]
mod resolution;
#[path = "segment/stations.rs"]
mod stations;
