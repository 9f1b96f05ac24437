//! The methods that a case is mounted for.

use lab::Need;

use crate::setup::Setup;
use crate::speech::Speech;

/// A method with what its clients speak: a column of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    /// `redirect` over nf_tables.
    RedirectNft,
    /// `redirect` over iptables.
    RedirectIptables,
    /// `env`, with clients that obey `http_proxy`.
    Env,
    /// `explicit`, with clients that speak CONNECT.
    ExplicitConnect,
    /// `explicit`, with clients that speak SOCKS5.
    ExplicitSocks5,
}

/// Why a method cannot do a case.
#[derive(Clone, Debug)]
pub struct Cannot {
    /// The reason, for the table.
    pub why: &'static str,
    /// What the method must refuse for that reason, where it is something that can be asked for.
    pub refused: Option<Asked>,
}

/// Something that a user can ask a method for.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// A line of a config, and how the refusal names its key.
    Line(&'static str, &'static str),
    /// `steer run`.
    Run,
}

impl Mount {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 5] = [
        Self::RedirectNft,
        Self::RedirectIptables,
        Self::Env,
        Self::ExplicitConnect,
        Self::ExplicitSocks5,
    ];

    /// How the table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::RedirectNft => "redirect (nft)",
            Self::RedirectIptables => "redirect (iptables)",
            Self::Env => "env",
            Self::ExplicitConnect => "explicit (CONNECT)",
            Self::ExplicitSocks5 => "explicit (SOCKS5)",
        }
    }

    /// The method's name.
    pub fn method(self) -> &'static str {
        match self {
            Self::RedirectNft | Self::RedirectIptables => "redirect",
            Self::Env => "env",
            Self::ExplicitConnect | Self::ExplicitSocks5 => "explicit",
        }
    }

    /// The packet filter, of methods that write rules.
    pub fn backend(self) -> Option<&'static str> {
        match self {
            Self::RedirectNft => Some("nft"),
            Self::RedirectIptables => Some("iptables"),
            Self::Env | Self::ExplicitConnect | Self::ExplicitSocks5 => None,
        }
    }

    /// What its clients say first.
    pub fn speech(self) -> Speech {
        match self {
            Self::RedirectNft | Self::RedirectIptables => Speech::Unaware,
            Self::Env | Self::ExplicitConnect => Speech::Connect,
            Self::ExplicitSocks5 => Speech::Socks5,
        }
    }

    /// Whether its clients know nothing of it.
    pub fn is_transparent(self) -> bool {
        self.speech() == Speech::Unaware
    }

    /// What its tests need.
    pub fn needs(self) -> &'static [Need] {
        match self {
            Self::RedirectNft => &[Need::Root],
            Self::RedirectIptables => &[Need::Root, Need::Program("iptables-restore")],
            // Root makes the namespaces; the methods themselves need none.
            Self::Env | Self::ExplicitConnect | Self::ExplicitSocks5 => &[Need::Root],
        }
    }

    /// Why it cannot do a case; the case's name decides.
    pub fn cannot(self, case: &str) -> Option<Cannot> {
        if self.is_transparent() {
            return match case {
                "a_name_is_resolved_by_the_engine"
                | "a_name_asked_for_goes_to_the_upstream_as_it_is" => Some(Cannot {
                    why: "its clients resolve names themselves",
                    refused: None,
                }),
                "a_proxy_port_cannot_be_asked_for_itself_in_any_spelling"
                | "the_port_of_a_command_serves_no_other_user" => Some(Cannot {
                    why: "it has no proxy port",
                    refused: None,
                }),
                _ => None,
            };
        }
        // `run` has a scope of its own, before any method is asked.
        let or_run = |key: &'static str| match self {
            Self::Env => "names another scope",
            _ => key,
        };
        let (why, refused) = match case {
            "a_neighbour_of_another_user_is_untouched" => (
                WILLING,
                Some(Asked::Line("scope: { uid: 4711 }", or_run("scope.uid"))),
            ),
            "a_neighbour_of_another_cgroup_is_untouched" => (
                WILLING,
                Some(Asked::Line(
                    "scope: { cgroup: some.slice }",
                    or_run("scope.cgroup"),
                )),
            ),
            "whoever_is_excepted_is_untouched" => (
                WILLING,
                Some(Asked::Line(
                    "scope: { host: true, except: { uid: 4711 } }",
                    "scope.",
                )),
            ),
            "a_command_is_steered_and_its_neighbour_is_not" if self != Self::Env => {
                ("it starts no command", Some(Asked::Run))
            }
            "excluded_ports_and_networks_are_untouched" => (
                CLIENTS_CHOICE,
                Some(Asked::Line(
                    "traffic: { exclude: { ports: [22] } }",
                    "traffic ports",
                )),
            ),
            "only_included_ports_and_networks_are_steered" => (
                CLIENTS_CHOICE,
                Some(Asked::Line(
                    "traffic: { include: { cidrs: [192.0.2.0/24] } }",
                    "traffic cidrs",
                )),
            ),
            "loopback_is_skipped" => (
                CLIENTS_CHOICE,
                Some(Asked::Line(
                    "traffic: { loopback: skip }",
                    "traffic.loopback: skip",
                )),
            ),
            "loopback_is_steered_where_asked" => (
                CLIENTS_CHOICE,
                Some(Asked::Line(
                    "traffic: { loopback: steer }",
                    "traffic.loopback: steer",
                )),
            ),
            "the_port_of_a_command_serves_no_other_user" if self != Self::Env => (
                "its port is made to be shared, with a login where one is asked for",
                None,
            ),
            "udp_of_the_scope_is_refused_under_closed"
            | "icmp_of_the_scope_is_refused_under_closed" => (
                "it sees only what its clients send to its port",
                Some(Asked::Line("on_failure: closed", "on_failure: closed")),
            ),
            "names_are_found_for_an_upstream_that_no_rule_asks_them_for" => (
                "its clients wait for the answer before they show a name, and can ask by name",
                None,
            ),
            "the_listener_cannot_be_dialled_in_any_spelling" => (
                "its listener is meant to be dialled: see the next case",
                None,
            ),
            _ => return None,
        };
        Some(Cannot { why, refused })
    }

    /// Holds a method to its refusal: `plan` names what it cannot honour.
    fn prove(self, cannot: &Cannot) {
        let (line, word, run) = match cannot.refused {
            None => return,
            Some(Asked::Line(line, word)) => (line, word, self == Self::Env),
            Some(Asked::Run) => ("", "run -- COMMAND", true),
        };
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("steer.yaml");
        let config = Setup::default().config(self);
        std::fs::write(&path, config + line + "\n").expect("a file in a new directory");
        let mut program = lab::Program::new(crate::steer()).args(["plan", "-m", self.method()]);
        if run {
            program = program.arg("--run");
        }
        let output = program.arg("-c").arg(path).run();
        assert_ne!(output.status, lab::Status::Exited(0), "{line}: {output:#?}");
        assert!(output.stderr.contains(word), "{word}: {output:#?}");
    }
}

/// Runs a case for a mount, or holds the mount to the reason why it cannot.
pub fn mounted(mount: Mount, case: &str, body: fn(Mount)) {
    if !lab::require(mount.needs()) {
        return;
    }
    match mount.cannot(case) {
        Some(cannot) => mount.prove(&cannot),
        None => body(mount),
    }
}

const WILLING: &str = "it binds willing clients only, whoever they are";
const CLIENTS_CHOICE: &str = "its clients choose what they send to its port";
