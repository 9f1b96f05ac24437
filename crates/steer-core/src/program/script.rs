//! The first line of a script.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::{ProgramError, search};

/// What the kernel reads of a file to tell what it is.
pub(super) const LONGEST: usize = 256;

/// How many interpreters may follow on each other; one more is ELOOP.
pub(super) const DEEPEST: usize = 5;

/// An interpreter with the one argument that the line gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    path: PathBuf,
    argument: Option<OsString>,
}

/// The interpreter that the first line of a file names after `#!`.
pub(super) fn interpreter(head: &[u8]) -> Option<Line> {
    let line = head.strip_prefix(b"#!")?;
    let end = line.iter().position(|b| matches!(b, b'\n' | 0));
    let line = trimmed(&line[..end.unwrap_or(line.len())]);
    let blank = line.iter().position(|b| is_blank(*b));
    let (path, rest) = line.split_at(blank.unwrap_or(line.len()));
    let argument = Some(trimmed(rest)).filter(|text| !text.is_empty());
    (!path.is_empty()).then(|| Line {
        path: OsString::from_vec(path.to_vec()).into(),
        argument: argument.map(|text| OsString::from_vec(text.to_vec())),
    })
}

impl Line {
    /// The program that reads the script: behind `env`, the one that it looks up.
    pub(super) fn program(&self) -> Result<PathBuf, ProgramError> {
        let named = self.argument.as_deref().filter(|_| is_env(&self.path));
        match named.and_then(wanted) {
            Some(name) => search::find(name, std::env::var_os("PATH").as_deref()),
            // The kernel searches no PATH.
            None => search::find(Path::new(".").join(&self.path).as_os_str(), None),
        }
    }
}

fn is_env(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new("env"))
}

/// The program that env(1) is to start: the first word that is no option and no variable.
fn wanted(argument: &OsStr) -> Option<&OsStr> {
    argument
        .as_bytes()
        .split(|b| is_blank(*b))
        .map(|word| word.strip_prefix(b"-S").unwrap_or(word))
        .find(|word| !word.is_empty() && !word.starts_with(b"-") && !word.contains(&b'='))
        .map(OsStr::from_bytes)
}

fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Option<(String, Option<String>)> {
        interpreter(head.as_bytes()).map(|line| {
            let text = |text: &OsStr| text.to_str().unwrap().to_owned();
            (
                text(line.path.as_os_str()),
                line.argument.as_deref().map(text),
            )
        })
    }

    #[test]
    fn the_line_is_a_path_and_at_most_one_argument() {
        let line = |path: &str, argument: Option<&str>| {
            Some((path.to_owned(), argument.map(ToOwned::to_owned)))
        };
        assert_eq!(read("#!/bin/sh\nexit"), line("/bin/sh", None));
        assert_eq!(read("#! /bin/sh -e -u \n"), line("/bin/sh", Some("-e -u")));
        assert_eq!(read("#!\t/x"), line("/x", None));
        assert_eq!(read("#!\n/bin/sh"), None);
        assert_eq!(read("/bin/sh"), None);
    }

    #[test]
    fn env_is_asked_for_the_program_that_it_starts() {
        for (argument, program) in [
            ("python3", Some("python3")),
            ("-S node --flag", Some("node")),
            ("-Snode --flag", Some("node")),
            ("-i A=b perl -w", Some("perl")),
            ("-i", None),
        ] {
            assert_eq!(wanted(OsStr::new(argument)), program.map(OsStr::new));
        }
    }
}
