//! `env`: the proxy variables of a command.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use async_trait::async_trait;
use steer_core::address::{Family, Protocol};
use steer_core::driver::Driver;
use steer_core::host::Host;
use steer_core::intake::{Bound, Intake};
use steer_core::intent::Intent;
use steer_core::key::Key;
use steer_core::method::Method;
use steer_core::object::Object;
use steer_core::plan::{Life, Plan};
use steer_core::profile::Profile;
use steer_core::requirement::Requirement;
use steer_core::steerer::{Evidence, PlanError, Slips, Steerer, admit};

use crate::explicit::{note_access, proxy_listener, tcp_is_left};
use crate::{examine, forward, intake, probe, variables};

/// The method `env`.
///
/// ```
/// use steer_core::{host::Host, instance::Instance, intent::{Intent, Scope}, steerer::Steerer};
/// let intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
/// let plan = steer_env::Env.plan(&intent, &Host::example()).unwrap();
/// assert!(plan.to_string().contains("variable https_proxy=http://127.0.0.1:{explicit}"));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Env;

#[async_trait]
impl Steerer for Env {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn requirements(&self, _intent: &Intent, _host: &Host) -> Vec<Requirement> {
        Vec::new()
    }

    fn plan(&self, intent: &Intent, host: &Host) -> Result<Plan, PlanError> {
        admit(self, intent, host)?;
        if !intent.scope.command {
            return Err(PlanError::EmptyScope);
        }
        tcp_is_left(intent)?;
        if !variables::inexpressible(&intent.traffic).is_empty() {
            return Err(PlanError::Keys {
                method: Method::Env,
                keys: vec![Key::ExcludeDomains],
            });
        }
        let address = intent.listen.explicit.unwrap_or_else(|| {
            let family = host.families.iter().min().copied().unwrap_or(Family::V4);
            SocketAddr::new(family.loopback(), 0)
        });
        let mut plan = Plan::new(Method::Env);
        let listener = proxy_listener(Method::Env, address);
        let settings = variables::settings(intent, reached_at(address.ip()), &listener.id);
        plan.push(Life::Steer, Object::Listener(listener));
        let mut plan = plan.join(forward::forward_plan(intent, Method::Env));
        for setting in settings {
            plan.push(Life::Steer, Object::Child(setting));
        }
        note_access(&mut plan, intent, address);
        for note in NOTES {
            plan.note(note);
        }
        Ok(plan)
    }

    fn drivers(&self) -> Vec<Box<dyn Driver>> {
        Vec::new()
    }

    fn intake(&self, intent: &Intent, bound: Bound) -> io::Result<Box<dyn Intake>> {
        intake::open(intent, bound)
    }

    fn examine(&self, program: &Path, args: &[OsString]) -> Result<(), Slips> {
        examine::examine(program, args)
    }

    async fn probe(&self, intent: &Intent) -> Evidence {
        probe::probe(intent, Method::Env).await
    }
}

/// Where the command reaches a listener: one on every address, at loopback.
fn reached_at(address: IpAddr) -> IpAddr {
    if address.is_unspecified() {
        Family::of(address).loopback()
    } else {
        address
    }
}

const NOTES: [&str; 3] = [
    "only programs that read these variables are steered; all else goes direct",
    "loopback is left alone as far as programs understand no_proxy: localhost and 127.0.0.1 by \
     most, the rest of 127.0.0.0/8 and ::1 by some; rsync and yarn 2 send even these to the port",
    "neither open nor closed: when the engine is gone, programs that read the variables are \
     refused until another program takes the port, and all others go on",
];

