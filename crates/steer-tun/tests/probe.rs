//! Trying the methods, in a namespace of its own.

use lab::{Lab, Snapshot};
use steer_core::instance::Instance;
use steer_core::intent::{Backend, Intent, Scope};
use steer_core::steerer::{Evidence, Steerer};
use steer_tun::{Tap, Tun};

#[test]
fn a_try_works_over_each_backend_and_leaves_nothing() {
    lab::require!(Namespaces, Program("iptables"));
    let lab = Lab::new("probe");
    let app = lab.host("app");
    let before = Snapshot::take(&app);
    let methods: [&dyn Steerer; 2] = [&Tun, &Tap];
    for method in methods {
        for backend in [Backend::Nft, Backend::Iptables] {
            let mut intent = Intent::new(Instance::new("demo").unwrap(), Scope::command());
            intent.backend = Some(backend);
            let evidence = app.enter(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                runtime.block_on(method.probe(&intent))
            });
            assert_eq!(evidence, Evidence::Works, "{} {backend:?}", method.method());
        }
    }
    let about = |state: Snapshot| state.of_host_only();
    about(Snapshot::take(&app)).assert_same_as(&about(before));
}
