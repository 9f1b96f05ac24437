//! Which port the variables lead to.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use steer::core::config::Config;
use steer::core::host::Host;
use steer::core::instance::Instance;
use steer::core::intent::{Intent, Listen, Scope};
use steer::core::method::Method;
use steer::core::object::Object;
use steer::core::steerer::Steerer;
use steer::kernel::host;
use steer::registry;

use crate::failure::Failure;

/// A proxy port, with the login that it asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Port {
    pub(super) listen: Listen,
}

impl Port {
    /// The port that is told, that of the config, or the default one where it accepts.
    pub(super) fn find(told: Option<SocketAddr>, config: Option<&Path>) -> Result<Self, Failure> {
        let config = config.map(|path| Ok((path, read(path)?))).transpose()?;
        let listen = config.as_ref().map(|(_, config)| config.listen.clone());
        let mut listen = listen.unwrap_or_default();
        listen.explicit = match (told, &config) {
            (Some(address), _) => Some(address),
            (None, Some((path, config))) => Some(written(path, config)?),
            (None, None) => Some(running()?),
        };
        if listen.explicit.is_some_and(|address| address.port() == 0) {
            return Err(Failure::plain(
                "the port is known only when steer has started",
                "write another port than 0, or give --listen what `steer up` says when it starts",
            ));
        }
        Ok(Self { listen })
    }
}

fn read(path: &Path) -> Result<Config, Failure> {
    Config::read(path, &host::observe()).map_err(|error| Failure::new(&error, error.help()))
}

/// The explicit port of `steer up` with this config.
fn written(path: &Path, config: &Config) -> Result<SocketAddr, Failure> {
    if let Some(address) = config.listen.explicit {
        return Ok(address);
    }
    let methods = config.method.preferred().unwrap_or_default();
    if methods.contains(&Method::Explicit) {
        return default_address();
    }
    Err(Failure::plain(
        format!(
            "{}: the method {} opens no explicit port",
            path.display(),
            config.method
        ),
        "write `method: explicit` (and `listen: { explicit: ADDRESS }`), or give --listen; for \
         one command, `steer run -m env -- COMMAND` needs neither",
    ))
}

/// The default port, if something accepts there: nobody said that it is ours.
fn running() -> Result<SocketAddr, Failure> {
    let address = default_address()?;
    TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| {
        Failure::plain(
            format!("there is no explicit port: {address} does not accept: {error}"),
            "start `steer up -m explicit`, or name the port by --listen or -c",
        )
    })?;
    Ok(address)
}

/// The port of `steer up -m explicit` where nothing is written.
fn default_address() -> Result<SocketAddr, Failure> {
    let intent = intent(Scope::default(), Listen::default());
    let plan = method(Method::Explicit)?
        .plan(&intent, &any_host())
        .map_err(|error| Failure::new(&error, error.help()))?;
    let address = plan
        .objects
        .iter()
        .find_map(|planned| match &planned.object {
            Object::Listener(listener) => listener.sockets(listener.port?).next(),
            _ => None,
        });
    Ok(address.expect("the method explicit has a port by default"))
}

/// What is asked of a method: nothing but a port.
pub(super) fn intent(scope: Scope, listen: Listen) -> Intent {
    let instance = Instance::new("main").expect("a literal name is valid");
    let mut intent = Intent::new(instance, scope);
    intent.listen = listen;
    intent
}

/// A host: what a port that is told means to these methods is the same on all.
pub(super) fn any_host() -> Host {
    Host::example()
}

/// A method of this build.
pub(super) fn method(method: Method) -> Result<&'static dyn Steerer, Failure> {
    registry::find(method).ok_or_else(|| {
        Failure::plain(
            format!("the method {method} is not in this build"),
            format!("build steer with the feature {method}"),
        )
    })
}

/// A port on loopback answers at once, or never.
const PATIENCE: Duration = Duration::from_secs(2);
