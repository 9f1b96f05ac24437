//! PROXY protocol headers.

use steer_core::proxy_protocol::{Header, Origin, Version, parse};

use crate::cuts::cuts;

/// Parses a header, writes what was read, and parses that.
///
/// # Panics
/// Where a prefix is understood otherwise than the whole, or what was written is read otherwise.
pub fn proxy_protocol(data: &[u8]) {
    let (cuts, bytes) = cuts(data);
    let whole = parse(bytes);
    for cut in cuts.into_iter().filter(|cut| *cut <= bytes.len()) {
        match (&whole, parse(&bytes[..cut])) {
            (Ok(Some((header, length))), Ok(Some(read))) => {
                assert_eq!((header, *length), (&read.0, read.1));
            }
            (Ok(Some((_, length))), Ok(None)) => assert!(cut < *length, "{cut} of {length}"),
            (_, Ok(None)) => {}
            (Err(_), Err(_)) => {}
            (whole, part) => panic!("{whole:?} but of the first {cut}: {part:?}"),
        }
    }
    let Ok(Some((header, length))) = whole else {
        return;
    };
    assert!(length <= bytes.len());
    let v2 = header.encode(Version::V2).expect("what was read has room");
    let (again, all) = parse(&v2).expect("what was written").expect("whole");
    assert_eq!((&again, all), (&header, v2.len()));
    let v1 = header.encode(Version::V1).expect("a line has room");
    let (again, all) = parse(&v1).expect("what was written").expect("whole");
    assert_eq!(all, v1.len());
    if again.origin != Origin::Unknown {
        assert_eq!(again.origin, header.origin);
    }
    let Header { origin: _, tlvs: _ } = again;
}
