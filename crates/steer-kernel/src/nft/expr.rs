//! The instructions of the kernel's nf_tables machine that our rules are made of.
//!
//! What each test compiles to is what the nft program compiles the same test to, so that
//! `nft list ruleset` prints it back as text.

use steer_core::address::{Family, Protocol};

use super::set::SET_TEMPLATE;
use super::wire::Attrs;

mod counting;
mod transparent;

pub(crate) use self::transparent::{IFNAMSIZ, Marked};

/// The instructions of one rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program(Attrs);

/// What `meta` can load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meta {
    Mark = 3,
    Interface = 6,
    Leaving = 7,
    Uid = 10,
    Gid = 11,
    Family = 15,
    Protocol = 16,
}

/// How `cmp` compares.
#[derive(Clone, Copy, Debug)]
enum Compare {
    Equal = 0,
    NotEqual = 1,
    AtMost = 3,
    AtLeast = 5,
}

/// A part of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    base: u32,
    offset: u32,
    length: u32,
}

impl Field {
    pub(crate) const TCP_FLAGS: Self = Self::transport(13, 1);
    pub(crate) const ICMP_TYPE: Self = Self::transport(0, 1);
    pub(crate) const DESTINATION_PORT: Self = Self::transport(2, 2);

    /// The first bytes of the destination address.
    pub(crate) const fn destination(family: Family, length: u32) -> Self {
        Self {
            base: PAYLOAD_NETWORK,
            offset: match family {
                Family::V4 => 16,
                Family::V6 => 24,
            },
            length,
        }
    }

    const fn transport(offset: u32, length: u32) -> Self {
        Self {
            base: PAYLOAD_TRANSPORT,
            offset,
            length,
        }
    }
}

impl Program {
    pub(crate) fn into_attrs(self) -> Attrs {
        self.0
    }

    pub(crate) fn family_is(&mut self, family: Family) {
        self.meta(Meta::Family);
        self.equals(&[match family {
            Family::V4 => NFPROTO_IPV4,
            Family::V6 => NFPROTO_IPV6,
        }]);
    }

    pub(crate) fn protocol_is(&mut self, protocol: Protocol) {
        self.meta(Meta::Protocol);
        self.equals(&[match protocol {
            Protocol::Tcp => IPPROTO_TCP,
            Protocol::Udp => IPPROTO_UDP,
        }]);
    }

    /// SYN of FIN, SYN, RST and ACK; needs a test of the protocol before it.
    pub(crate) fn opening(&mut self) {
        self.payload(Field::TCP_FLAGS);
        self.masked(&[FIN | SYN | RST | ACK]);
        self.equals(&[SYN]);
    }

    /// An echo request of ICMP; needs a test of the family before it.
    pub(crate) fn echo_request(&mut self, family: Family) {
        let (protocol, kind) = match family {
            Family::V4 => (IPPROTO_ICMP, ICMP_ECHO),
            Family::V6 => (IPPROTO_ICMPV6, ICMPV6_ECHO_REQUEST),
        };
        self.meta(Meta::Protocol);
        self.equals(&[protocol]);
        self.payload(Field::ICMP_TYPE);
        self.equals(&[kind]);
    }

    /// The connection's destination was rewritten.
    pub(crate) fn rewritten(&mut self) {
        self.push("ct", |data| {
            data.u32(CT_KEY, CT_STATUS).u32(CT_DREG, REGISTER);
        });
        self.masked(&IPS_DST_NAT.to_ne_bytes());
        self.compare(Compare::NotEqual, &0_u32.to_ne_bytes());
    }

    /// Answers of the connection come from this port.
    pub(crate) fn answered_from(&mut self, port: u16) {
        self.push("ct", |data| {
            data.u32(CT_KEY, CT_PROTO_SRC)
                .u8(CT_DIRECTION_OF, IP_CT_DIR_REPLY)
                .u32(CT_DREG, REGISTER);
        });
        self.equals(&port.to_be_bytes());
    }

    /// The packet comes from the side that opened the connection.
    pub(crate) fn sent_by_opener(&mut self) {
        self.goes(IP_CT_DIR_ORIGINAL);
    }

    /// The packet comes from the other side.
    pub(crate) fn sent_to_opener(&mut self) {
        self.goes(IP_CT_DIR_REPLY);
    }

