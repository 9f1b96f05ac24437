//! The fields of a head, in their order.

use bytes::Bytes;

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
#[derive(Clone, Default)]
pub struct Fields {
    /// The head that fields came in, by HTTP/1.
    head: Bytes,
    fields: Vec<Field>,
    changed: bool,
}

/// One field.
#[derive(Clone)]
enum Field {
    /// As it came: places in the head. `line` is without its end.
    Came { name: Span, value: Span, line: Span },
    /// Made of a name and a value.
    Made { name: Bytes, value: Bytes },
}

/// A place in a head. Heads of 4 GiB are none.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    from: u32,
    to: u32,
}

impl Span {
    pub(crate) fn new(from: usize, to: usize) -> Self {
        let small = |at| u32::try_from(at).expect("heads are bounded far below 4 GiB");
        Self {
            from: small(from),
            to: small(to),
        }
    }

    pub(crate) fn of(self, head: &[u8]) -> &[u8] {
        &head[self.from as usize..self.to as usize]
    }
}

impl Field {
    fn name<'a>(&'a self, head: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Came { name, .. } => name.of(head),
            Self::Made { name, .. } => name,
        }
    }

    fn value<'a>(&'a self, head: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Came { value, .. } => value.of(head),
            Self::Made { value, .. } => value,
        }
    }

    fn is(&self, head: &[u8], name: &str) -> bool {
        self.name(head).eq_ignore_ascii_case(name.as_bytes())
    }
}

impl Fields {
    /// No fields yet of a head, with room for so many.
    pub(crate) fn of_head(head: Bytes, room: usize) -> Self {
        Self {
            head,
            fields: Vec::with_capacity(room),
            changed: false,
        }
    }

    /// Puts a field that stands in the head.
    pub(crate) fn came(&mut self, name: Span, value: Span, line: Span) {
        self.fields.push(Field::Came { name, value, line });
    }

    /// Whether they are those of this head, and nobody changed them since they came.
    pub(crate) fn are_of(&self, head: &Bytes) -> bool {
        !self.changed && std::ptr::eq(&raw const self.head[..], &raw const head[..])
    }

    /// The values of a name, whose case does not matter.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let of_name = |field: &&Field| field.is(&self.head, name);
        let of_name = self.fields.iter().filter(of_name);
        of_name.map(|field| field.value(&self.head))
    }

    /// The first value of a name.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let head = &self.head;
        self.fields.iter().map(|f| (f.name(head), f.value(head)))
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
        self.changed = true;
        self.fields.push(Field::Made {
            name: name.into(),
            value: value.into(),
        });
    }

    /// Takes every field of a name away, and tells how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        let before = self.fields.len();
        self.fields.retain(|field| !field.is(&self.head, name));
        let gone = before - self.fields.len();
        self.changed |= gone > 0;
        gone
    }

    /// Has a name stand once, with this value, at the place of its first field, else behind the
    /// others.
    pub fn set(&mut self, name: &str, value: impl Into<Bytes>) {
        self.changed = true;
        let field = Field::Made {
            name: Bytes::copy_from_slice(name.as_bytes()),
            value: value.into(),
        };
        match self.fields.iter().position(|f| f.is(&self.head, name)) {
            None => self.fields.push(field),
            Some(at) => {
                self.fields[at] = field;
                let mut index = 0;
                self.fields.retain(|field| {
                    index += 1;
                    index - 1 <= at || !field.is(&self.head, name)
                });
            }
        }
    }

    /// Names and values of those that were made since.
    pub(crate) fn made(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().filter_map(|field| match field {
            Field::Came { .. } => None,
            Field::Made { name, value } => Some((&name[..], &value[..])),
        })
    }

    /// Each field's line as HTTP/1 writes it, without its end.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.fields.iter().map(|field| match field {
            Field::Came { line, .. } => Line::AsItCame(line.of(&self.head)),
            Field::Made { name, value } => Line::Made(name, value),
        })
    }
}

/// Equal names and values in equal order, however they came.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

/// Names alone: a value may be a secret.
impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.iter().map(|(name, _)| String::from_utf8_lossy(name));
        f.debug_list().entries(names).finish()
    }
}

/// A field's line.
pub(crate) enum Line<'a> {
    /// As it came.
    AsItCame(&'a [u8]),
    /// From a name and a value.
    Made(&'a [u8], &'a [u8]),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_in_the_debug_output() {
        let mut fields = Fields::default();
        fields.add("authorization", "Bearer hush");
        assert_eq!(format!("{fields:?}"), r#"["authorization"]"#);
    }

    #[test]
    fn setting_a_name_takes_the_place_of_its_first_field_and_its_others_away() {
        let mut fields = Fields::default();
        for (name, value) in [("a", "1"), ("B", "2"), ("c", "3"), ("b", "4")] {
            fields.add(name, value);
        }
        fields.set("b", "5");
        let pairs: Vec<_> = fields.iter().collect();
        assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"b", b"5"), (b"c", b"3"),]);
    }
}
