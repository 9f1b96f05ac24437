//! The instructions that count packets by protocol and destination.

use std::net::{IpAddr, Ipv6Addr};

use steer_core::address::Family;

use super::{
    Compare, EXPR_DATA, EXPR_NAME, Field, IFNAMSIZ, Meta, PAYLOAD_BASE, PAYLOAD_DREG, PAYLOAD_LEN,
    PAYLOAD_OFFSET, Program, REGISTER,
};

impl Program {
    /// Adds one to the counter of the packet's protocol in a set of [`super::super::set::Counts`].
    pub(crate) fn count_protocol(&mut self, set: &str) {
        self.meta(Meta::Protocol);
        self.count(set);
    }

    /// Adds one to the counter of the packet's protocol, destination and port in a set of
    /// [`super::super::set::Counts`]; needs a test of the family, and of a protocol that has ports
    /// in its first four bytes, before it.
    pub(crate) fn count_port(&mut self, family: Family, set: &str) {
        self.load_destination(family);
        self.load_field(port_register(family), Field::DESTINATION_PORT);
        self.count(set);
    }

    /// As [`Self::count_port`], of a protocol without ports.
    pub(crate) fn count_destination(&mut self, family: Family, set: &str) {
        self.load_destination(family);
        self.load(port_register(family), &[0; 2]);
        self.count(set);
    }

    /// The packet leaves by another interface than this one.
    pub(crate) fn leaves_not_by(&mut self, interface: &str) {
        self.meta(Meta::Leaving);
        self.compare(Compare::NotEqual, &padded(interface));
    }

    /// The packet leaves by this interface, as far as routing has said when its hook began.
    pub(crate) fn leaves_by(&mut self, interface: &str) {
        self.meta(Meta::Leaving);
        self.equals(&padded(interface));
    }

    /// The destination is a group's address; needs a test of the family before it.
    pub(crate) fn destined_to_group(&mut self, family: Family) {
        self.payload(Field::destination(family, 1));
        match family {
            Family::V4 => {
                self.masked(&[0xf0]);
                self.equals(&[0xe0]);
            }
            Family::V6 => self.equals(&[0xff]),
        }
    }

    /// The destination is this host's loopback; needs a test of the family before it.
    pub(crate) fn destined_to_loopback(&mut self, family: Family) {
        match family {
            Family::V4 => {
                self.payload(Field::destination(family, 1));
                self.equals(&[127]);
            }
            Family::V6 => self.destined_to(Ipv6Addr::LOCALHOST.into()),
        }
    }

    /// The destination is this address; needs a test of the family before it.
    pub(crate) fn destined_to(&mut self, ip: IpAddr) {
        let family = Family::of(ip);
        self.payload(Field::destination(family, u32::from(family.bits()) / 8));
        match ip {
            IpAddr::V4(ip) => self.equals(&ip.octets()),
            IpAddr::V6(ip) => self.equals(&ip.octets()),
        }
    }

    /// The transport protocol, by its number.
    pub(crate) fn protocol_number_is(&mut self, number: u8) {
        self.meta(Meta::Protocol);
        self.equals(&[number]);
    }

    /// It tells by ICMP that something which came here was for nobody ("unreachable").
    pub(crate) fn tells_of_unreachable(&mut self, family: Family) {
        self.family_is(family);
        let (protocol, unreachable) = match family {
            Family::V4 => (1, 3),
            Family::V6 => (58, 1),
        };
        self.protocol_number_is(protocol);
        self.payload(Field::ICMP_TYPE);
        self.equals(&[unreachable]);
    }

    fn load_destination(&mut self, family: Family) {
        self.meta(Meta::Protocol);
        let length = u32::from(family.bits()) / 8;
        self.load_field(ADDRESS_REGISTER, Field::destination(family, length));
    }

    fn load_field(&mut self, register: u32, field: Field) {
        self.push("payload", |data| {
            data.u32(PAYLOAD_DREG, register)
                .u32(PAYLOAD_BASE, field.base)
                .u32(PAYLOAD_OFFSET, field.offset)
                .u32(PAYLOAD_LEN, field.length);
        });
    }

    fn count(&mut self, set: &str) {
        self.push("dynset", |data| {
            data.text(DYNSET_SET, set)
                .u32(DYNSET_OP, DYNSET_UPDATE)
                .u32(DYNSET_SREG_KEY, REGISTER)
                .nest(DYNSET_EXPR, |counter| {
                    // Both numbers start at 0; the kernel wants them said.
                    counter.text(EXPR_NAME, "counter").nest(EXPR_DATA, |data| {
                        data.bytes(COUNTER_BYTES, &[0; 8])
                            .bytes(COUNTER_PACKETS, &[0; 8]);
                    });
                });
        });
    }
}

const fn port_register(family: Family) -> u32 {
    ADDRESS_REGISTER + family.bits() as u32 / 32
}

fn padded(interface: &str) -> [u8; IFNAMSIZ] {
    let mut bytes = [0; IFNAMSIZ];
    let name = interface.as_bytes();
    bytes[..name.len()].copy_from_slice(name);
    bytes
}

/// `NFT_REG32_01`, the second word of the first register: what follows a protocol in a key.
const ADDRESS_REGISTER: u32 = 9;
const DYNSET_SET: u16 = 1;
const DYNSET_OP: u16 = 3;
const DYNSET_SREG_KEY: u16 = 4;
const DYNSET_EXPR: u16 = 7;
/// Makes the element where it is missing, and has its counter count.
const DYNSET_UPDATE: u32 = 1;
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;
