//! The method itself: what its plans hold.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use async_trait::async_trait;
use steer_core::address::Protocol;
use steer_core::driver::Driver;
use steer_core::host::{Host, Presence};
use steer_core::intake::{Bound, Intake};
use steer_core::intent::{Intent, Loopback, OnFailure};
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::object::{Binding, ChildSetting, Listener, Object};
use steer_core::plan::{Life, Plan};
use steer_core::profile::Profile;
use steer_core::program::{Class, Image, Linking, Program};
use steer_core::requirement::Requirement;
use steer_core::steerer::{Evidence, PlanError, Slips, Steerer, admit};
use steer_core::symbol::ListenerId;

use crate::intake::ControlIntake;
use crate::library::{self, Leftovers};
use crate::names;
use crate::probe;
use crate::profile::PROFILE;

/// The method `preload`.
///
/// ```
/// use steer_core::{host::Host, instance::Instance, intent::{Intent, Scope}, steerer::Steerer};
/// let intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
/// let plan = steer_preload::Preload.plan(&intent, &Host::example()).unwrap();
/// assert!(plan.to_string().contains("variable LD_PRELOAD"));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Preload;

#[async_trait]
impl Steerer for Preload {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn requirements(&self, _intent: &Intent, host: &Host) -> Vec<Requirement> {
        let library = match library::BYTES {
            [] => Presence::Absent("this build has none for its architecture".to_owned()),
            _ => Presence::Present,
        };
        let place = match host.libraries {
            Some(_) => Presence::Present,
            None => Presence::Absent("every directory is noexec, or others can write there".into()),
        };
        vec![
            Requirement::new(
                "a library for programs",
                library,
                "build steer for x86_64 or aarch64, or use `-m netns`",
            ),
            Requirement::new(
                "a directory for a library that programs load",
                place,
                "set STEER_RUN_DIR to a directory of your own on a file system without noexec",
            ),
        ]
    }

    fn plan(&self, intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
        admit(self, intent, host)?;
        if !intent.scope.command {
            return Err(PlanError::EmptyScope);
        }
        let traffic = &intent.traffic;
        if traffic.exclude.protocols.contains(&Protocol::Tcp) {
            return Err(PlanError::Nothing {
                why: "the method steers TCP, which is excluded".to_owned(),
            });
        }
        if intent
            .resolve
            .fake
            .as_ref()
            .is_some_and(|fake| fake.file.is_some())
        {
            return Err(PlanError::Keys {
                method: Method::Preload,
                keys: vec![Key::FakeIp],
            });
        }
        let dir = host.libraries.as_deref().unwrap_or_default();
        let words = words(intent);
        let mut plan = Plan::new(Method::Preload);
        plan.push(Life::Steer, Object::Listener(control()));
        let variables = [
            ChildSetting::Prepend {
                name: "LD_PRELOAD".to_owned(),
                value: format!("{dir}/{{{CONTROL}}}.so"),
            },
            ChildSetting::Env {
                name: "STEER_PRELOAD".to_owned(),
                value: [format!("{{{CONTROL}}}").as_str()]
                    .into_iter()
                    .chain(words.iter().copied())
                    .collect::<Vec<_>>()
                    .join(","),
            },
        ];
        for variable in variables {
            plan.push(Life::Steer, Object::Child(variable));
        }
        for note in notes(intent) {
            plan.note(note);
        }
        Ok(plan)
    }

    fn drivers(&self) -> Vec<Box<dyn Driver>> {
        Vec::new()
    }

    fn intake(&self, intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
        Ok(Box::new(ControlIntake::open(intent, bound)?))
    }

    fn examine(&self, program: &Path, _args: &[OsString]) -> Result<(), Slips> {
        let slips = |why: String| Slips {
            program: program.display().to_string(),
            method: Method::Preload,
            why,
            remedy: "use `-m netns` or `-m seccomp`, or --allow-unsteered to start it all the same"
                .to_owned(),
        };
        match Program::read(program) {
            Ok(found) => reason(&found).map_or(Ok(()), |why| Err(slips(why.to_owned()))),
            Err(error) => Err(slips(format!("{error}, so that nobody knows what it is"))),
        }
    }

    fn sweep(&self) -> io::Result<Vec<String>> {
        let Leftovers { removed, used } = library::sweep()?;
        let removed = removed
            .iter()
            .map(|path| format!("removed the library {}", path.display()));
        let used = used.iter().map(|path| {
            format!(
                "left alone the library {}, which processes still load",
                path.display()
            )
        });
        Ok(removed.chain(used).collect())
    }

    async fn probe(&self, _intent: &Intent) -> Evidence {
        probe::probe().await
    }
}

/// Why a program would slip through.
fn reason(program: &Program) -> Option<&'static str> {
    let Image::Elf(elf) = &program.image else {
        return None;
    };
    if elf.linking == Linking::Static {
        return Some("it is static, so that no library is loaded into it");
    }
    if elf.go {
        return Some("a Go program makes system calls of its own");
    }
    if program.privileges.are_gained() {
        return Some("it gains privileges, so that its loader heeds no LD_PRELOAD");
    }
    let ours = match cfg!(target_arch = "aarch64") {
        true => (Class::Bits64, EM_AARCH64),
        false => (Class::Bits64, EM_X86_64),
    };
    ((elf.class, elf.machine) != ours).then_some("it is of another architecture than steer")
}