static PROFILE: Profile = Profile {
    method: Method::Env,
    summary: "sets the proxy variables of a command, for programs that read them",
    transparent: false,
    protocols: &[Protocol::Tcp],
    // `dns: leave` and `quic: leave` hold because no program sends either to such a proxy.
    // Networks and ports are left out: Python knows neither in no_proxy, and no program resolves
    // a name before it decides. `loopback: skip` is: Python can only be given single addresses;
    // `loopback: steer` is: Go never sends loopback to a proxy.
    keys: &[
        Key::Command,
        Key::Tcp,
        Key::ExcludeProtocols,
        Key::ExcludeDomains,
        Key::DnsLeave,
        Key::QuicLeave,
        Key::Forward,
        Key::ListenExplicit,
        Key::ListenAuth,
    ],
    privileges: &[],
    limits: &[
        "Only programs that read the variables are steered, and a program can unset them; nothing \
         stops the others. Some that are known not to read them are refused before they start: \
         ssh, nc, telnet, clients of databases, ping, docker, Node before 22.21.",
        "A proxy in a program's own configuration wins (git's http.proxy, .curlrc, .wgetrc, \
         pip.conf, apt.conf), and on its own command line.",
        "What a program starts by another is that one's matter: git over ssh:// and git://, and \
         rsync over ssh, go direct.",
        "No UDP by the variables; a program that speaks SOCKS5 to the port gets it there, by UDP \
         ASSOCIATE.",
        "A name can be left out only together with every name below it: write both `name` and \
         `*.name`. rsync and yarn from 2 on leave out nothing.",
        "Some programs (requests, wget, Node) take a name in no_proxy for the end of any name, so \
         that `lan` leaves out `wlan` too.",
        "Loopback is left alone where nothing is written, as far as no_proxy can say it: Python \
         and Node send addresses of 127.0.0.0/8 other than 127.0.0.1 to the proxy, and urllib \
         those that are written [::1].",
        "Neither `open` nor `closed`: when the engine is gone, programs that read the variables \
         are refused, but any local program may take the free port.",
        "Without `listen.auth` the port serves the user that runs steer, and root: a program of the \
         command that becomes another user (sudo -u, setpriv; root's apt-get) is refused.",
        "With `listen.auth` Java and rsync get no variable: neither could give the login.",
        "Java's channels (NIO, Netty) read nothing; its URLs, HttpClient and plain sockets obey \
         the properties that JAVA_TOOL_OPTIONS sets, and the machine says so on stderr.",
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::VARIABLES;
    use steer_core::instance::Instance;
    use steer_core::intent::{Loopback, OnFailure, Scope};
    use steer_core::policy::{Credentials, Secret};

    fn intent() -> Intent {
        Intent::new(Instance::new("main").unwrap(), Scope::command())
    }

    fn plan(intent: &Intent) -> Result<Plan, PlanError> {
        Env.plan(intent, &Host::example())
    }

    #[test]
    fn the_plan_is_a_listener_and_the_variables_of_the_table() {
        let text = plan(&intent()).unwrap().to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "method env",
                "listener explicit tcp 127.0.0.1:{explicit} for env",
                "variable http_proxy=http://127.0.0.1:{explicit}",
                "variable HTTP_PROXY=http://127.0.0.1:{explicit}",
            ]
        );
        for line in [
            "variable no_proxy=localhost,127.0.0.1,127.0.0.0/8,::1",
            "variable NODE_USE_ENV_PROXY=1",
            "variable RSYNC_PROXY=127.0.0.1:{explicit}",
            "variable PIP_PROXY=",
        ] {
            assert!(lines.contains(&line), "{line} in {text}");
        }
        let names: usize = VARIABLES.iter().map(|variable| variable.names.len()).sum();
        let set = lines.iter().filter(|line| line.starts_with("variable "));
        assert_eq!(set.count(), names);
    }

    #[test]
    fn the_variables_name_the_address_at_which_the_command_reaches_the_port() {
        for (listen, shown) in [
            ("0.0.0.0:8080", "=http://127.0.0.1:{explicit}"),
            ("[::]:8080", "=http://[::1]:{explicit}"),
            ("192.0.2.1:8080", "=http://192.0.2.1:{explicit}"),
        ] {
            let mut intent = intent();
            intent.listen.explicit = Some(listen.parse().unwrap());
            let text = plan(&intent).unwrap().to_string();
            assert!(text.contains(shown), "{text}");
        }
        let mut host = Host::example();
        host.families = vec![Family::V6];
        let text = Env.plan(&intent(), &host).unwrap().to_string();
        assert!(text.contains("tcp [::1]:{explicit} for env"), "{text}");
    }

    #[test]
    fn a_plan_with_a_login_shows_no_password() {
        let mut intent = intent();
        intent.listen.auth = Some(Credentials {
            username: "ann".to_owned(),
            password: Secret::Literal("hidden".to_owned()),
        });
        let text = plan(&intent).unwrap().to_string();
        assert!(text.contains("http_proxy=http://ann:…@127.0.0.1:{explicit}"));
        assert!(!text.contains("hidden"));
    }

    #[test]
    fn keys_that_some_program_would_not_honour_are_refused_by_name() {
        let mut wanted = intent();
        wanted.traffic.exclude.cidrs = vec!["10.0.0.0/8".parse().unwrap()];
        wanted.traffic.loopback = Some(Loopback::Steer);
        wanted.on_failure = Some(OnFailure::Open);
        assert_eq!(
            plan(&wanted),
            Err(PlanError::Keys {
                method: Method::Env,
                keys: vec![Key::Cidrs, Key::LoopbackSteer, Key::Open],
            })
        );
        let mut alone = intent();
        alone.traffic.exclude.domains = vec!["*.lan".parse().unwrap()];
        assert!(matches!(plan(&alone), Err(PlanError::Keys { .. })));
    }

    #[test]
    fn without_a_command_there_is_nobody_to_give_variables_to() {
        let intent = Intent::new(Instance::new("main").unwrap(), Scope::default());
        assert_eq!(plan(&intent), Err(PlanError::EmptyScope));
    }
}
