//! What rules of both packet filters do to what `ping` sends.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use lab::{Host, Lab, require};
use steer_core::address::Family;
use steer_core::driver::{Change, Driver};
use steer_core::instance::Instance;
use steer_core::object::{IptablesVariant, Object};
use steer_core::plan::Netns;
use steer_core::ruleset::{Base, Chain, ChainKind, Hook, Role, Rule, Ruleset, Test, Verdict};
use steer_kernel::iptables::IptablesDriver;
use steer_kernel::nft::NftDriver;

/// Drops the echo requests of a family that are sent here.
fn dropping(family: Family) -> Ruleset {
    Ruleset {
        role: Role::Steer,
        families: Family::ALL.to_vec(),
        chains: vec![Chain {
            name: "echo".to_owned(),
            base: Some(Base {
                kind: ChainKind::Filter,
                hook: Hook::Output,
                priority: 0,
            }),
            rules: vec![Rule::new([Test::Echo(family)], Verdict::Drop, "a test")],
        }],
    }
}

/// Sends a message of ICMP of a type to a host, and tells whether it left.
fn leaves(app: &Host, to: &Host, family: Family, kind: u8) -> bool {
    let (lab_family, python) = match family {
        Family::V4 => (lab::Family::V4, "AF_INET, socket.SOCK_RAW, 1"),
        Family::V6 => (lab::Family::V6, "AF_INET6, socket.SOCK_RAW, 58"),
    };
    let script = format!(
        "import socket\n\
         s = socket.socket(socket.{python})\n\
         try: s.sendto(bytes([{kind}]) + bytes(7), ('{}', 0)); print('left')\n\
         except PermissionError: print('dropped')",
        to.address(lab_family)
    );
    let said = app.program("python3").args(["-c", &script]).run();
    match said.expect_success().trim() {
        "left" => true,
        "dropped" => false,
        other => panic!("{other}"),
    }
}

/// Types of ICMP: the echo request, its reply, and one of another kind.
fn types(family: Family) -> [u8; 3] {
    match family {
        Family::V4 => [8, 0, 13],
        Family::V6 => [128, 129, 135],
    }
}

/// A ruleset as the object of a filter.
type Made = Box<dyn Fn(Ruleset) -> Object>;

#[test]
fn echo_requests_of_a_family_are_known_and_nothing_else_is_taken_for_them() {
    require!(
        Root,
        Program("python3"),
        Program("iptables-nft"),
        Program("iptables-legacy")
    );
    let lab = Lab::new("echo");
    let (app, srv) = (lab.host("app"), lab.host("srv"));
    lab.link(&app, &srv);
    let netns = Netns::Path(app.namespace_path().to_str().unwrap().to_owned());
    let instance = Instance::new("main").unwrap();
    let nft = |rules| Object::Nft(rules);
    let iptables = |variant| move |rules| Object::Iptables(rules, variant);
    let filters: [(Box<dyn Driver>, Made); 3] = [
        (Box::new(NftDriver::new()), Box::new(nft)),
        (
            Box::new(IptablesDriver::new()),
            Box::new(iptables(IptablesVariant::Nft)),
        ),
        (
            Box::new(IptablesDriver::new()),
            Box::new(iptables(IptablesVariant::Legacy)),
        ),
    ];
    for (mut driver, object) in filters {
        let mut from = Vec::new();
        for asked in Family::ALL {
            let to = vec![object(dropping(asked))];
            let change = Change {
                instance: &instance,
                netns: &netns,
                from: &from,
                to: &to,
            };
            driver.set(&change).unwrap();
            for family in Family::ALL {
                let [request, others @ ..] = types(family);
                let left = leaves(&app, &srv, family, request);
                assert_eq!(left, family != asked, "{driver:?} {asked} {family}");
                for other in others {
                    assert!(leaves(&app, &srv, family, other), "{driver:?} {other}");
                }
            }
            from = to;
        }
        let nothing = Change {
            instance: &instance,
            netns: &netns,
            from: &from,
            to: &[],
        };
        driver.set(&nothing).unwrap();
    }
}
