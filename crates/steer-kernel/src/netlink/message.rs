//! Netlink bytes: messages and nested attributes, out and in.
//!
//! Format: netlink(7) and `linux/netlink.h`. Headers are in the host's byte order; each subsystem
//! has its own fixed header and its own order for the values of attributes.

/// What follows a message's header: the subsystem's fixed header and attributes.
#[derive(Clone, Debug)]
pub(crate) struct Body(Vec<u8>);

impl Body {
    /// A body that starts with the subsystem's fixed header.
    pub(crate) fn new(header: &[u8]) -> Self {
        Self(header.to_vec())
    }

    /// Adds an attribute.
    pub(crate) fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + ATTR_HEADER)
            .expect("no attribute of ours holds more than a name or an address");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an attribute with a number in the host's order.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Adds an attribute with a text that a NUL ends.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Adds an attribute that holds attributes.
    pub(crate) fn nest(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let inner = fill(Self(Vec::new()));
        self.attr(kind | NESTED, &inner.0)
    }

    /// What was written.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The whole message.
    pub(super) fn request(&self, kind: u16, flags: u16, seq: u32) -> Vec<u8> {
        let length =
            u32::try_from(HEADER + self.0.len()).expect("a message holds a few bounded attributes");
        let mut out = Vec::with_capacity(HEADER + self.0.len());
        out.extend_from_slice(&length.to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        out.extend_from_slice(&seq.to_ne_bytes());
        out.extend_from_slice(&0_u32.to_ne_bytes());
        out.extend_from_slice(&self.0);
        out
    }
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// What it is about (`nlmsg_type`).
    pub(crate) kind: u16,
    pub(super) flags: u16,
    pub(super) seq: u32,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes behind a fixed header of this length.
    pub(crate) fn attrs(self, header: usize) -> impl Iterator<Item = (u16, &'a [u8])> {
        attrs(self.body.get(header..).unwrap_or_default())
    }

    /// The error number of an acknowledgement, 0 for success; `None` for other messages.
    pub(super) fn errno(self) -> Option<i32> {
        let ends = self.kind == NLMSG_ERROR || self.kind == NLMSG_DONE;
        ends.then(|| number(self.body.get(..4).unwrap_or_default()).cast_signed())
            .map(i32::saturating_neg)
    }

    /// The kernel's own words about an error.
    pub(super) fn complaint(self) -> Option<String> {
        if self.kind != NLMSG_ERROR || self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        // errno, then the header of the failing request (its payload is capped away).
        self.attrs(4 + HEADER)
            .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
            .map(|(_, value)| text(value))
    }
}

/// The messages in a datagram.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = number(bytes.get(..4)?) as usize;
        let message = bytes.get(..length)?;
        let half = |at: usize| {
            Some(u16::from_ne_bytes(
                message.get(at..at + 2)?.try_into().ok()?,
            ))
        };
        let read = Message {
            kind: half(4)?,
            flags: half(6)?,
            seq: number(message.get(8..12)?),
            body: message.get(HEADER..)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(read)
    })
}

/// The attributes in a payload, without their flag bits.
pub(crate) fn attrs(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(ATTR_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & !(NESTED | NET_BYTEORDER), value))
    })
}

/// A number in the host's order; 0 where the value has another size.
pub(crate) fn number(value: &[u8]) -> u32 {
    value.try_into().map_or(0, u32::from_ne_bytes)
}

/// A text that a NUL ends.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NESTED: u16 = 0x8000;
const NET_BYTEORDER: u16 = 0x4000;
const HEADER: usize = 16;
const ATTR_HEADER: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let body = Body::new(&[9; 4])
            .text(1, "t")
            .number(2, 7)
            .nest(3, |inner| inner.number(4, 8));
        let bytes = body.request(5, 6, 11);
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].flags, all[0].seq), (5, 7, 11));
        let read: Vec<_> = all[0].attrs(4).collect();
        assert_eq!(read[0], (1, &b"t\0"[..]));
        assert_eq!((read[1].0, number(read[1].1)), (2, 7));
        assert_eq!(read[2].0, 3);
        assert_eq!(attrs(read[2].1).next(), Some((4, &8_u32.to_ne_bytes()[..])));
    }

    #[test]
    fn a_length_that_claims_more_than_there_is_ends_the_reading() {
        let mut bytes = Body::new(&[0; 4]).request(1, 0, 9);
        bytes[0] = 200;
        assert_eq!(messages(&bytes).count(), 0);
        assert_eq!(messages(&[0; 16]).count(), 0);
        assert_eq!(attrs(&[200, 0, 1, 0, 1]).count(), 0);
        assert_eq!(attrs(&[1, 0, 1, 0]).count(), 0);
    }
}
