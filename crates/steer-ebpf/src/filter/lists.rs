//! Lists of bounded length.

use steer_core::address::IdRange;

use super::{FilterError, NOWHERE, Part};
use crate::abi::{Cgroups, LIST, Names, Ranges};

/// Ranges of ids, joined where they overlap or touch.
pub(super) fn ranges(part: Part, list: &[IdRange]) -> Result<Ranges, FilterError> {
    let mut sorted: Vec<[u32; 2]> = list.iter().map(|r| [r.first(), r.last()]).collect();
    sorted.sort_unstable();
    let mut joined: Vec<[u32; 2]> = Vec::new();
    for [first, last] in sorted {
        match joined.last_mut() {
            Some([_, end]) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => joined.push([first, last]),
        }
    }
    let mut ranges = [[1, 0]; LIST];
    Ok(Ranges {
        count: fill(part, &mut ranges, &joined)?,
        ranges,
    })
}

/// Names of processes.
pub(super) fn names(part: Part, list: &[String]) -> Result<Names, FilterError> {
    let mut wanted = Vec::with_capacity(list.len());
    for name in list {
        let mut bytes = [0; 16];
        // The last byte stays zero, as the kernel's own names end.
        if !(1..bytes.len()).contains(&name.len()) || name.contains('\0') {
            let name = name.clone();
            return Err(FilterError::Name { part, name });
        }
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        wanted.push(bytes);
    }
    wanted.sort_unstable();
    wanted.dedup();
    let mut names = [[0; 16]; LIST];
    Ok(Names {
        count: fill(part, &mut names, &wanted)?,
        names,
    })
}

/// Cgroups by id.
pub(super) fn cgroups(part: Part, list: &[u64]) -> Result<Cgroups, FilterError> {
    let mut wanted = list.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let mut ids = [NOWHERE; LIST];
    Ok(Cgroups {
        count: fill(part, &mut ids, &wanted)?,
        ids,
        unused: 0,
    })
}

/// Copies a list to the front of its place, and gives its length.
fn fill<T: Copy>(part: Part, place: &mut [T; LIST], list: &[T]) -> Result<u32, FilterError> {
    let Some(front) = place.get_mut(..list.len()) else {
        return Err(FilterError::TooMany {
            part,
            count: list.len(),
            most: LIST,
        });
    };
    front.copy_from_slice(list);
    Ok(u32::try_from(list.len()).expect("the list is short"))
}
