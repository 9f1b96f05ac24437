//! What rules change in heads.
use bytes::Bytes;
use steer_core::policy::{Edits, NormalPath, PathEdit};
use steer_http::{Fields, Request};

use crate::value::{ValueError, Values};

/// The values that edits put into fields, found before anything is changed.
pub(super) struct Found {
    set: Vec<Bytes>,
    add: Vec<Bytes>,
}

/// A path that cannot be edited: servers read it in ways that cannot be told, so that what is put
/// before it might be left again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path of the request cannot be read")]
pub(super) struct Unreadable;

/// Finds the values that edits need.
pub(super) async fn find(edits: &Edits, values: &Values) -> Result<Found, ValueError> {
    let Edits {
        remove: _,
        set,
        add,
    } = edits;
    let mut found = Found {
        set: Vec::with_capacity(set.len()),
        add: Vec::with_capacity(add.len()),
    };
    for (into, from) in [(&mut found.set, set), (&mut found.add, add)] {
        for (_, value) in from {
            into.push(values.get(value).await?);
        }
    }
    Ok(found)
}

/// Changes fields: takes away, sets, adds, in this order.
pub(super) fn apply(edits: &Edits, found: Found, fields: &mut Fields) {
    let Edits { remove, set, add } = edits;
    for name in remove {
        fields.remove(name);
    }
    for ((name, _), value) in set.iter().zip(found.set) {
        fields.set(name, value);
    }
    for ((name, _), value) in add.iter().zip(found.add) {
        fields.add(Bytes::copy_from_slice(name.as_bytes()), value);
    }
}

/// Changes the path of a request; the query stays, and a request without a path is left alone.
///
/// A path that is not in its normal form is brought into it first: dot segments would otherwise
/// leave what is put before them, or hide what is to be stripped.
pub(super) fn path(edit: &PathEdit, request: &mut Request) -> Result<(), Unreadable> {
    if request.method == "CONNECT" {
        return Ok(());
    }
    if let Some(target) = edited(edit, &request.target)? {
        request.target = target;
    }
    Ok(())
}

/// A target with its path changed; none where it has no path, or stays.
fn edited(edit: &PathEdit, target: &str) -> Result<Option<String>, Unreadable> {
    let PathEdit { strip, prefix } = edit;
    let begin = if target.starts_with('/') {
        0
    } else {
        let Some((scheme, rest)) = target.split_once("://") else {
            return if target == "*" {
                Ok(None)
            } else {
                Err(Unreadable)
            };
        };
        let authority = rest.find(['/', '?']).unwrap_or(rest.len());
        scheme.len() + "://".len() + authority
    };
    let (before, rest) = target.split_at(begin);
    let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let normal = NormalPath::of(path).ok_or(Unreadable)?;
    let path = normal.as_str();
    let left = match path.strip_prefix(strip.trim_end_matches('/')) {
        Some(left) if left.is_empty() || left.starts_with('/') => left,
        _ => path,
    };
    let prefix = prefix.trim_end_matches('/');
    let left = match (prefix, left) {
        ("", "") => "/",
        _ => left,
    };
    let edited = format!("{before}{prefix}{left}{query}");
    Ok((edited != target).then_some(edited))
}

#[cfg(test)]
mod tests;
