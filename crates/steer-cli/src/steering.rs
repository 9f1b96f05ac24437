//! From the command line to a decided steering: config, host, method, plan.

use std::path::Path;

use steer::auto::{self, Choice, NoMethod};
use steer::core::config::{Config, LogTarget, MethodChoice};
use steer::core::host::Host;
use steer::core::instance::Instance;
use steer::core::intent::Intent;

use crate::args::Steering;
use crate::failure::Failure;

/// What a steering is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `steer run`: one command.
    Command,
    /// `steer up`: what the config says.
    Config,
}

/// Everything that is settled before anything is changed.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) config: Config,
    pub(crate) intent: Intent,
    pub(crate) host: Host,
    pub(crate) choice: Choice,
}

/// What was asked for, before a method is chosen.
struct Wish {
    config: Config,
    intent: Intent,
    host: Host,
}

impl Wish {
    fn read(args: &Steering, purpose: Purpose, host: Host) -> Result<Self, Failure> {
        let config = config(args, purpose, &host)?;
        let name = config.name.clone().unwrap_or_else(|| match purpose {
            Purpose::Command => Instance::of_run(std::process::id()),
            Purpose::Config => Instance::new("main").expect("a literal name is valid"),
        });
        let intent = config.intent(name);
        Ok(Self {
            config,
            intent,
            host,
        })
    }

    fn decided(self, choice: Result<Choice, NoMethod>) -> Result<Decided, Failure> {
        let Self {
            config,
            intent,
            host,
        } = self;
        let choice = choice.map_err(|error| Failure::new(&error, error.help()))?;
        Ok(Decided {
            config,
            intent,
            host,
            choice,
        })
    }
}

impl Decided {
    /// Reads the config, lays the flags over it and chooses a method by what is known of the host.
    pub(crate) fn planned(args: &Steering, purpose: Purpose, host: Host) -> Result<Self, Failure> {
        let wish = Wish::read(args, purpose, host)?;
        let order = wish.config.method.preferred().unwrap_or(&auto::ORDER);
        let choice = auto::choose(order, &wish.intent, &wish.host);
        wish.decided(choice)
    }

    /// The same for this host, trying the methods where there is more than one to choose from.
    pub(crate) async fn tried(args: &Steering, purpose: Purpose) -> Result<Self, Failure> {
        let wish = Wish::read(args, purpose, steer::kernel::host::observe())?;
        let order = wish.config.method.preferred().unwrap_or(&auto::ORDER);
        let choice = match order {
            [_] => auto::choose(order, &wish.intent, &wish.host),
            _ => auto::choose_tried(order, &wish.intent, &wish.host).await,
        };
        wish.decided(choice)
    }

    /// The method and, where it was not the first choice, why.
    pub(crate) fn announcement(&self) -> Option<String> {
        let Choice { plan, refused, .. } = &self.choice;
        if self.config.method != MethodChoice::Auto && refused.is_empty() {
            return None;
        }
        let mut text = format!("method {}", plan.method);
        for refused in refused {
            text.push_str(&format!("; {refused}"));
        }
        Some(text)
    }
}

fn config(args: &Steering, purpose: Purpose, host: &Host) -> Result<Config, Failure> {
    let Steering {
        method,
        config,
        upstream,
        log,
        name,
        backend,
        on_failure,
        loopback,
        listen,
    } = args;
    let mut settled = match config {
        Some(path) => {
            Config::read(path, host).map_err(|error| Failure::new(&error, error.help()))?
        }
        None => Config::default(),
    };
    if purpose == Purpose::Command {
        // A command is in a cgroup of its own and runs as its user: a scope beside it would mostly
        // mean nobody, and nothing would be steered or refused.
        if !settled.scope.of.is_empty() {
            return Err(Failure::plain(
                "`run` steers the command that it starts, and the config names another scope",
                "remove `scope` (only `scope.except` may stay), or use `steer up` with this config",
            ));
        }
        settled = settled.with_command();
    }
    if let Some(choice) = method {
        settled = settled.with_method(choice.clone());
    }
    if let Some(path) = log {
        settled = settled.with_log(target(path));
    }
    if name.is_some() {
        settled.name.clone_from(name);
    }
    if let Some(backend) = backend {
        settled.backend = Some((*backend).into());
    }
    if let Some(on_failure) = on_failure {
        settled.on_failure = Some((*on_failure).into());
    }
    if let Some(loopback) = loopback {
        settled.traffic.loopback = Some((*loopback).into());
    }
    if listen.is_some() {
        settled.listen.explicit = *listen;
    }
    // Last, so that it is held against the final listeners.
    if let Some(url) = upstream {
        settled = settled
            .with_upstream(url)
            .map_err(|error| Failure::plain(format!("--upstream: {error}"), error.help()))?;
    }
    Ok(settled)
}

fn target(path: &Path) -> LogTarget {
    match path.to_str() {
        Some("-" | "/dev/stdout") => LogTarget::Stdout,
        Some("/dev/stderr") => LogTarget::Stderr,
        _ => LogTarget::File(path.to_owned()),
    }
}
