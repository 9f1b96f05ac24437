use steer_core::instance::Instance;
use steer_core::intent::{OnFailure, Scope};

use super::*;

fn intent(names: &[&str]) -> Intent {
    let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::default());
    intent.traffic.include.domains = names.iter().map(|n| n.parse().unwrap()).collect();
    intent.resolve.resolver = Some("192.0.2.53:53".parse().unwrap());
    intent
}

fn plan(intent: &Intent) -> Result<Plan, PlanError> {
    Dns.plan(intent, &Host::example())
}

#[test]
fn the_plan_is_a_resolver_and_a_listener_for_each_port() {
    let mut intent = intent(&["a.example", "b.example", "x.b.example"]);
    intent.traffic.exclude.domains = vec!["b.example".parse().unwrap()];
    intent.traffic.include.ports = vec!["5432".parse().unwrap()];
    intent.listen.dns = Some(53);
    assert_eq!(
        plan(&intent).unwrap().to_string(),
        "method dns\n\
         listener dns tcp 127.83.0.1:53 for dns, to 192.0.2.53:53\n\
         listener dns-udp udp 127.83.0.1:53 for dns, to 192.0.2.53:53\n\
         listener port5432 tcp 127.83.0.2:5432 127.83.0.3:5432 for dns\n\
         listener port5432-udp udp 127.83.0.2:5432 127.83.0.3:5432 for dns\n\
         note: programs are steered where they ask this resolver, which nothing makes them do: \
         write `nameserver 127.83.0.1` as the first line of /etc/resolv.conf\n\
         note: a.example is 127.83.0.2, x.b.example is 127.83.0.3\n\
         note: chosen names are reached on port 5432 alone, by IPv4; their other ports are \
         refused, as a resolver cannot know which port is asked for: write them under \
         traffic.include.ports\n\
         note: every local user can ask the resolver and reach the chosen names through it\n\
         note: when the engine is gone, chosen names do not resolve; any local program may take \
         the ports\n"
    );
}

#[test]
fn a_wildcard_has_addresses_in_store_and_the_usual_ports() {
    let text = plan(&intent(&["*.example"])).unwrap().to_string();
    assert!(text.contains("127.83.0.65:443"), "{text}");
    assert!(!text.contains("127.83.0.66:443"), "{text}");
    assert!(text.contains("at most 64 at a time"), "{text}");
    assert!(text.contains("port 80, 443 alone"), "{text}");
    assert!(text.contains("DNS=127.83.0.1:15053"), "{text}");
}

#[test]
fn protocols_and_ports_are_as_written() {
    let mut intent = intent(&["a.example"]);
    intent.traffic.include.protocols = vec![Protocol::Tcp];
    intent.traffic.include.ports = vec!["8000-8002".parse().unwrap()];
    intent.traffic.exclude.ports = vec!["8001".parse().unwrap()];
    let plan = plan(&intent).unwrap();
    let ids: Vec<_> = plan
        .objects
        .iter()
        .map(|planned| match &planned.object {
            Object::Listener(listener) => listener.id.to_string(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(ids, ["dns", "dns-udp", "port8000", "port8002"]);
    assert!(local::serves(&plan));
}

#[test]
fn what_leaves_nothing_is_told() {
    let why = |change: fn(&mut Intent)| {
        let mut intent = intent(&["a.example"]);
        change(&mut intent);
        plan(&intent).unwrap_err().to_string()
    };
    assert!(why(|i| i.traffic.include.domains.clear()).contains("no name is chosen"));
    let all = |i: &mut Intent| i.traffic.exclude.ports = vec!["1-65535".parse().unwrap()];
    assert!(why(all).contains("every port"));
    let both = |i: &mut Intent| i.traffic.exclude.protocols = vec![Protocol::Tcp, Protocol::Udp];
    assert!(why(both).contains("every protocol"));
    let many = |i: &mut Intent| i.traffic.include.ports = vec!["1-65535".parse().unwrap()];
    let many = why(many);
    assert!(
        many.contains("traffic ports") && many.contains("at most 512"),
        "{many}"
    );
}

#[test]
fn a_promise_that_cannot_be_kept_is_refused_by_name() {
    let mut intent = intent(&["a.example"]);
    intent.on_failure = Some(OnFailure::Closed);
    intent.scope.of.inbound = true;
    assert_eq!(
        plan(&intent),
        Err(PlanError::Keys {
            method: Method::Dns,
            keys: vec![Key::Inbound, Key::Closed],
        })
    );
}

#[test]
fn the_resolver_never_asks_itself() {
    let mut intent = intent(&["a.example"]);
    intent.resolve.resolver = None;
    let mut host = Host::example();
    host.resolvers = vec![local::RESOLVER];
    let error = Dns.plan(&intent, &host).unwrap_err();
    assert!(error.to_string().contains("a resolver to ask"), "{error}");
    assert!(error.help().contains("dns.resolver"), "{}", error.help());
    // The first of systemd-resolved, which is told to ask this resolver, would do so.
    host.resolvers.push("127.0.0.53".parse().unwrap());
    let error = Dns.plan(&intent, &host).unwrap_err();
    assert!(error.help().contains("dns.resolver"), "{}", error.help());
    let mut itself = intent.clone();
    itself.resolve.resolver = Some("127.83.0.1:53".parse().unwrap());
    let error = Dns.plan(&itself, &host).unwrap_err().to_string();
    assert!(error.contains("127.83.0.1:53, which is this"), "{error}");
    host.resolvers.push("192.0.2.54".parse().unwrap());
    let text = Dns.plan(&intent, &host).unwrap().to_string();
    assert!(text.contains("to 192.0.2.54:53"), "{text}");
}
