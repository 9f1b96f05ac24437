//! Node: whether it can read the variables, which older ones cannot.
//!
//! A version cannot be asked for without starting it, but the variable that switches the reading
//! on (Node 22.21, 24.5) has its name in the file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use memchr::memmem::Finder;

/// Why a program that is a Node goes round the variables; `None` also for what is none, or cannot
/// be read.
pub(super) fn reason(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?;
    if name != "node" && name != "nodejs" {
        return None;
    }
    let [is_node, is_shared, reads] = contains(&mut File::open(path).ok()?, TEXTS).ok()?;
    // Where a library holds Node, this file tells nothing.
    (is_node && !is_shared && !reads)
        .then_some("this Node reads no proxy variable; from 22.21 and 24.5 on it does")
}

/// A text of every Node of the last years, one of those whose code is in a library, and the one
/// that matters.
const TEXTS: [&str; 3] = ["NODE_OPTIONS", "libnode.so", "NODE_USE_ENV_PROXY"];

/// Which of the texts a file holds.
fn contains<const N: usize>(file: &mut impl Read, texts: [&str; N]) -> io::Result<[bool; N]> {
    let finders = texts.map(Finder::new);
    let mut found = [false; N];
    let overlap = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    let mut buffer = Vec::with_capacity(PIECE + overlap);
    while found.contains(&false) {
        if file.by_ref().take(PIECE as u64).read_to_end(&mut buffer)? == 0 {
            break;
        }
        for (found, finder) in found.iter_mut().zip(&finders) {
            *found = *found || finder.find(&buffer).is_some();
        }
        // A text may lie across two pieces.
        buffer.drain(..buffer.len().saturating_sub(overlap));
    }
    Ok(found)
}

/// How much is read at a time, of a hundred megabytes.
const PIECE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_wherever_it_lies() {
        for before in [0, 5, PIECE - 12, PIECE - 1, PIECE, 3 * PIECE - 2] {
            let mut bytes = vec![b'x'; before];
            bytes.extend(b"NODE_OPTIONS and more");
            let found = contains(&mut bytes.as_slice(), ["NODE_OPTIONS", "absent"]).unwrap();
            assert_eq!(found, [true, false], "{before}");
        }
        assert_eq!(contains(&mut &b""[..], ["a"]).unwrap(), [false]);
    }
}
