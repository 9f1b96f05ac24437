//! Programs of which it is known, before they start, that they read no proxy variable.
//!
//! ```text
//! name ─> table ──────────────┐
//! file ─> interpreter ─> table ┼─> steered, or a reason why not
//!      └> node ────────────────┘
//! ```
//!
//! Of all others nothing is claimed: whether a program obeys the variables shows only when it
//! runs.

mod node;
mod table;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use steer_core::method::Method;
use steer_core::program::{Image, Program};
use steer_core::steerer::Slips;

/// Whether a program would obey the variables, as far as that is known.
pub(crate) fn examine(path: &Path, args: &[OsString]) -> Result<(), Slips> {
    match reason(path, args) {
        None => Ok(()),
        Some(why) => Err(Slips {
            program: path.display().to_string(),
            method: Method::Env,
            why: why.to_owned(),
            remedy: "choose a method that programs need not know of (netns, seccomp, preload), or \
                     let it go direct by --allow-unsteered"
                .to_owned(),
        }),
    }
}

fn reason(path: &Path, args: &[OsString]) -> Option<&'static str> {
    if let Some(why) = named(path, args) {
        return Some(why);
    }
    // Where the file cannot be read, nothing is known of it.
    let program = Program::read(path).ok()?;
    if program.image == Image::Other {
        return None;
    }
    if program.interpreters.is_empty() {
        return node::reason(path);
    }
    // What a script's interpreter cannot do, the script cannot do by it. A runtime is no such
    // case: the script's own libraries may read the variables, as npm's do under any Node.
    named(program.executed(), &[])
}

/// What the table says of a file by its name, or by that of the file behind it (nc.openbsd).
fn named(path: &Path, args: &[OsString]) -> Option<&'static str> {
    let name = path.file_name()?;
    if MANY_IN_ONE.iter().any(|many| name == *many) {
        return table::reason(args.first()?, &args[1..]);
    }
    let by_name = table::reason(name, args);
    by_name.or_else(|| {
        let behind = path.canonicalize().ok()?;
        table::reason(behind.file_name()?, args)
    })
}

/// Programs that are what their first argument says.
const MANY_IN_ONE: [&str; 2] = ["busybox", "toybox"];

/// The first argument, where a program does different things by it.
fn verb(args: &[OsString]) -> Option<&OsStr> {
    args.first().map(OsString::as_os_str)
}

#[cfg(test)]
mod tests;
