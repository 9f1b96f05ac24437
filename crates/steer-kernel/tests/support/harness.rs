//! Runs tests in a program that can also be started as something else.
//!
//! The standard harness owns `main`, and a keeper has to be told apart there.
#![allow(clippy::print_stdout, reason = "results of tests")]

use std::panic::catch_unwind;
use std::process::ExitCode;

/// A test: its name and what it does.
pub(crate) type Test = (&'static str, fn());

/// Runs the tests whose names hold the words of the command line, one after the other.
pub(crate) fn run(tests: &[Test]) -> ExitCode {
    let mut listing = false;
    let mut words = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => listing = true,
            "--test-threads" | "--format" | "--skip" | "--color" => drop(arguments.next()),
            flag if flag.starts_with('-') => {}
            _ => words.push(argument),
        }
    }
    let wanted = |name: &str| words.is_empty() || words.iter().any(|w| name.contains(w.as_str()));
    let mut failed = Vec::new();
    for (name, test) in tests {
        // `stringify!` may put blanks and line ends into a path.
        let name: String = name.split_whitespace().collect();
        if !wanted(&name) {
            continue;
        }
        if listing {
            println!("{name}: test");
            continue;
        }
        print!("test {name} ... ");
        if catch_unwind(test).is_ok() {
            println!("ok");
        } else {
            println!("FAILED");
            failed.push(name);
        }
    }
    if listing {
        return ExitCode::SUCCESS;
    }
    println!("\ntest result: {} failed {failed:?}", failed.len());
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// The tests of these names.
macro_rules! tests {
    ($($($step:ident)::+),* $(,)?) => {
        &[$((stringify!($($step)::+), $($step)::+ as fn())),*]
    };
}
pub(crate) use tests;
