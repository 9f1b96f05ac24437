use std::fmt;
use std::hash::{Hash, Hasher};

use steer_core::address::HostName;

use super::malformed::Malformed;

/// A domain name: labels of 1 to 63 bytes of any value, at most 255 bytes with their lengths.
///
/// Case is kept, and does not count in comparisons (RFC 4343).
///
/// ```
/// use steer_dns::codec::Name;
/// let name: Name = "WWW.Example.com".parse().unwrap();
/// assert_eq!(name, "www.example.COM.".parse().unwrap());
/// assert_eq!(name.to_string(), "WWW.Example.com.");
/// ```
#[derive(Clone)]
pub struct Name {
    /// Each label behind its length, then a zero.
    wire: Vec<u8>,
}

impl Name {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self { wire: vec![0] }
    }

    /// The name of a host.
    #[must_use]
    pub fn of(host: &HostName) -> Self {
        Self::from_labels(host.as_str().split('.').map(str::as_bytes))
            .expect("a host name is a domain name")
    }

    /// A name of labels.
    ///
    /// # Errors
    /// A label or the whole is too long, or a label is empty.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Malformed> {
        let mut wire = Vec::new();
        for label in labels {
            let length = u8::try_from(label.len()).map_err(|_| Malformed::Label)?;
            if length == 0 || length > LABEL_MOST {
                return Err(Malformed::Label);
            }
            wire.push(length);
            wire.extend_from_slice(label);
        }
        wire.push(0);
        if wire.len() > NAME_MOST {
            return Err(Malformed::NameTooLong);
        }
        Ok(Self { wire })
    }

    /// Reads the name at a place of a message, and tells where what follows it begins.
    pub(super) fn read(message: &[u8], start: usize) -> Result<(Self, usize), Malformed> {
        let mut wire = Vec::new();
        let mut at = start;
        let mut after = None;
        // A pointer must lead to before the labels that it ends, so that no name goes round.
        let mut bound = start;
        let mut turns = 0;
        loop {
            let length = *message.get(at).ok_or(Malformed::Short)?;
            match length & LABEL_TYPE {
                LABEL_PLAIN => {
                    let end = at + 1 + usize::from(length);
                    wire.extend_from_slice(message.get(at..end).ok_or(Malformed::Short)?);
                    if wire.len() > NAME_MOST {
                        return Err(Malformed::NameTooLong);
                    }
                    at = end;
                    if length == 0 {
                        return Ok((Self { wire }, after.unwrap_or(at)));
                    }
                }
                LABEL_POINTER => {
                    let low = *message.get(at + 1).ok_or(Malformed::Short)?;
                    let target = usize::from(length & !LABEL_TYPE) << 8 | usize::from(low);
                    after.get_or_insert(at + 2);
                    turns += 1;
                    // Each turn of an honest name brings a label; without this bound a message of
                    // pointers to pointers would cost its size squared.
                    if target >= bound || turns > LABELS_MOST {
                        return Err(Malformed::Pointer);
                    }
                    bound = target;
                    at = target;
                }
                _ => return Err(Malformed::Label),
            }
        }
    }

    /// The bytes, uncompressed.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        &self.wire
    }

    /// The labels, the most specific first.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        self.suffixes().map(|suffix| {
            let length = usize::from(suffix[0]);
            &suffix[1..=length]
        })
    }

    /// The name, the name without its first label, and so on, without the root.
    pub(super) fn suffixes(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.wire.as_slice();
        std::iter::from_fn(move || {
            let length = usize::from(*rest.first()?);
            if length == 0 {
                return None;
            }
            let here = rest;
            rest = &rest[length + 1..];
            Some(here)
        })
    }

    /// The host that the name is, where it has the form of one.
    #[must_use]
    pub fn host(&self) -> Option<HostName> {
        let labels: Vec<_> = self.labels().collect();
        // A dot within a label would look like two labels.
        let text = String::from_utf8(labels.join(&b'.')).ok()?;
        let plain = labels.iter().all(|label| !label.contains(&b'.'));
        plain.then(|| HostName::new(&text).ok()).flatten()
    }

    /// The host that a service name is about: labels that begin with an underscore are left out
    /// at its head (RFC 9460, section 9.1; RFC 8552).
    #[must_use]
    pub fn service_host(&self) -> Option<HostName> {
        let labels: Vec<_> = self
            .labels()
            .skip_while(|label| label.starts_with(b"_"))
            .collect();
        Self::from_labels(labels).ok()?.host()
    }

    fn folded(&self) -> Vec<u8> {
        // Lengths are below 64 and so no letters.
        self.wire.to_ascii_lowercase()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.wire.eq_ignore_ascii_case(&other.wire)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in self.labels() {
            write!(f, "{}.", label.escape_ascii())?;
        }
        if self.wire.len() == 1 {
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl std::str::FromStr for Name {
    type Err = Malformed;

    /// Reads labels with dots between them, without escapes; a dot may follow.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.strip_suffix('.').unwrap_or(text) {
            "" => Ok(Self::root()),
            labels => Self::from_labels(labels.split('.').map(str::as_bytes)),
        }
    }
}

