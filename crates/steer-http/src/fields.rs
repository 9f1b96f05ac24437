//! The fields of a head, in their order.

use bytes::Bytes;

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: Bytes,
    value: Bytes,
    /// The whole line without its end, as it came by HTTP/1; none of a field that was made here.
    line: Option<Bytes>,
}

/// The fields of a head, in their order. Those that nobody changes stay as they came.
///
/// ```
/// use steer_http::Fields;
///
/// let mut fields = Fields::default();
/// fields.add("Accept", "a");
/// fields.add("X-Debug", "1");
/// fields.add("accept", "b");
/// fields.remove("x-debug");
/// assert_eq!(fields.values("ACCEPT").collect::<Vec<_>>(), [b"a", b"b"]);
/// fields.set("accept", "c");
/// assert_eq!(fields.iter().collect::<Vec<_>>(), [(&b"accept"[..], &b"c"[..])]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    fields: Vec<Field>,
}

impl Fields {
    /// The values of a name, whose case does not matter.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let of_name = |field: &&Field| field.name.eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(of_name).map(|f| &f.value[..])
    }

    /// The first value of a name.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|f| (&f.name[..], &f.value[..]))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Puts a field behind the others.
    pub fn add(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.fields.push(Field {
            name: name.into(),
            value: value.into(),
            line: None,
        });
    }

    /// Puts a field as it came, with its whole line without the end.
    pub fn add_line(&mut self, name: Bytes, value: Bytes, line: Bytes) {
        self.fields.push(Field {
            name,
            value,
            line: Some(line),
        });
    }

    /// Takes every field of a name away, and tells how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        let before = self.fields.len();
        let other = |field: &Field| !field.name.eq_ignore_ascii_case(name.as_bytes());
        self.fields.retain(other);
        before - self.fields.len()
    }

    /// Has a name stand once, with this value, at the place of its first field, else behind the
    /// others.
    pub fn set(&mut self, name: &str, value: impl Into<Bytes>) {
        let is = |field: &Field| field.name.eq_ignore_ascii_case(name.as_bytes());
        let field = Field {
            name: Bytes::copy_from_slice(name.as_bytes()),
            value: value.into(),
            line: None,
        };
        match self.fields.iter().position(is) {
            None => self.fields.push(field),
            Some(at) => {
                self.fields[at] = field;
                let mut index = 0;
                self.fields.retain(|field| {
                    index += 1;
                    index - 1 <= at || !is(field)
                });
            }
        }
    }

    /// Each field's line as HTTP/1 writes it, without its end.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.fields.iter().map(|field| match &field.line {
            Some(line) => Line::AsItCame(line),
            None => Line::Made(&field.name, &field.value),
        })
    }
}

/// A field's line.
pub(crate) enum Line<'a> {
    /// As it came.
    AsItCame(&'a [u8]),
    /// From a name and a value.
    Made(&'a [u8], &'a [u8]),
}
