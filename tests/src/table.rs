//! The table of cases and methods, as it stands in the documentation.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::mount::Mount;

/// Cases that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// The heading.
    pub heading: &'static str,
    /// What its cases are about.
    pub about: About,
    /// Their names.
    pub cases: &'static [&'static str],
}

/// What a theme is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Which packets come to the engine: run for every packet filter.
    Rules,
    /// What becomes of them behind the rules: run for one packet filter at least.
    Engine,
}

/// Compares the table with the one in `docs/matrix.md`, or writes it there with `STEER_BLESS=1`.
pub fn hold_table(themes: &[Theme]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/matrix.md");
    let text = table(themes);
    if std::env::var_os("STEER_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &text).expect("the documentation can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "docs/matrix.md is not the matrix that is tested; write it with \
         `STEER_BLESS=1 cargo test -p steer-tests --test matrix the_matrix`"
    );
}

fn table(themes: &[Theme]) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    let mut text = String::from(HEAD);
    for Theme {
        heading,
        about,
        cases,
    } in themes
    {
        write!(text, "\n## {heading}\n\n| case |").expect("a String can be written");
        for mount in Mount::ALL {
            write!(text, " {} |", mount.title()).expect("a String can be written");
        }
        text += "\n| --- |";
        text += &" :-: |".repeat(Mount::ALL.len());
        text += "\n";
        for case in *cases {
            write!(text, "| {} |", case.replace('_', " ")).expect("a String can be written");
            for mount in Mount::ALL {
                let Some(cannot) = mount.cannot(case) else {
                    let elsewhere = *about == About::Engine && mount.stand_in().is_some();
                    text += if elsewhere { " = |" } else { " yes |" };
                    continue;
                };
                let known = reasons.iter().position(|why| *why == cannot.why);
                let number = known.unwrap_or_else(|| {
                    reasons.push(cannot.why);
                    reasons.len() - 1
                });
                write!(text, " ({}) |", number + 1).expect("a String can be written");
            }
            text += "\n";
        }
    }
    text += "\n## Why not\n\n";
    for (index, why) in reasons.iter().enumerate() {
        writeln!(text, "{}. {why}", index + 1).expect("a String can be written");
    }
    text
}

const HEAD: &str = "# The matrix

Every case is one function that runs once for every method, with the real command, in network
namespaces of its own: `cargo test -p steer-tests --test matrix`. This file is written by that
test with `STEER_BLESS=1` and compared with it otherwise. A number is a reason why a method
cannot; where a method has to refuse a config for that reason, the test holds it to the refusal.
`=` stands for a case about what lies behind the rules, which is run for the same method over nft.
";
