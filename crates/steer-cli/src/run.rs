//! `steer run`: one program and its children.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use steer::core::object::ChildSetting;
use steer::core::program::Program;
use steer::kernel::child::{Exit, Inherited, Spawner};

use crate::args::Run;
use crate::failure::Failure;
use crate::nested;
use crate::passed;
use crate::steering::{self, Decided, Purpose};
use crate::survivors::Survivors;
use crate::trust;
use crate::verify::{self, Verdict, Verification};
use crate::{STATUS_ESCAPED, STATUS_OURS, say};

/// Runs the command and ends as it ended.
pub(crate) fn run(args: &Run, inherited: Inherited) -> ExitCode {
    match attempt(args, inherited) {
        Ok(Ended::Command(exit)) => exit.pass_on(),
        Ok(Ended::NotStarted(status)) => ExitCode::from(status),
        Ok(Ended::Escaped) => ExitCode::from(STATUS_ESCAPED),
        Err(failure) => {
            say(&failure);
            ExitCode::from(STATUS_OURS)
        }
    }
}

enum Ended {
    Command(Exit),
    NotStarted(u8),
    /// It succeeded, and packets left past the engine.
    Escaped,
}

fn attempt(args: &Run, inherited: Inherited) -> Result<Ended, Failure> {
    let (program, rest) = args.command.split_first().expect("clap requires a command");
    let file = match Program::locate(program) {
        Ok(file) => file,
        Err(error) => {
            say(&Failure::new(&error, error.help()));
            return Ok(Ended::NotStarted(error.status()));
        }
    };
    crate::complete(async {
        let adapt = |decided: &mut Decided| {
            if !args.allow_unsteered {
                examine(decided, &file, rest)?;
            }
            if args.verify {
                verify::enclose(decided)?;
                passed::refuse(&decided.choice.plan)?;
            }
            nested::check(&decided.intent, &decided.choice.plan)
        };
        let started = steering::start(&args.steering, Purpose::Command, adapt).await;
        let (decided, mut session) = started?;
        if let Some(text) = decided.announcement() {
            say(&format_args!("steer: {text}"));
        }
        if let Some(external) = decided.intent.listen.external {
            say(&format_args!(
                "steer: what is steered goes to the proxy of others at {external}"
            ));
        }
        if let Err(failure) = passed::tell(&decided.choice.plan, args.verify) {
            say(&failure);
        }
        let verification = match args.verify.then(|| Verification::begin(&decided, &session)) {
            Some(Err(failure)) => {
                if let Err(failure) = session.stop(Duration::ZERO).await {
                    say(&failure);
                }
                return Err(failure);
            }
            Some(Ok(verification)) => Some(verification),
            None => None,
        };
        let mut settings = session.child().to_vec();
        if args.allow_unsteered {
            settings.push(ChildSetting::Env {
                name: "STEER_ALLOW_UNSTEERED".to_owned(),
                value: "1".to_owned(),
            });
        }
        // Dropped last: what it wrote is read as long as the command lives.
        let _trust = match trust::give(&decided.config.policy, &mut settings) {
            Ok(trust) => trust,
            Err(failure) => {
                if let Err(failure) = session.stop(Duration::ZERO).await {
                    say(&failure);
                }
                return Err(failure);
            }
        };
        let spawner = Spawner::new(inherited).keeping(decided.config.policy.variables());
        let running = match spawner.spawn(program, rest, &settings) {
            Ok(running) => running,
            Err(error) => {
                say(&Failure::new(&error, error.help()));
                if let Err(failure) = session.stop(Duration::ZERO).await {
                    say(&failure);
                }
                let status = u8::try_from(error.status()).unwrap_or(STATUS_OURS);
                return Ok(Ended::NotStarted(status));
            }
        };
        let mut waiting = tokio::task::spawn_blocking(|| running.wait());
        let exit = tokio::select! {
            exit = &mut waiting => exit,
            () = session.guard() => unreachable!("guarding never ends"),
        };
        let verdict = verification.map(Verification::end);
        let survivors = Survivors::of(&decided, &session);
        // The command's status is told whatever becomes of the steering.
        match session.stop(PATIENCE).await {
            Ok(released) => survivors.report(&released),
            Err(failure) => say(&failure),
        }
        let exit = exit
            .map_err(|error| Failure::new(&error, ""))?
            .map_err(|error| Failure::new(&error, "the command could not be waited for"))?;
        match (verdict, exit) {
            (Some(Verdict::Escaped), Exit::Status(0)) => Ok(Ended::Escaped),
            _ => Ok(Ended::Command(exit)),
        }
    })
}

/// Whether the method would steer the program, as far as that shows before it starts.
fn examine(decided: &Decided, file: &Path, args: &[OsString]) -> Result<(), Failure> {
    let examined = decided.choice.steerer.examine(file, args);
    examined.map_err(|slips| Failure::new(&slips, slips.remedy.clone()))
}

/// How long connections of a command that has ended may take to deliver what is on its way.
const PATIENCE: Duration = Duration::from_secs(5);
