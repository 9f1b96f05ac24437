//! Where names stand in the data of types that senders may compress (RFC 3597, section 4).
//!
//! Such data means nothing outside its message, so its names are read and kept in full.

use super::malformed::Malformed;
use super::question::Kind;
use super::wire::Reader;

/// How the data of a type begins: so many bytes, then so many names.
struct Layout {
    kind: Kind,
    bytes: usize,
    names: usize,
}

/// The data of a record with its names in full.
pub(super) fn expand(kind: Kind, data: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    if let Some(layout) = LAYOUTS.iter().find(|l| l.kind == kind) {
        out.extend_from_slice(data.bytes(layout.bytes)?);
        for _ in 0..layout.names {
            out.extend_from_slice(data.name()?.as_wire());
        }
    }
    out.extend_from_slice(data.rest());
    Ok(out)
}

const fn layout(kind: u16, bytes: usize, names: usize) -> Layout {
    Layout {
        kind: Kind(kind),
        bytes,
        names,
    }
}

/// NS, MD, MF, SOA, MB, MG, MR, MINFO, MX, RP, AFSDB, RT, SIG, PX, NXT, SRV, KX, DNAME.
const LAYOUTS: [Layout; 18] = [
    layout(2, 0, 1),
    layout(3, 0, 1),
    layout(4, 0, 1),
    layout(6, 0, 2),
    layout(7, 0, 1),
    layout(8, 0, 1),
    layout(9, 0, 1),
    layout(14, 0, 2),
    layout(15, 2, 1),
    layout(17, 0, 2),
    layout(18, 2, 1),
    layout(21, 2, 1),
    layout(24, 18, 1),
    layout(26, 2, 2),
    layout(30, 0, 1),
    layout(33, 6, 1),
    layout(36, 2, 1),
    layout(39, 0, 1),
];