/// Two bits that tell what a label is.
const LABEL_TYPE: u8 = 0xc0;

const LABEL_PLAIN: u8 = 0;

const LABEL_POINTER: u8 = 0xc0;

/// The longest label.
const LABEL_MOST: u8 = 63;

/// The longest name, with its lengths and the final zero.
const NAME_MOST: usize = 255;

/// As many labels as a name can have.
const LABELS_MOST: usize = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_leads_back_or_the_name_is_refused() {
        let message = b"\x01a\x00\x01b\xc0\x00\xc0\x03";
        let (name, after) = Name::read(message, 7).unwrap();
        assert_eq!((name.to_string().as_str(), after), ("b.a.", 9));
        for looping in [&b"\xc0\x00"[..], b"\x01a\xc0\x00", b"\xc0\x02\x00"] {
            assert_eq!(Name::read(looping, 0).unwrap_err(), Malformed::Pointer);
        }
        // To a place before, whose labels run into the pointer again.
        assert_eq!(Name::read(b"\x01a\xc0\x00", 2), Err(Malformed::Pointer));
    }

    #[test]
    fn a_chain_of_pointers_has_an_end() {
        let mut message = vec![0];
        let mut last = 0_u16;
        for _ in 0..=LABELS_MOST {
            let at = u16::try_from(message.len()).unwrap();
            message.extend_from_slice(&(0xc000 | last).to_be_bytes());
            last = at;
        }
        let from = |turns: usize| Name::read(&message, 1 + 2 * (turns - 1));
        assert_eq!(from(LABELS_MOST).unwrap().0, Name::root());
        assert_eq!(from(LABELS_MOST + 1), Err(Malformed::Pointer));
    }

    #[test]
    fn limits_are_those_of_the_standard() {
        let label = [b'x'; 63];
        let longest = [&label[..], &label, &label, &label[..61]];
        let name = Name::from_labels(longest).unwrap();
        assert_eq!(name.as_wire().len(), 255);
        assert_eq!(Name::read(name.as_wire(), 0).unwrap(), (name, 255));
        let longer = [&label[..], &label, &label, &label[..62]];
        assert_eq!(Name::from_labels(longer), Err(Malformed::NameTooLong));
        assert_eq!(Name::from_labels([&[b'x'; 64][..]]), Err(Malformed::Label));
        assert_eq!(Name::read(&[0x40, 0], 0), Err(Malformed::Label));
        assert_eq!(Name::read(&[3, b'a'], 0), Err(Malformed::Short));
    }

    #[test]
    fn only_what_has_the_form_of_a_host_is_one() {
        let host = |text: &str| text.parse::<Name>().unwrap().host();
        assert_eq!(host("WWW.example.com").unwrap().as_str(), "www.example.com");
        assert_eq!(host("a b.example"), None);
        assert_eq!(host("."), None);
        assert_eq!(host("192.0.2.1"), None);
        assert_eq!(
            Name::from_labels([&b"a.b"[..], b"com"]).unwrap().host(),
            None
        );
        let service: Name = "_8443._https.example.com".parse().unwrap();
        assert_eq!(service.service_host().unwrap().as_str(), "example.com");
    }
}