/// What the library is told beside the engine's name.
fn words(intent: &Intent) -> Vec<&'static str> {
    let traffic = &intent.traffic;
    let mut words = vec!["dns"];
    if traffic.loopback == Some(Loopback::Steer) {
        words.push("loopback");
    }
    if names::wanted(intent) {
        words.push("names");
    }
    if !steers_all(intent) {
        words.push("datagrams");
    }
    if intent.failure() == OnFailure::Open {
        words.push("open");
    }
    words
}

/// Whether datagrams are in scope, and refused since they cannot be steered.
fn steers_all(intent: &Intent) -> bool {
    let (include, exclude) = (&intent.traffic.include, &intent.traffic.exclude);
    let named = include.protocols.is_empty() || include.protocols.contains(&Protocol::Udp);
    named && !exclude.protocols.contains(&Protocol::Udp) && intent.failure() == OnFailure::Closed
}

fn notes(intent: &Intent) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if names::wanted(intent) {
        notes.push(
            "names that programs look up are made up addresses for (198.18.0.0/15, \
             fd5e:7ee2:0:f8e1::/64 where nothing else is written), so that an upstream gets the \
             name; whether a name exists shows when the program connects",
        );
    }
    notes.push(match steers_all(intent) {
        true => {
            "datagrams are refused, except to loopback and to port 53; so are sockets of other \
             families, and programs that would not be steered"
        }
        false => "datagrams go where programs send them",
    });
    if intent.traffic.loopback.is_none() {
        notes.push("loopback is left alone");
    }
    notes.push("port 53 is left alone");
    notes.push(
        "steering, not containment: a program that makes system calls of its own gets past, and \
         unix sockets (resolvers, container engines) are not looked at",
    );
    notes
}

/// The listener that the library asks.
pub(crate) fn control() -> Listener {
    Listener {
        id: ListenerId(CONTROL.to_owned()),
        method: Method::Preload,
        protocol: Protocol::Tcp,
        addresses: Vec::new(),
        port: None,
        to: None,
        binding: Binding::Control,
        app: None,
    }
}

const CONTROL: &str = "control";

const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

#[cfg(test)]
mod tests {
    use super::*;
    use steer_core::instance::Instance;
    use steer_core::intent::{FakeIp, Scope};

    fn intent() -> Intent {
        Intent::new(Instance::new("main").unwrap(), Scope::command())
    }

    fn lines(intent: &Intent) -> Vec<String> {
        let plan = Preload.plan(intent, &Host::example()).unwrap();
        plan.to_string().lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn the_library_is_told_what_is_wanted() {
        let told = |change: fn(&mut Intent)| {
            let mut intent = intent();
            change(&mut intent);
            words(&intent).join(",")
        };
        assert_eq!(told(|_| {}), "dns");
        assert_eq!(told(|i| i.proxied = true), "dns,names");
        assert_eq!(
            told(|i| i.traffic.loopback = Some(Loopback::Steer)),
            "dns,loopback"
        );
        assert_eq!(
            told(|i| i.on_failure = Some(OnFailure::Open)),
            "dns,datagrams,open"
        );
        assert_eq!(
            told(|i| i.traffic.include.protocols = vec![Protocol::Tcp]),
            "dns,datagrams"
        );
    }

    #[test]
    fn the_plan_is_a_control_listener_and_two_variables() {
        let lines = lines(&intent());
        assert_eq!(lines[0], "method preload");
        assert_eq!(lines[1], "control listener control for preload");
        assert_eq!(
            lines[2..4],
            [
                "variable LD_PRELOAD with, at its head, /run/steer-lib/{control}.so",
                "variable STEER_PRELOAD={control},dns",
            ]
        );
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let keys = |change: fn(&mut Intent)| {
            let mut intent = intent();
            change(&mut intent);
            Preload
                .plan(&intent, &Host::example())
                .unwrap_err()
                .to_string()
        };
        let shown = keys(|i| i.traffic.dns = Some(steer_core::intent::Dns::Capture));
        assert!(shown.contains("traffic.dns: capture"), "{shown}");
        let shown = keys(|i| {
            i.resolve.fake = Some(FakeIp {
                pools: FakeIp::default_pools(),
                names: Vec::new(),
                except: Vec::new(),
                file: Some("/x".into()),
            });
        });
        assert!(shown.contains("dns.fake_ip"), "{shown}");
        let mut nowhere = Host::example();
        nowhere.libraries = None;
        let error = Preload.plan(&intent(), &nowhere).unwrap_err();
        assert!(error.help().contains("STEER_RUN_DIR"), "{error}");
    }

    #[test]
    fn a_dynamic_program_is_fit_and_a_file_that_cannot_be_read_is_not() {
        let me = std::env::current_exe().unwrap();
        assert_eq!(Preload.examine(&me, &[]), Ok(()));
        let slips = Preload.examine(Path::new("/nonexistent"), &[]).unwrap_err();
        assert!(slips.remedy.contains("--allow-unsteered"), "{slips}");
    }
}
