//! Netlink bytes: messages, nested attributes and batches, out and in.
//!
//! Formats: `linux/netlink.h`, `linux/netfilter/nfnetlink.h` and `nf_tables.h`. Headers are in the
//! host's byte order, the values of nf_tables attributes in network order.

/// Attributes under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attrs(Vec<u8>);

impl Attrs {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.header(kind, value.len());
        self.0.extend_from_slice(value);
        self.pad();
        self
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::new();
        fill(&mut inner);
        self.bytes(kind | NESTED, &inner.0)
    }

    /// Adds attributes that are already encoded.
    pub(crate) fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    #[cfg(test)]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn header(&mut self, kind: u16, payload: usize) {
        let length = u16::try_from(payload + ATTR_HEADER)
            .expect("lists are split before an attribute outgrows its 16-bit length");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// One message to the kernel.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `NFT_MSG_*` or a batch marker.
    pub(crate) kind: u16,
    /// `NLM_F_*` beside `NLM_F_REQUEST`.
    pub(crate) flags: u16,
    /// `NFPROTO_*`.
    pub(crate) family: u8,
    /// The payload behind the nfgenmsg.
    pub(crate) attrs: Attrs,
}

impl Request {
    /// A message of the nf_tables subsystem.
    pub(crate) fn nft(message: u16, flags: u16, family: u8, attrs: Attrs) -> Self {
        Self {
            kind: SUBSYS_NFTABLES << 8 | message,
            flags,
            family,
            attrs,
        }
    }

    /// The begin or end of a batch; `attrs` may demand a generation.
    pub(crate) fn batch(kind: u16, attrs: Attrs) -> Self {
        Self {
            kind,
            flags: 0,
            family: 0,
            attrs,
        }
    }

    /// Appends the message to `out` with a sequence number.
    pub(crate) fn encode(&self, seq: u32, out: &mut Vec<u8>) {
        let resource: u16 = match self.kind {
            BATCH_BEGIN | BATCH_END => SUBSYS_NFTABLES,
            _ => 0,
        };
        let length = u32::try_from(HEADER + GENMSG + self.attrs.0.len())
            .expect("a message holds a few bounded attributes");
        out.extend_from_slice(&length.to_ne_bytes());
        out.extend_from_slice(&self.kind.to_ne_bytes());
        out.extend_from_slice(&(self.flags | NLM_F_REQUEST).to_ne_bytes());
        out.extend_from_slice(&seq.to_ne_bytes());
        out.extend_from_slice(&0_u32.to_ne_bytes());
        out.push(self.family);
        out.push(0);
        out.extend_from_slice(&resource.to_be_bytes());
        out.extend_from_slice(&self.attrs.0);
    }
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The attributes behind the nfgenmsg.
    pub(crate) fn attrs(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        attrs(self.body.get(GENMSG..).unwrap_or_default())
    }

    /// The address family in the nfgenmsg.
    pub(crate) fn family(self) -> u8 {
        self.body.first().copied().unwrap_or_default()
    }

    /// The error number of an acknowledgement, 0 for success; `None` for other messages.
    pub(crate) fn errno(self) -> Option<i32> {
        (self.kind == NLMSG_ERROR || self.kind == NLMSG_DONE)
            .then(|| -host_order(self.body.get(..4)))
    }

    /// The kernel's own words about an error.
    pub(crate) fn complaint(self) -> Option<String> {
        if self.kind != NLMSG_ERROR || self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        // errno, then the header of the failing request (its payload is capped away).
        attrs(self.body.get(4 + HEADER..)?)
            .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
            .map(|(_, text)| c_text(text))
    }
}

/// The messages in a datagram.
pub(crate) fn replies(mut bytes: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let message = bytes.get(..length)?;
        let reply = Reply {
            kind: u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?),
            flags: u16::from_ne_bytes(message.get(6..8)?.try_into().ok()?),
            seq: u32::from_ne_bytes(message.get(8..12)?.try_into().ok()?),
            body: message.get(HEADER..)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(reply)
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

/// A number in network order.
pub(crate) fn number(value: &[u8]) -> u32 {
    value.try_into().map_or(0, u32::from_be_bytes)
}

/// A text that a NUL ends.
pub(crate) fn c_text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn host_order(value: Option<&[u8]>) -> i32 {
    value
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, i32::from_ne_bytes)
}

pub(crate) const BATCH_BEGIN: u16 = 0x10;
pub(crate) const BATCH_END: u16 = 0x11;
pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_APPEND: u16 = 0x800;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const SUBSYS_NFTABLES: u16 = 10;
const NESTED: u16 = 0x8000;
const NET_BYTEORDER: u16 = 0x4000;
const HEADER: usize = 16;
const GENMSG: usize = 4;
const ATTR_HEADER: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_padded_to_four_bytes_and_its_length_is_not() {
        let mut out = Attrs::new();
        out.text(1, "t").u32(2, 7);
        assert_eq!(
            out.as_bytes(),
            [6, 0, 1, 0, b't', 0, 0, 0, 8, 0, 2, 0, 0, 0, 0, 7]
        );
        let read: Vec<_> = attrs(out.as_bytes()).collect();
        assert_eq!(read, [(1, &b"t\0"[..]), (2, &[0, 0, 0, 7])]);
    }

    #[test]
    fn a_message_that_claims_more_than_was_sent_ends_the_reading() {
        let mut bytes = Vec::new();
        Request::nft(0, 0, 1, Attrs::new()).encode(9, &mut bytes);
        assert_eq!(replies(&bytes).map(|r| r.seq).collect::<Vec<_>>(), [9]);
        bytes[0] = 200;
        assert_eq!(replies(&bytes).count(), 0);
        assert_eq!(attrs(&[200, 0, 1, 0, 1]).count(), 0);
        assert_eq!(attrs(&[1, 0, 1, 0]).count(), 0);
    }
}
