//! The drivers of what plans of packets make.

use steer_core::driver::Driver;
use steer_kernel::device::DeviceDriver;
use steer_rules::backend;

/// Those of rules, and that of devices.
pub(crate) fn all() -> Vec<Box<dyn Driver>> {
    let mut drivers = backend::drivers();
    drivers.push(Box::new(DeviceDriver::new()));
    drivers
}