    fn goes(&mut self, direction: u8) {
        self.push("ct", |data| {
            data.u32(CT_KEY, CT_DIRECTION).u32(CT_DREG, REGISTER);
        });
        self.equals(&[direction]);
    }

    /// The sending socket's ancestor at `level` below the hierarchy's root is the cgroup `id`.
    pub(crate) fn cgroup_is(&mut self, level: u32, id: u64) {
        self.push("socket", |data| {
            data.u32(SOCKET_KEY, SOCKET_CGROUP)
                .u32(SOCKET_DREG, REGISTER)
                .u32(SOCKET_LEVEL, level);
        });
        self.equals(&id.to_ne_bytes());
    }

    pub(crate) fn meta(&mut self, key: Meta) {
        self.push("meta", |data| {
            data.u32(META_KEY, key as u32).u32(META_DREG, REGISTER);
        });
    }

    pub(crate) fn payload(&mut self, field: Field) {
        self.push("payload", |data| {
            data.u32(PAYLOAD_DREG, REGISTER)
                .u32(PAYLOAD_BASE, field.base)
                .u32(PAYLOAD_OFFSET, field.offset)
                .u32(PAYLOAD_LEN, field.length);
        });
    }

    /// Turns a 32-bit value of the host into network order, in which ranges compare.
    pub(crate) fn network_order(&mut self) {
        self.push("byteorder", |data| {
            data.u32(BYTEORDER_SREG, REGISTER)
                .u32(BYTEORDER_DREG, REGISTER)
                .u32(BYTEORDER_OP, HTON)
                .u32(BYTEORDER_LEN, 4)
                .u32(BYTEORDER_SIZE, 4);
        });
    }

    pub(crate) fn masked(&mut self, mask: &[u8]) {
        self.replaced(mask, &vec![0; mask.len()]);
    }

    /// Keeps the bits of `mask` and turns those of `flip` over.
    fn replaced(&mut self, mask: &[u8], flip: &[u8]) {
        self.push("bitwise", |data| {
            data.u32(BITWISE_SREG, REGISTER)
                .u32(BITWISE_DREG, REGISTER)
                .u32(BITWISE_LEN, mask.len() as u32)
                .nest(BITWISE_MASK, |nest| {
                    nest.bytes(DATA_VALUE, mask);
                })
                .nest(BITWISE_XOR, |nest| {
                    nest.bytes(DATA_VALUE, flip);
                });
        });
    }

    pub(crate) fn equals(&mut self, value: &[u8]) {
        self.compare(Compare::Equal, value);
    }

    pub(crate) fn within(&mut self, first: &[u8], last: &[u8]) {
        self.compare(Compare::AtLeast, first);
        self.compare(Compare::AtMost, last);
    }

    /// The value is in the anonymous set `id` of the same batch.
    /// It is in a set of the table.
    pub(crate) fn in_set(&mut self, name: &str) {
        self.push("lookup", |data| {
            data.u32(LOOKUP_SREG, REGISTER).text(LOOKUP_SET, name);
        });
    }

    /// It is in the set of this rule, by its number in the batch.
    pub(crate) fn in_own_set(&mut self, id: u32) {
        self.push("lookup", |data| {
            data.u32(LOOKUP_SREG, REGISTER)
                .text(LOOKUP_SET, SET_TEMPLATE)
                .u32(LOOKUP_SET_ID, id);
        });
    }

    fn load(&mut self, register: u32, value: &[u8]) {
        self.push("immediate", |data| {
            data.u32(IMMEDIATE_DREG, register)
                .nest(IMMEDIATE_DATA, |nest| {
                    nest.bytes(DATA_VALUE, value);
                });
        });
    }

    pub(crate) fn leave_chain(&mut self) {
        self.verdict(NFT_RETURN, None);
    }

    pub(crate) fn accept(&mut self) {
        self.verdict(NF_ACCEPT, None);
    }

    pub(crate) fn drop_it(&mut self) {
        self.verdict(NF_DROP, None);
    }

    pub(crate) fn jump(&mut self, chain: &str) {
        self.verdict(NFT_JUMP, Some(chain));
    }

    pub(crate) fn redirect(&mut self, port: u16) {
        self.load(REGISTER, &port.to_be_bytes());
        self.push("redir", |data| {
            data.u32(REDIR_PORT_MIN, REGISTER)
                .u32(REDIR_FLAGS, NAT_RANGE_PROTO_SPECIFIED);
        });
    }

