//! From the command line to a decided steering: config, host, method, plan.

use std::path::Path;

use steer::auto::{self, Choice};
use steer::core::config::{Config, LogTarget, MethodChoice};
use steer::core::host::Host;
use steer::core::instance::Instance;
use steer::core::intent::{Backend, Intent, Publish};
use steer::core::method::Method;
use steer::kernel::host::{observe, observe_for, with_named};

use crate::args::Steering;
use crate::failure::Failure;
use crate::session::Session;

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
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) config: Config,
    pub(crate) intent: Intent,
    pub(crate) host: Host,
}

impl Wish {
    /// `given` are the facts of a host; without them this host is asked.
    pub(crate) fn read(
        args: &Steering,
        purpose: Purpose,
        given: Option<Host>,
    ) -> Result<Self, Failure> {
        let is_given = given.is_some();
        let here = given.unwrap_or_else(observe);
        let config = config(args, purpose, &here)?;
        let name = config.name.clone().unwrap_or_else(|| match purpose {
            Purpose::Command => Instance::of_run(std::process::id()),
            Purpose::Config => Instance::new("main").expect("a literal name is valid"),
        });
        let mut intent = config.intent(name);
        // What is steered in another namespace depends on the facts there.
        let elsewhere = intent.scope.of.netns.is_some() || intent.scope.except.netns.is_some();
        let host = match (is_given, elsewhere) {
            (true, _) => here,
            (false, true) => observe_for(&intent),
            (false, false) => with_named(here, &intent),
        };
        // Every method is to mean the same cgroups by them, and so is whoever looks for overlaps.
        for selector in [&mut intent.scope.of, &mut intent.scope.except] {
            for cgroup in &mut selector.cgroup {
                if let Some(path) = host.units.get(cgroup) {
                    cgroup.clone_from(path);
                }
            }
        }
        Ok(Self {
            config,
            intent,
            host,
        })
    }

    /// The methods that may be used, the first choice first.
    pub(crate) fn order(&self) -> Vec<Method> {
        match self.config.method.preferred() {
            Some(methods) => methods.to_vec(),
            None => auto::order(&self.intent),
        }
    }

    /// The same by one method.
    pub(crate) fn planned(self, method: Method) -> Result<Decided, Failure> {
        let choice = auto::choose(&[method], &self.intent, &self.host)
            .map_err(|error| Failure::new(&error, error.help()))?;
        Ok(self.decided(choice))
    }

    fn decided(self, choice: Choice) -> Decided {
        let Self {
            config,
            intent,
            host,
        } = self;
        Decided {
            config,
            intent,
            host,
            choice,
        }
    }
}

/// The facts of this host that matter for what is asked.
pub(crate) fn facts(args: &Steering, purpose: Purpose) -> Result<Host, Failure> {
    Wish::read(args, purpose, None).map(|wish| wish.host)
}

/// Chooses a method and puts it in force on this host. Where there are several, each is tried
/// first, and one that cannot be put in force after all makes room for the next. `adapt` has the
/// last word about what is put in force.
pub(crate) async fn start(
    args: &Steering,
    purpose: Purpose,
    adapt: impl Fn(&mut Decided) -> Result<(), Failure>,
) -> Result<(Decided, Session), Failure> {
    let wish = Wish::read(args, purpose, None)?;
    let order = wish.order();
    let mut left = order.as_slice();
    let mut before = Vec::new();
    loop {
        let chosen = match left {
            [_] if before.is_empty() => auto::choose(left, &wish.intent, &wish.host),
            _ => auto::choose_tried(left, &wish.intent, &wish.host).await,
        };
        let mut choice = match chosen {
            Ok(choice) => choice,
            Err(mut error) => {
                before.append(&mut error.refused);
                error.refused = before;
                return Err(Failure::new(&error, error.help()));
            }
        };
        before.append(&mut choice.refused);
        let method = choice.steerer.method();
        let mut decided = wish.clone().decided(choice);
        let started = match adapt(&mut decided) {
            Ok(()) => Session::start(&decided).await,
            Err(failure) => Err(failure),
        };
        let failure = match started {
            Ok(session) => {
                decided.choice.refused = before;
                return Ok((decided, session));
            }
            Err(failure) => failure,
        };
        let tried = left.iter().position(|m| *m == method);
        left = &left[tried.map_or(left.len(), |index| index + 1)..];
        if left.is_empty() && before.is_empty() {
            return Err(failure);
        }
        before.push(failure.refusal(method));
    }
}

impl Decided {
    /// Reads the config, lays the flags over it and chooses a method by what is known of the host.
    pub(crate) fn planned(
        args: &Steering,
        purpose: Purpose,
        given: Option<Host>,
    ) -> Result<Self, Failure> {
        let wish = Wish::read(args, purpose, given)?;
        let choice = auto::choose(&wish.order(), &wish.intent, &wish.host)
            .map_err(|error| Failure::new(&error, error.help()))?;
        Ok(wish.decided(choice))
    }

    /// The same with rules for another packet filter.
    pub(crate) fn planned_by(self, method: Method, backend: Backend) -> Result<Self, Failure> {
        let Self {
            config,
            mut intent,
            host,
            choice: _,
        } = self;
        intent.backend = Some(backend);
        Wish {
            config,
            intent,
            host,
        }
        .planned(method)
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
        host_loopback,
        publish,
        tun_fd,
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
    if !host_loopback.is_empty() {
        settled.confine.host_loopback.clone_from(host_loopback);
    }
    settled.confine.publish.extend(publish);
    // Those of the config alone are its own mistake.
    if let Some((first, second)) = Publish::clash(&settled.confine.publish) {
        return Err(Failure::plain(
            format!(
                "--publish {second}: {} is already taken by {first}",
                second.listen
            ),
            "choose another port for one of them; netns.publish in the config and --publish add up",
        ));
    }
    if tun_fd.is_some() {
        settled.link.fd = *tun_fd;
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
