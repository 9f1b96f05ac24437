//! Messages of RFC 1035, made and read by hand so that wrong ones can be made too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The type of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind(
    /// Its number.
    pub u16,
);

impl Kind {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// Another name for the name.
    pub const CNAME: Self = Self(5);
    /// The name of an address.
    pub const PTR: Self = Self(12);
    /// Text.
    pub const TXT: Self = Self(16);
    /// An IPv6 address.
    pub const AAAA: Self = Self(28);
    /// How a web server wants to be reached (RFC 9460).
    pub const HTTPS: Self = Self(65);

    /// The type that holds addresses like this one.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::A,
            IpAddr::V6(_) => Self::AAAA,
        }
    }
}

/// A question, and what is needed to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsQuery {
    /// The number by which the answer is known.
    pub id: u16,
    /// The name, without the last dot.
    pub name: String,
    /// The type asked for.
    pub kind: Kind,
}

impl DnsQuery {
    /// A question.
    pub fn new(id: u16, name: &str, kind: Kind) -> Self {
        let name = name.to_owned();
        Self { id, name, kind }
    }

    /// Reads a question from a message; `None` where it has none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (name, end) = name_at(bytes, HEAD)?;
        Some(Self {
            id: word(bytes, 0)?,
            name,
            kind: Kind(word(bytes, end)?),
        })
    }

    /// The message, which asks for recursion.
    pub fn bytes(&self) -> Vec<u8> {
        self.message(0x0100, &[])
    }

    /// An answer with these records, in order.
    pub fn answer(&self, records: &[Record]) -> Vec<u8> {
        self.message(0x8180, records)
    }

    /// An answer without records and with this code: 3 says that there is no such name.
    pub fn error(&self, code: u8) -> Vec<u8> {
        self.message(0x8180 | u16::from(code), &[])
    }

    /// An answer that says that it is truncated.
    pub fn truncated(&self) -> Vec<u8> {
        self.message(0x8380, &[])
    }

    fn message(&self, flags: u16, records: &[Record]) -> Vec<u8> {
        let count = u16::try_from(records.len()).expect("few records");
        let mut bytes = Vec::new();
        for word in [self.id, flags, 1, count, 0, 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(encoded(&self.name));
        bytes.extend(self.kind.0.to_be_bytes());
        bytes.extend(INTERNET.to_be_bytes());
        for record in records {
            // The name of the question, by its place.
            bytes.extend([0xc0, HEAD as u8]);
            bytes.extend(record.kind.0.to_be_bytes());
            bytes.extend(INTERNET.to_be_bytes());
            bytes.extend(record.ttl.to_be_bytes());
            let length = u16::try_from(record.data.len()).expect("short data");
            bytes.extend(length.to_be_bytes());
            bytes.extend(&record.data);
        }
        bytes
    }
}

/// A record of an answer; its name is that of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its type.
    pub kind: Kind,
    /// How long it may be kept, in seconds.
    pub ttl: u32,
    /// What it says, as it stands in the message.
    pub data: Vec<u8>,
}

impl Record {
    /// The address of a name.
    pub fn address(address: IpAddr, ttl: u32) -> Self {
        let data = match address {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let kind = Kind::of(address);
        Self { kind, ttl, data }
    }

    /// Text of up to 255 bytes a part, in as many parts as it takes.
    pub fn text(text: &[u8], ttl: u32) -> Self {
        let part = |part: &[u8]| [&[part.len() as u8][..], part].concat();
        let data = text.chunks(255).flat_map(part).collect();
        let kind = Kind::TXT;
        Self { kind, ttl, data }
    }
}

/// An answer, as far as tests look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsReply {
    /// The number of the question.
    pub id: u16,
    /// 0 for success, 3 where there is no such name.
    pub code: u8,
    /// Whether the server says that there was no room for all.
    pub is_truncated: bool,
    /// The records of the answer section.
    pub records: Vec<Record>,
}

impl DnsReply {
    /// Reads an answer; `None` where the bytes are none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let flags = word(bytes, 2)?;
        if flags & 0x8000 == 0 {
            return None;
        }
        let mut at = HEAD;
        for _ in 0..word(bytes, 4)? {
            at = name_at(bytes, at)?.1 + 4;
        }
        let mut records = Vec::new();
        for _ in 0..word(bytes, 6)? {
            let end = name_at(bytes, at)?.1;
            let length = usize::from(word(bytes, end + 8)?);
            let ttl = u32::from(word(bytes, end + 4)?) << 16 | u32::from(word(bytes, end + 6)?);
            records.push(Record {
                kind: Kind(word(bytes, end)?),
                ttl,
                data: bytes.get(end + 10..end + 10 + length)?.to_vec(),
            });
            at = end + 10 + length;
        }
        Some(Self {
            id: word(bytes, 0)?,
            code: (flags & 0xf) as u8,
            is_truncated: flags & 0x0200 != 0,
            records,
        })
    }

    /// The addresses among the records.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let address = |record: &Record| match record.kind {
            Kind::A => Some(Ipv4Addr::from(<[u8; 4]>::try_from(&*record.data).ok()?).into()),
            Kind::AAAA => Some(Ipv6Addr::from(<[u8; 16]>::try_from(&*record.data).ok()?).into()),
            _ => None,
        };
        self.records.iter().filter_map(address).collect()
    }
}

/// A name as it stands in a message.
pub(super) fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The name at a place, and the place behind it; pointers lead back, so there is an end.
fn name_at(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut end = None;
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => break,
            0xc0.. => {
                let to = usize::from(word(bytes, at)? & 0x3fff);
                end = end.or(Some(at + 2));
                if to >= at {
                    return None;
                }
                at = to;
            }
            _ => {
                labels.push(String::from_utf8_lossy(bytes.get(at + 1..at + 1 + length)?));
                at += 1 + length;
            }
        }
    }
    Some((labels.join("."), end.unwrap_or(at + 1)))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The length of a message's head.
const HEAD: usize = 12;
const INTERNET: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_no_truncation_panics() {
        let query = DnsQuery::new(7, "www.a.example", Kind::AAAA);
        assert_eq!(DnsQuery::parse(&query.bytes()), Some(query.clone()));
        let ip: IpAddr = "2001:db8::1".parse().expect("an address");
        let records = [Record::address(ip, 60), Record::text(&[7; 300], 1)];
        let answer = query.answer(&records);
        let read = DnsReply::parse(&answer).expect("an answer");
        assert_eq!((read.id, read.code, read.addresses()), (7, 0, vec![ip]));
        assert_eq!(read.records, records);
        for length in 0..answer.len() {
            assert_eq!(DnsReply::parse(&answer[..length]), None);
        }
        assert!(DnsReply::parse(&query.truncated()).is_some_and(|it| it.is_truncated));
        assert_eq!(DnsReply::parse(&query.error(3)).map(|it| it.code), Some(3));
    }
}
