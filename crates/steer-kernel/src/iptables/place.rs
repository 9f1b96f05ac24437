//! Where the kernel takes a rule: what iptables can match and do only in some tables and hooks.

use steer_core::ruleset::{Base, ChainKind, Hook, Rule, Test, Verdict};

use super::render::Unrenderable;
use super::state::{hook_name, table_name};

/// Whether packets that come from `base` can meet the rule.
///
/// The kernel would refuse most of these too, but some only while it applies the text, after the
/// tables before it in the text have changed.
pub(crate) fn check(rule: &Rule, base: Base) -> Result<(), Unrenderable> {
    let refuse = |what: &'static str| {
        Err(Unrenderable::Place {
            what,
            table: table_name(base.kind),
            hook: hook_name(base.hook),
            rule: rule.to_string(),
        })
    };
    for test in &rule.tests {
        match (test, base.hook) {
            (Test::Uid(_) | Test::Gid(_), Hook::Prerouting | Hook::Input | Hook::Forward) => {
                return refuse("a socket's owner");
            }
            (Test::Cgroup(_), Hook::Prerouting | Hook::Forward) => return refuse("a cgroup"),
            (Test::Transparent, Hook::Forward | Hook::Output | Hook::Postrouting) => {
                return refuse("a transparent socket");
            }
            (Test::From(_), Hook::Output | Hook::Postrouting) => {
                return refuse("an interface of arrival");
            }
            (Test::Into(_), Hook::Prerouting | Hook::Input) => {
                return refuse("an interface of departure");
            }
            (
                Test::Uid(_)
                | Test::Gid(_)
                | Test::Cgroup(_)
                | Test::Transparent
                | Test::From(_)
                | Test::Into(_),
                Hook::Prerouting | Hook::Input | Hook::Forward | Hook::Output | Hook::Postrouting,
            )
            | (
                Test::Family(_)
                | Test::Protocol(_)
                | Test::Opening
                | Test::To(_)
                | Test::ToNames(..)
                | Test::ToPort(_)
                | Test::ToListener(_)
                | Test::Marked(_)
                | Test::Tracked(_)
                | Test::ToThisHost
                | Test::ToBroadcast
                | Test::Echo(_)
                | Test::Ordinary
                | Test::FromOpener
                | Test::ToOpener
                | Test::Rewritten
                | Test::RewrittenTo(_),
                _,
            ) => {}
        }
    }
    match (&rule.verdict, base.kind, base.hook) {
        // The table filter has no chain there.
        (_, ChainKind::Filter, Hook::Prerouting | Hook::Postrouting) => refuse("a filter"),
        (Verdict::Redirect(_), ChainKind::Nat, Hook::Prerouting | Hook::Output)
        | (Verdict::Reset | Verdict::Prohibit, ChainKind::Filter, _)
        | (Verdict::Tproxy { .. }, ChainKind::Route, Hook::Prerouting)
        | (Verdict::Drop, ChainKind::Filter | ChainKind::Route, _)
        | (Verdict::Return | Verdict::Jump(_) | Verdict::Track(_) | Verdict::Mark(_), _, _) => {
            Ok(())
        }
        (Verdict::Redirect(_), _, _) => refuse("a redirect"),
        (Verdict::Reset | Verdict::Prohibit | Verdict::Drop, _, _) => refuse("a refusal"),
        (Verdict::Tproxy { .. }, _, _) => refuse("tproxy"),
    }
}

#[cfg(test)]
mod tests {
    use steer_core::intent::OnFailure;
    use steer_core::mark::Mark;
    use steer_core::symbol::{MarkRef, PortRef};

    use super::*;

    fn at(kind: ChainKind, hook: Hook) -> Base {
        Base {
            kind,
            hook,
            priority: 0,
        }
    }

    #[test]
    fn what_iptables_cannot_do_in_a_table_is_told_with_the_rule() {
        let tproxy = Verdict::Tproxy {
            to: PortRef::Fixed(15001),
            mark: MarkRef::Fixed(Mark::STEER),
            dead: OnFailure::Closed,
        };
        let uid = Test::Uid(vec!["5".parse().unwrap()]);
        let lo = Test::From(vec!["lo".to_owned()]);
        let into = Test::Into(vec!["lo".to_owned()]);
        let mangle = ChainKind::Route;
        let cases = [
            (None, tproxy.clone(), mangle, Hook::Output, "tproxy"),
            (None, tproxy, ChainKind::Nat, Hook::Prerouting, "tproxy"),
            (None, Verdict::Reset, mangle, Hook::Input, "a refusal"),
            (
                None,
                Verdict::Redirect(PortRef::Fixed(1)),
                mangle,
                Hook::Output,
                "a redirect",
            ),
            (
                Some(uid),
                Verdict::Return,
                mangle,
                Hook::Prerouting,
                "a socket's owner",
            ),
            (
                Some(lo),
                Verdict::Return,
                mangle,
                Hook::Output,
                "an interface of arrival",
            ),
            (
                Some(into),
                Verdict::Return,
                mangle,
                Hook::Input,
                "an interface of departure",
            ),
            (
                None,
                Verdict::Drop,
                ChainKind::Nat,
                Hook::Output,
                "a refusal",
            ),
            (
                None,
                Verdict::Drop,
                ChainKind::Filter,
                Hook::Postrouting,
                "a filter",
            ),
            (
                Some(Test::Transparent),
                Verdict::Return,
                mangle,
                Hook::Output,
                "a transparent socket",
            ),
        ];
        for (test, verdict, kind, hook, expected) in cases {
            let rule = Rule::new(test, verdict, "why");
            let error = check(&rule, at(kind, hook)).unwrap_err().to_string();
            let place = format!(
                "the chain {} of the table {}",
                hook_name(hook),
                table_name(kind)
            );
            assert_eq!(error, format!("{expected} has no place in {place}: {rule}"));
        }
    }
}
