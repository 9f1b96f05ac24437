//! Fields between the codec's map and the list that gateways see.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::fault::Fault;
use crate::fields::Fields;

/// Reads the fields of a map, all into one piece of memory.
pub(super) fn read(map: &HeaderMap) -> Fields {
    let mut block = BytesMut::with_capacity(size(map));
    for (name, value) in map {
        block.extend_from_slice(name.as_str().as_bytes());
        block.extend_from_slice(value.as_bytes());
    }
    let mut block: Bytes = block.freeze();
    let mut fields = Fields::default();
    for (name, value) in map {
        let name = block.split_to(name.as_str().len());
        fields.add(name, block.split_to(value.len()));
    }
    fields
}

/// Writes fields. Where nobody changed them that is the map that they came in; what was put in by
/// others than the peer is never put into a table of the codec, which the receiver keeps.
pub(super) fn write(fields: &Fields, came: &HeaderMap) -> Result<HeaderMap, Fault> {
    let mut had = came
        .iter()
        .map(|(n, v)| (n.as_str().as_bytes(), v.as_bytes()));
    if fields.len() == came.len() && fields.iter().all(|field| had.next() == Some(field)) {
        return Ok(came.clone());
    }
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter() {
        let name = HeaderName::from_bytes(name).map_err(|_| MALFORMED)?;
        let had = came.get_all(&name).iter().find(|had| *had == value);
        let value = match had {
            Some(had) => had.clone(),
            None => {
                let mut value = HeaderValue::from_bytes(value).map_err(|_| MALFORMED)?;
                value.set_sensitive(true);
                value
            }
        };
        map.try_append(name, value).map_err(|_| MALFORMED)?;
    }
    Ok(map)
}

/// Bytes of names and values.
pub(super) fn size(map: &HeaderMap) -> usize {
    map.iter().map(|(n, v)| n.as_str().len() + v.len()).sum()
}

const MALFORMED: Fault = Fault::Change("a field that was put in cannot be written");

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn unchanged_fields_are_written_as_they_came() {
        let came = map(&[("accept", "a"), ("cookie", "1"), ("cookie", "2")]);
        let fields = read(&came);
        assert_eq!(fields.values("cookie").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(write(&fields, &came).expect("well-formed"), came);
    }

    #[test]
    fn a_field_that_was_put_in_is_kept_out_of_tables_and_the_others_stay_as_they_were() {
        let came = map(&[("accept", "a"), ("x-debug", "1")]);
        let mut fields = read(&came);
        fields.remove("x-debug");
        fields.set("Authorization", "Bearer t");
        let written = write(&fields, &came).expect("well-formed");
        assert_eq!(
            written,
            map(&[("accept", "a"), ("authorization", "Bearer t")])
        );
        assert!(written["authorization"].is_sensitive());
        assert!(!written["accept"].is_sensitive());
    }

    #[test]
    fn a_field_that_cannot_be_written_is_refused() {
        for (name, value) in [("a b", "1"), ("a", "1\n2")] {
            let mut fields = Fields::default();
            fields.add(name, value);
            assert!(write(&fields, &HeaderMap::new()).is_err(), "{name}");
        }
    }
}
