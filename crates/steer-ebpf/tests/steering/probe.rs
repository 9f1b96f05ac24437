//! Trying the method.

use lab::Lab;
use steer_core::steerer::{Evidence, Steerer};
use steer_ebpf::Ebpf;

use crate::engine;

#[test]
fn it_works_where_it_can_be_tried() {
    lab::require!(Root);
    let cgroup = lab::Cgroup::new("ebpf-probe");
    let app = Lab::new("ebpf-probe").host("app");
    let intent = engine::of(&cgroup);
    let evidence = app.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(Ebpf.probe(&intent))
    });
    assert_eq!(evidence, Evidence::Works);
}
