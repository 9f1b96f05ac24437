use super::*;
use steer_core::address::Protocol;
use steer_core::ruleset::{Role, Rule, Test};
use steer_core::symbol::PortRef;

fn instance() -> Instance {
    Instance::new("main").unwrap()
}

fn rules() -> Ruleset {
    Ruleset {
        role: Role::Steer,
        families: Family::ALL.to_vec(),
        chains: vec![
            Chain {
                name: "send".to_owned(),
                base: None,
                rules: vec![
                    Rule::new(
                        [Test::To(vec!["127.0.0.0/8".parse().unwrap()])],
                        Verdict::Return,
                        "loopback is skipped",
                    ),
                    Rule::new(
                        [Test::Protocol(Protocol::Tcp), Test::Opening],
                        Verdict::Redirect(PortRef::Fixed(15001)),
                        "to the engine",
                    ),
                ],
            },
            Chain {
                name: "out".to_owned(),
                base: Some(Base {
                    kind: ChainKind::Nat,
                    hook: Hook::Output,
                    priority: -101,
                }),
                rules: vec![Rule::new(
                    [Test::Uid(vec![
                        "1000".parse().unwrap(),
                        "2000-2999".parse().unwrap(),
                    ])],
                    Verdict::Jump("send".to_owned()),
                    "these users",
                )],
            },
        ],
    }
}

fn wanted(ruleset: &Ruleset, family: Family) -> State {
    State::wanted(&[ruleset], family, &instance()).unwrap()
}

const MADE: &str = r#"*nat
:STEER_main_OUT - [0:0]
:STEER_main_SEND - [0:0]
-A STEER_main_OUT -m owner --uid-owner 1000 -m comment --comment "these users" -j STEER_main_SEND
-A STEER_main_OUT -m owner --uid-owner 2000-2999 -m comment --comment "these users" -j STEER_main_SEND
-A STEER_main_SEND -d 127.0.0.0/8 -m comment --comment "loopback is skipped" -j RETURN
-A STEER_main_SEND -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m comment --comment "to the engine" -j REDIRECT --to-ports 15001
-I OUTPUT 1 -m comment --comment "steer main" -j STEER_main_OUT
COMMIT
"#;

#[test]
fn a_ruleset_is_made_by_one_text_a_family() {
    let text = State::default().change_to(&wanted(&rules(), Family::V4));
    assert_eq!(text, MADE);
    let text = State::default().change_to(&wanted(&rules(), Family::V6));
    let without: Vec<&str> = MADE
        .lines()
        .filter(|line| !line.contains("127.0.0.0"))
        .collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), without);
}

#[test]
fn what_stands_is_refilled_and_its_jump_is_left() {
    let state = wanted(&rules(), Family::V4);
    let again = state.change_to(&state);
    let without: Vec<&str> = MADE
        .lines()
        .filter(|line| !line.starts_with("-I"))
        .collect();
    assert_eq!(again.lines().collect::<Vec<_>>(), without);
}

#[test]
fn retired_rules_keep_the_hook_and_lose_the_rest() {
    let text = wanted(&rules(), Family::V6).change_to(&wanted(&rules().retired(), Family::V6));
    let expected = r#"*nat
:STEER_main_OUT - [0:0]
-F STEER_main_SEND
-A STEER_main_OUT -m conntrack --ctstate DNAT -m comment --comment "keeps connection tracking on for the flows that were rewritten" -j RETURN
-X STEER_main_SEND
COMMIT
"#;
    assert_eq!(text, expected);
}

#[test]
fn everything_of_ours_is_removed_and_nothing_of_others() {
    let listing = r#"-P OUTPUT ACCEPT
-N DOCKER
-N STEER_main_OUT
-N STEER_main_SEND
-N STEER_main_x_OUT
-A OUTPUT -m comment --comment "steer main" -j STEER_main_OUT
-A OUTPUT -j DOCKER
-A OUTPUT -m comment --comment "steer main" -j STEER_main_OUT
-A OUTPUT -m comment --comment "steer main_x" -j STEER_main_x_OUT
-A STEER_main_OUT -j STEER_main_SEND
-A STEER_main_SEND -j RETURN
"#;
    let mut standing = State::default();
    standing.read(ChainKind::Nat, listing, &instance());
    let expected = r#"*nat
-D OUTPUT -m comment --comment "steer main" -j STEER_main_OUT
-D OUTPUT -m comment --comment "steer main" -j STEER_main_OUT
-F STEER_main_OUT
-F STEER_main_SEND
-X STEER_main_OUT
-X STEER_main_SEND
COMMIT
"#;
    assert_eq!(standing.change_to(&State::default()), expected);
    let back = State::default().change_to(&standing);
    assert!(
        back.contains("-A STEER_main_OUT -j STEER_main_SEND\n"),
        "{back}"
    );
    let text = standing.change_to(&wanted(&rules(), Family::V4));
    assert_eq!(
        text.matches("-D OUTPUT").count(),
        1,
        "a jump too many goes: {text}"
    );
    assert!(!text.contains("-I OUTPUT"), "{text}");
}

#[test]
fn nothing_to_do_is_no_text() {
    let mut nothing = State::default();
    nothing.read(ChainKind::Nat, "-P OUTPUT ACCEPT\n", &instance());
    assert!(nothing.is_empty());
    assert_eq!(nothing.change_to(&State::default()), "");
}

#[test]
fn the_longest_names_fit_the_kernels_28_bytes() {
    let name = chain_name(&Instance::new("abcdefghijkl").unwrap(), "outbound");
    assert!(name.len() <= 28, "{name}");
    assert_eq!(owner(&name), Instance::new("abcdefghijkl").ok());
    assert_eq!(owner("STEER_a_b_OUT"), Instance::new("a_b").ok());
    for foreign in [
        "STEER_OUT",
        "STEER__OUT",
        "STEER_a_",
        "STEER_a_out",
        "DOCKER",
        "STEER_A_OUT",
    ] {
        assert_eq!(owner(foreign), None, "{foreign}");
    }
}
