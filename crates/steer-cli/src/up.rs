//! `steer up`: what the config says, in the foreground.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::Up;
use crate::failure::Failure;
use crate::hangup::{Hangups, Meaning};
use crate::notify;
use crate::reset;
use crate::say;
use crate::session::Session;
use crate::steering::{self, Decided, Purpose};

/// Steers until a signal comes.
pub(crate) fn up(args: &Up) -> Result<ExitCode, Failure> {
    crate::complete(async {
        // Before anything is in force, so that no signal ends us with the host changed.
        let deaf = |error: io::Error| Failure::new(&error, "start again");
        let (mut ended, mut again) = (signals().map_err(deaf)?, signals().map_err(deaf)?);
        let mut hangups = Hangups::listen().map_err(deaf)?;
        let adapt = |decided: &mut Decided| match args.reset {
            true => reset::tellable(decided),
            false => Ok(()),
        };
        let (mut decided, mut session) =
            steering::start(&args.steering, Purpose::Config, adapt).await?;
        let note = decided.announcement().unwrap_or_default();
        let plan = &decided.choice.plan;
        say(&format_args!(
            "steer: {} is in force by {}{}{note}",
            decided.intent.instance,
            plan.method,
            if note.is_empty() { "" } else { "; " },
        ));
        for listener in session.listeners() {
            say(&format_args!("steer: {listener}"));
        }
        if let Some(external) = decided.intent.listen.external {
            say(&format_args!(
                "steer: what is steered goes to the proxy of others at {external}"
            ));
        }
        if args.reset
            && let Err(failure) = reset::existing(&decided)
        {
            if let Err(failure) = session.stop(Duration::ZERO).await {
                say(&failure);
            }
            return Err(failure);
        }
        let told = format!(
            "steer: {} is in force by {}",
            decided.intent.instance, decided.choice.plan.method
        );
        notify::ready(&told);
        if let Some(every) = notify::watchdog() {
            tokio::spawn(notify::live(every));
        }
        loop {
            tokio::select! {
                () = ended.recv() => {
                    // The first signal is in `again` as well, and two that wait there are one: it
                    // is taken out before anybody hears that steer stops, and sends the next.
                    again.recv().await;
                    break;
                }
                meaning = hangups.recv() => match meaning {
                    Meaning::Reload => reload(args, &mut decided, &mut session).await,
                    Meaning::End => break,
                },
                () = session.guard() => unreachable!("guarding never ends"),
            }
        }
        notify::stopping();
        say(&format_args!("steer: {} stops", decided.intent.instance));
        tokio::spawn(async move {
            again.recv().await;
            say(&"steer: ended at once; the keeper undoes the rest");
            std::process::exit(1);
        });
        session.stop(PATIENCE).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Reads the config again; what becomes of it is told to whoever looks.
async fn reload(args: &Up, decided: &mut Decided, session: &mut Session) {
    notify::reloading();
    let done = crate::reload::reload(&args.steering, decided, session).await;
    let instance = &decided.intent.instance;
    match done {
        Ok(()) => {
            session.reloaded(None);
            let told = format!("steer: {instance} is in force as the config says by now");
            say(&told);
            notify::reloaded(&told);
        }
        Err(failure) => {
            session.reloaded(Some(&failure));
            say(&failure);
            let told = format!("steer: {instance} is in force as it was before");
            say(&told);
            notify::reloaded(&format_args!("{told}; {failure}"));
        }
    }
}

/// The signals that ask for an end.
#[derive(Debug)]
struct Signals([Signal; 2]);

fn signals() -> io::Result<Signals> {
    Ok(Signals([
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    ]))
}

impl Signals {
    /// Waits for the next one.
    async fn recv(&mut self) {
        let Self([terminate, interrupt]) = self;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// How long connections may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(10);
