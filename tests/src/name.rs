//! Names of instances that no other test uses.

use std::sync::atomic::{AtomicU32, Ordering};

/// A valid instance name that is unique while this process lives.
pub fn instance_name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    // 7 digits of a pid and 3 of the counter are the 12 letters that a name may have.
    let name = format!("t{}_{number}", std::process::id());
    assert!(name.len() <= 12, "too many instances for one process");
    name
}
