//! A steering in force with its engine, from start to an orderly end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use steer::core::engaged::Engaged;
use steer::core::intake::Bound;
use steer::core::intent::{self, Intent, OnFailure, Source};
use steer::core::keeper::{Keeper, NoKeeper, Released};
use steer::core::netns::MakeSockets;
use steer::core::object::{ChildSetting, Listener};
use steer::core::plan::{Netns, Plan, Planned};
use steer::core::policy::Policy;
use steer::core::symbol::Bindings;
use steer::dns;
use steer::kernel::route::watch::Watched;
use steer::kernel::{confine, keeper};
use steer::proxy::engine::{Engine, EngineBuilder};
use steer::proxy::events::{Event, Events};
use steer::proxy::metrics::{Metrics, Reloaded};
use steer::proxy::upstream::Resolver;
use steer::registry;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::dial;
use crate::events;
use crate::failure::Failure;
use crate::follow::{self, Learner};
use crate::force::{Force, Lost};
use crate::metrics;
use crate::records;
use crate::secrecy;
use crate::steering::Decided;
use crate::verify::enclosure::{self, Sieve};

/// A steering in force with its engine.
pub(crate) struct Session {
    engine: Engine,
    /// Dials into the command's namespaces, where ports are published.
    inward: Option<Engine>,
    force: Force,
    serving: JoinSet<()>,
    /// Has the rules follow names, and watches what others do to routes.
    following: JoinSet<()>,
    /// Serves those who look on.
    onlooking: JoinSet<()>,
    /// Whether traffic is taken.
    ready: Arc<AtomicBool>,
    watched: Watched,
    listeners: Vec<Listener>,
    inside: Option<Arc<dyn MakeSockets>>,
    /// Ends with the keeper. Made at the start, so that whoever is told that the steering is in
    /// force finds the keeper watched.
    lost: Lost,
}

