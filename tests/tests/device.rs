//! What only the methods have that read packets of a device: `tun` and `tap`.

#[path = "device/handed.rs"]
mod handed;
#[path = "device/hostile.rs"]
mod hostile;
#[path = "device/icmp.rs"]
mod icmp;
#[path = "device/many.rs"]
mod many;
#[path = "device/routes.rs"]
mod routes;
#[path = "device/scene.rs"]
mod scene;
#[path = "device/source.rs"]
mod source;
#[path = "device/transfer.rs"]
mod transfer;
