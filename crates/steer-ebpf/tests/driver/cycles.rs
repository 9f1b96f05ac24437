//! Many times the same.

use lab::require;
use steer_core::intent::OnFailure;
use steer_ebpf::driver::EbpfDriver;

use crate::stage::{Held, Stage, objects};

/// Times, where `STEER_LONG` is not set.
const TIMES: u32 = 200;
/// Times, where it is.
const LONG: u32 = 1000;

#[test]
fn attached_changed_and_detached_many_times_nothing_stays() {
    require!(Root);
    let stage = Stage::new("cycles");
    let times = match std::env::var_os("STEER_LONG") {
        Some(_) => LONG,
        None => TIMES,
    };
    let mut all = Held::default();
    for turn in 0..times {
        let on_failure = match turn % 2 {
            0 => OnFailure::Open,
            _ => OnFailure::Closed,
        };
        let to = objects(stage.hooks(on_failure));
        let retired = objects(match &to[0] {
            steer_core::object::Object::Hooks(hooks) => steer_core::object::Hooks {
                takes: false,
                ..hooks.clone()
            },
            other => panic!("{other}"),
        });
        let mut driver = EbpfDriver::new();
        stage.set(&mut driver, &[], &to).unwrap();
        stage.set(&mut driver, &to, &retired).unwrap();
        let Held {
            programs,
            links,
            maps,
        } = stage.held();
        assert!(!programs.is_empty());
        all.programs.extend(programs);
        all.links.extend(links);
        all.maps.extend(maps);
        stage.set(&mut driver, &retired, &[]).unwrap();
    }
    stage.all_gone(&all);
    assert!(stage.found().is_empty());
}
