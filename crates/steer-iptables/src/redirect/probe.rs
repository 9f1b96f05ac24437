use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use steer_core::driver::Change;
use steer_core::instance::Instance;
use steer_core::intent::{Intent, Loopback, OnFailure, Scope, Selector};
use steer_core::object::Object;
use steer_core::plan::Netns;
use steer_core::steerer::{Evidence, Steerer};
use steer_core::symbol::{Bindings, ListenerId};
use steer_kernel::netns;

use super::Redirect;
use super::origin::{self, Origin};

/// Puts the rules in force in a network namespace of its own and sends a connection through them.
pub(super) async fn really(redirect: &Redirect, intent: &Intent) -> Evidence {
    let redirect = *redirect;
    let backend = intent.backend;
    let bypass = intent.bypass;
    let tried = tokio::task::spawn_blocking(move || {
        // The namespace belongs to the thread and goes with it.
        std::thread::spawn(move || {
            netns::enter_private().map_err(|source| Outcome::NoNamespace(source.to_string()))?;
            let mut intent = Intent::new(
                Instance::new("probe").expect("a literal name is valid"),
                Scope {
                    of: Selector {
                        host: true,
                        ..Selector::default()
                    },
                    ..Scope::default()
                },
            );
            intent.backend = backend;
            intent.bypass = bypass;
            intent.on_failure = Some(OnFailure::Open);
            intent.traffic.loopback = Some(Loopback::Steer);
            attempt(&redirect, &intent).map_err(Outcome::Failed)
        })
        .join()
        .unwrap_or_else(|_| Err(Outcome::NoNamespace("the try panicked".to_owned())))
    })
    .await;
    match tried {
        Ok(Ok(())) => Evidence::Works,
        Ok(Err(Outcome::Failed(why))) => Evidence::Fails {
            why,
            remedy: "run `steer plan -m redirect` to see what is missing".to_owned(),
        },
        Ok(Err(Outcome::NoNamespace(why))) => Evidence::Unknown {
            why: format!("no network namespace could be made to try it in: {why}"),
        },
        Err(error) => Evidence::Unknown {
            why: error.to_string(),
        },
    }
}

enum Outcome {
    NoNamespace(String),
    Failed(String),
}

/// One connection to an address where nobody listens must arrive at the listener and say so.
fn attempt(redirect: &Redirect, intent: &Intent) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let host = steer_kernel::host::observe();
    let plan = redirect.plan(intent, &host).map_err(|e| text(&e))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| text(&e))?;
    let local = listener.local_addr().map_err(|e| text(&e))?;
    let mut bindings = Bindings::new(intent.instance.clone());
    bindings
        .ports
        .insert(ListenerId("outbound".to_owned()), local.port());
    let objects: Vec<Object> = plan
        .host_objects(&bindings)
        .map_err(|e| text(&e))?
        .into_iter()
        .map(|planned| planned.object)
        .collect();
    for driver in &mut redirect.drivers() {
        let wanted: Vec<Object> = objects
            .iter()
            .filter(|object| object.domain() == driver.domain())
            .cloned()
            .collect();
        driver
            .set(&Change {
                instance: &intent.instance,
                netns: &Netns::Here,
                from: &[],
                to: &wanted,
            })
            .map_err(|e| text(&e))?;
        if wanted.is_empty() {
            continue;
        }
        return connect_through(&listener, local);
    }
    Err("the plan has no rules".to_owned())
}

fn connect_through(listener: &TcpListener, local: SocketAddr) -> Result<(), String> {
    // Loopback: the one network that a fresh namespace has a route to.
    let target = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 80));
    let _client = TcpStream::connect_timeout(&target, Duration::from_secs(2))
        .map_err(|e| format!("a connection was not redirected: {e}"))?;
    let (accepted, _) = listener.accept().map_err(|e| e.to_string())?;
    match origin::of(&accepted, local).map_err(|e| e.to_string())? {
        Origin::Steered(to) if to.addr() == target => Ok(()),
        Origin::Steered(to) => Err(format!("{target} was told as {to}")),
        Origin::Direct => Err("the original destination was not told".to_owned()),
    }
}
