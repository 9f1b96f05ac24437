//! `steer up`: what the config says, in the foreground.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::Up;
use crate::failure::Failure;
use crate::reset;
use crate::say;
use crate::steering::{self, Decided, Purpose};

/// Steers until a signal comes.
pub(crate) fn up(args: &Up) -> Result<ExitCode, Failure> {
    crate::complete(async {
        // Before anything is in force, so that no signal ends us with the host changed.
        let listen = || signals().map_err(|error| Failure::new(&error, "start again"));
        let (mut ended, mut again) = (listen()?, listen()?);
        let adapt = |decided: &mut Decided| match args.reset {
            true => reset::tellable(decided),
            false => Ok(()),
        };
        let (decided, mut session) =
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
        notify("READY=1");
        tokio::select! {
            () = ended.recv() => {}
            () = session.guard() => unreachable!("guarding never ends"),
        }
        // The first signal is in `again` as well, and two that wait there are one: it is taken out
        // before anybody hears that steer stops, and sends the next.
        again.recv().await;
        notify("STOPPING=1");
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

/// The signals that ask for an end.
#[derive(Debug)]
struct Signals([Signal; 3]);

fn signals() -> io::Result<Signals> {
    Ok(Signals([
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ]))
}

impl Signals {
    /// Waits for the next one.
    async fn recv(&mut self) {
        let Self([terminate, interrupt, hangup]) = self;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Tells a service manager that asked for it (sd_notify(3)).
fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        match path.as_bytes().strip_prefix(b"@") {
            Some(name) => {
                let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
                socket.send_to_addr(state.as_bytes(), &address)
            }
            None => socket.send_to(state.as_bytes(), &path),
        }
    });
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager could not be told {state}");
    }
}

/// How long connections may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(10);