impl Session {
    /// Puts the plan in force and starts to serve.
    pub(crate) async fn start(decided: &Decided) -> Result<Self, Failure> {
        let Decided {
            config,
            intent,
            host,
            choice,
        } = decided;
        let recorder = records::recorder(&config.log)?;
        let (metrics, events) = (metrics::bind(config)?, events::bind(config)?);
        secrecy::keep(&config.policy)?;
        // Made once for nothing, so that what is wrong with it is said before anything changes.
        engine(Engine::builder(config.policy.clone()))?;
        let dns = dns::for_plan(intent, &choice.plan)
            .map_err(|error| Failure::new(&error, error.help()))?;
        let names = follow::of(intent, &choice.plan);
        let mut engaged = Engaged::engage(
            keeper_for(&choice.plan)?,
            intent,
            &choice.plan,
            host.own_cgroup.as_deref(),
        )
        .map_err(|error| Failure::new(&error, error.help()))?;
        let bound = engaged.take_bound();
        let force = Force::new(engaged);
        let listeners = bound.iter().map(|bound| bound.listener.clone()).collect();
        let inside = bound.iter().find_map(|bound| bound.inside.clone());
        let (counts, told) = (Arc::<Metrics>::default(), Events::default());
        let seen = |builder: EngineBuilder| {
            let builder = builder.metrics(Arc::clone(&counts));
            builder.events(told.clone())
        };
        let inward = dial::inward::engine(intent, &bound)
            .map(|builder| engine(seen(builder).recorder(recorder.share())))
            .transpose()?;
        let mut builder = seen(Engine::builder(Policy::clone(&config.policy)))
            .recorder(recorder)
            .source(intent.source.unwrap_or(Source::Engine));
        if let Some(dns) = dns {
            builder = builder.names(dns.clone()).conversation(dns);
        }
        if let Some(resolver) = intent.resolve.resolver {
            builder = builder.dns_resolver(resolver);
        }
        let mut serving = JoinSet::new();
        let sockets = dial::sockets(intent, &choice.plan)?;
        let resolver = dial::resolver(intent, &choice.plan, &sockets)?;
        if let Some((learner, _)) = &names {
            builder = builder.follower(Arc::new(learner.clone()));
        }
        builder = builder.sockets(sockets).resolver(Arc::clone(&resolver));
        let apart = |bound: &Bound| bound.netns == Netns::New || dial::inward::leads_in(bound);
        if bound.iter().all(apart) {
            builder = builder.apart();
        }
        // A listener inside is not what its address leads to from here.
        for bound in bound.iter().filter(|bound| bound.netns != Netns::New) {
            let addresses = bound
                .sockets
                .addresses()
                .map_err(|error| Failure::new(&error, "a listener was lost; start again"))?;
            builder = addresses.into_iter().fold(builder, EngineBuilder::listener);
        }
        // Who is steered has no business there.
        if let Some(server) = &metrics {
            builder = builder.listener(server.address());
        }
        let engine = engine(builder)?;
        let engines: Vec<Engine> = [Some(&engine), inward.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let (mut onlooking, ready) = (JoinSet::new(), Arc::<AtomicBool>::default());
        if let Some(server) = metrics {
            metrics::serve(server, engines.clone(), Arc::clone(&ready), &mut onlooking);
        }
        if let Some(server) = events {
            events::serve(server, engines, &mut onlooking);
        }
        for bound in bound {
            let method = bound.listener.method;
            let steerer = registry::find(method).ok_or_else(|| {
                Failure::plain(
                    format!("the method {method} is not in this build"),
                    "choose another method with `-m`",
                )
            })?;
            let serving_engine = match &inward {
                Some(inward) if dial::inward::leads_in(&bound) => inward,
                _ => &engine,
            };
            let walls = enclosure::is_wall(&choice.plan, &bound.listener, &bound.netns);
            let mut intake = steerer
                .intake(intent, bound)
                .map_err(|error| Failure::new(&error, help(&error)))?;
            if walls {
                intake = Box::new(Sieve::new(intake, intent));
            }
            serving.spawn(serving_engine.clone().serve(intake));
        }
        let watched = Watched::new(&objects(&choice.plan, force.bindings()));
        let mut following = JoinSet::new();
        following.spawn(watched.clone().report());
        if let Some((learner, rules)) = names {
            following.spawn(rules.keep_up(force.clone()));
            known(intent, &learner, &resolver).await?;
            following.spawn(learner.refresh(resolver));
        }
        let lost = force.watch().await;
        ready.store(true, Relaxed);
        Ok(Self {
            engine,
            inward,
            force,
            serving,
            following,
            onlooking,
            ready,
            watched,
            listeners,
            inside,
            lost,
        })
    }

    /// The ports that are open, with their numbers.
    pub(crate) fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// How a command has to be started to be steered.
    pub(crate) fn child(&self) -> &[ChildSetting] {
        self.force.child()
    }

    /// The values that the plan's symbols got at first.
    pub(crate) fn bindings(&self) -> &Bindings {
        self.force.bindings()
    }

    /// What makes sockets in the command's namespaces, where the plan has them.
    pub(crate) fn inside(&self) -> Option<&Arc<dyn MakeSockets>> {
        self.inside.as_ref()
    }

    /// Replaces a keeper that is gone, each time one is, and makes again what a device lost while it
    /// was down; never returns. Cancel safe: whoever calls it again goes on where it was.
    pub(crate) async fn guard(&mut self) {
        loop {
            let Self {
                lost,
                force,
                watched,
                ..
            } = self;
            tokio::select! {
                () = lost.as_mut() => {}
                () = watched.lapsed() => {
                    if let Err(error) = force.renew().await {
                        tracing::warn!(%error, help = error.help(), "nothing is steered by a device that was down");
                    }
                    continue;
                }
                // It may have called a successor in the place of a keeper that was gone.
                () = force.asked() => {
                    self.lost = self.force.watch().await;
                    continue;
                }
            }
            // A future that has ended cannot be asked again, and this may be left before the next.
            self.lost = Box::pin(std::future::poll_fn(|_| Poll::Ready(())));
            match self.force.restore().await {
                Ok(()) => {
                    tracing::warn!("the keeper was gone; another one has taken over");
                }
                Err(error) => {
                    tracing::error!(%error, help = error.help(), "the keeper is gone");
                    tokio::time::sleep(RESTORE_PAUSE).await;
                }
            }
            // Of the successor, or of the one that is still gone: then the next try follows.
            self.lost = self.force.watch().await;
        }
    }

    /// Puts what was decided by now in the place of what was before.
    ///
    /// Whom rules of the host bring from then on meets the engine's of the same time: the engine
    /// changes first.
    ///
    /// # Errors
    /// What was in force is.
    pub(crate) async fn change(&self, before: &Decided, next: &Decided) -> Result<(), Failure> {
        secrecy::keep(&next.config.policy)?;
        let prepared = self.engine.prepare(next.config.policy.clone());
        let prepared = prepared.map_err(|error| Failure::new(&error, error.help()))?;
        let records = records::next(&before.config.log, &next.config.log)?;
        let policy = self.engine.change(prepared);
        // What is ours to change is nothing that others did.
        self.watched.expect(&[]);
        let changed = self.force.change(&next.intent, &next.choice.plan).await;
        let stands = if changed.is_ok() { next } else { before };
        let objects = objects(&stands.choice.plan, self.force.bindings());
        self.watched.expect(&objects);
        if let Err(error) = changed {
            let _ = self.engine.change(policy);
            return Err(Failure::new(&error, error.help()));
        }
        if let Some(records) = records {
            if let Some(inward) = &self.inward {
                drop(inward.record_to(records.share()));
            }
            let last = self.engine.record_to(records);
            // A sink that takes nothing any more is not waited for.
            let written = tokio::task::spawn_blocking(move || drop(last));
            let _ = timeout(LAST_RECORDS, written).await;
        }
        Ok(())
    }

    /// Counts and tells what became of a configuration that was read again.
    pub(crate) fn reloaded(&self, refused: Option<&Failure>) {
        let how = match refused {
            None => Reloaded::Applied,
            Some(_) => Reloaded::Refused,
        };
        self.engine.metrics().reloaded(how);
        let error = refused.map(ToString::to_string);
        let events = self.engine.events();
        events.tell(&Event::reloaded(how, error.as_deref()));
    }

    /// Takes no further connection, waits for those that live, and undoes the plan.
    pub(crate) async fn stop(mut self, patience: Duration) -> Result<Released, Failure> {
        self.ready.store(false, Relaxed);
        // Whoever waits for the rules waits in vain.
        self.following.shutdown().await;
        if let Err(error) = self.force.retire().await {
            tracing::warn!(%error, help = error.help(), "new connections are still steered");
        }
        let inward = async {
            match &self.inward {
                Some(inward) => inward.drain(patience).await.aborted,
                None => 0,
            }
        };
        let (drained, inward) = tokio::join!(self.engine.drain(patience), inward);
        let aborted = drained.aborted + inward;
        if aborted > 0 {
            tracing::warn!(
                connections = aborted,
                "connections did not end in time and were reset"
            );
        }
        self.serving.shutdown().await;
        self.onlooking.shutdown().await;
        let lost = self.engine.lost_records();
        if lost > 0 {
            tracing::warn!(records = lost, "records could not be written");
        }
        self.force
            .release()
            .await
            .map_err(|error| Failure::new(&error, error.help()))
    }
}

/// What of a plan in force stands on the host.
fn objects(plan: &Plan, bindings: &Bindings) -> Vec<Planned> {
    let objects = plan.host_objects(bindings);
    objects.expect("a plan in force has values for its symbols")
}

/// Has the rules know the addresses of names that are written out, before anybody is told that the
/// steering is in force.
async fn known(
    intent: &Intent,
    learner: &Learner,
    resolver: &Arc<dyn Resolver>,
) -> Result<(), Failure> {
    let missing = learner.begin(resolver).await;
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(ToString::to_string).collect::<Vec<_>>();
    let names = names.join(", ");
    // An answer that is captured tells the rules before the program.
    let captured = intent.traffic.dns == Some(intent::Dns::Capture);
    if intent.failure() == OnFailure::Closed && !captured {
        return Err(Failure::plain(
            format!(
                "no address is known of {names}: connections there would go direct, and \
                 on_failure is closed"
            ),
            "see that the names of traffic.include.domains resolve here, write `traffic.dns: \
             capture`, or on_failure: open",
        ));
    }
    tracing::warn!(
        names,
        "no address is known yet: connections there go direct"
    );
    Ok(())
}

/// What to do where the end of a method's listener that is the engine's could not be opened.
fn help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded => {
            "make room, or set STEER_RUN_DIR to a directory of your own, and start again"
        }
        _ => "check `ulimit -n` and start again",
    }
}

fn engine(builder: EngineBuilder) -> Result<Engine, Failure> {
    builder
        .build()
        .map_err(|error| Failure::new(&error, error.help()))
}

/// A process of its own where something has to be undone or namespaces be held, nobody otherwise.
fn keeper_for(plan: &Plan) -> Result<Box<dyn Keeper>, Failure> {
    let keeper = if plan.namespace().is_some() {
        confine::spawn()
    } else if plan.changes_the_host() {
        keeper::spawn()
    } else {
        Ok(Box::new(NoKeeper) as Box<dyn Keeper>)
    };
    keeper.map_err(|error| Failure::new(&error, error.help()))
}

/// How long a reload waits for the records that wait for another file.
const LAST_RECORDS: Duration = Duration::from_secs(2);

/// How long after a failed attempt the keeper is replaced again.
const RESTORE_PAUSE: Duration = Duration::from_secs(1);