    /// Answers with a TCP reset; needs a test of the protocol before it.
    pub(crate) fn reset(&mut self) {
        self.reject(REJECT_TCP_RESET, 0);
    }

    pub(crate) fn prohibit(&mut self) {
        self.reject(REJECT_ICMPX, ICMPX_ADMIN_PROHIBITED);
    }

    fn reject(&mut self, kind: u32, code: u8) {
        self.push("reject", |data| {
            data.u32(REJECT_TYPE, kind).u8(REJECT_CODE, code);
        });
    }

    fn verdict(&mut self, code: i32, chain: Option<&str>) {
        self.push("immediate", |data| {
            data.u32(IMMEDIATE_DREG, REGISTER_VERDICT)
                .nest(IMMEDIATE_DATA, |nest| {
                    nest.nest(DATA_VERDICT, |verdict| {
                        verdict.u32(VERDICT_CODE, code.cast_unsigned());
                        if let Some(chain) = chain {
                            verdict.text(VERDICT_CHAIN, chain);
                        }
                    });
                });
        });
    }

    fn compare(&mut self, how: Compare, value: &[u8]) {
        self.push("cmp", |data| {
            data.u32(CMP_SREG, REGISTER)
                .u32(CMP_OP, how as u32)
                .nest(CMP_DATA, |nest| {
                    nest.bytes(DATA_VALUE, value);
                });
        });
    }

    fn push(&mut self, name: &str, fill: impl FnOnce(&mut Attrs)) {
        self.0.nest(LIST_ELEM, |element| {
            element.text(EXPR_NAME, name).nest(EXPR_DATA, fill);
        });
    }
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const ICMP_ECHO: u8 = 8;
const ICMPV6_ECHO_REQUEST: u8 = 128;
const IPPROTO_ICMP: u8 = 1;
const IPPROTO_ICMPV6: u8 = 58;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
pub(crate) const NFPROTO_IPV4: u8 = 2;
pub(crate) const NFPROTO_IPV6: u8 = 10;
/// `NFT_REG_1`: every test loads into it and is done with it when the next one starts.
const REGISTER: u32 = 1;
const REGISTER_VERDICT: u32 = 0;
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NFT_JUMP: i32 = -3;
const NFT_RETURN: i32 = -5;
const HTON: u32 = 1;
const PAYLOAD_NETWORK: u32 = 1;
const PAYLOAD_TRANSPORT: u32 = 2;
const CT_DIRECTION: u32 = 1;
const CT_STATUS: u32 = 2;
const CT_PROTO_SRC: u32 = 11;
const IP_CT_DIR_ORIGINAL: u8 = 0;
const IP_CT_DIR_REPLY: u8 = 1;
const IPS_DST_NAT: u32 = 0x20;
const SOCKET_CGROUP: u32 = 3;
const NAT_RANGE_PROTO_SPECIFIED: u32 = 2;
const REJECT_TCP_RESET: u32 = 1;
const REJECT_ICMPX: u32 = 2;
const ICMPX_ADMIN_PROHIBITED: u8 = 3;

const LIST_ELEM: u16 = 1;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const META_DREG: u16 = 1;
const META_KEY: u16 = 2;
const CMP_SREG: u16 = 1;
const CMP_OP: u16 = 2;
const CMP_DATA: u16 = 3;
const PAYLOAD_DREG: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LEN: u16 = 4;
const BITWISE_SREG: u16 = 1;
const BITWISE_DREG: u16 = 2;
const BITWISE_LEN: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const BYTEORDER_SREG: u16 = 1;
const BYTEORDER_DREG: u16 = 2;
const BYTEORDER_OP: u16 = 3;
const BYTEORDER_LEN: u16 = 4;
const BYTEORDER_SIZE: u16 = 5;
const LOOKUP_SET: u16 = 1;
const LOOKUP_SREG: u16 = 2;
const LOOKUP_SET_ID: u16 = 4;
const CT_DREG: u16 = 1;
const CT_KEY: u16 = 2;
const CT_DIRECTION_OF: u16 = 3;
const SOCKET_KEY: u16 = 1;
const SOCKET_DREG: u16 = 2;
const SOCKET_LEVEL: u16 = 3;
const IMMEDIATE_DREG: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const REDIR_PORT_MIN: u16 = 1;
const REDIR_FLAGS: u16 = 3;
const REJECT_TYPE: u16 = 1;
const REJECT_CODE: u16 = 2;
