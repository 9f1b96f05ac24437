//! The instructions that steer without rewriting addresses: marks, sockets and tproxy.

use std::net::{Ipv4Addr, Ipv6Addr};

use steer_core::address::Family;
use steer_core::mark::Mark;

use super::{
    CT_DREG, CT_KEY, Meta, NFPROTO_IPV4, NFPROTO_IPV6, Program, REGISTER, SOCKET_DREG, SOCKET_KEY,
};

/// Where a mark is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Marked {
    /// On the packet.
    Packet,
    /// On its connection.
    Connection,
}

impl Program {
    pub(crate) fn mark_holds(&mut self, marked: Marked, mark: Mark) {
        self.load_mark(marked);
        if mark.mask != u32::MAX {
            self.masked(&mark.mask.to_ne_bytes());
        }
        self.equals(&mark.value.to_ne_bytes());
    }

    /// Sets the bits of the mask and leaves those of neighbours.
    pub(crate) fn set_mark(&mut self, marked: Marked, mark: Mark) {
        if mark.mask == u32::MAX {
            self.load(REGISTER, &mark.value.to_ne_bytes());
        } else {
            self.load_mark(marked);
            self.replaced(&(!mark.mask).to_ne_bytes(), &mark.value.to_ne_bytes());
        }
        match marked {
            Marked::Packet => self.push("meta", |data| {
                data.u32(META_KEY, Meta::Mark as u32)
                    .u32(META_SREG, REGISTER);
            }),
            Marked::Connection => self.push("ct", |data| {
                data.u32(CT_KEY, CT_MARK).u32(CT_SREG, REGISTER);
            }),
        }
    }

    fn load_mark(&mut self, marked: Marked) {
        match marked {
            Marked::Packet => self.meta(Meta::Mark),
            Marked::Connection => self.push("ct", |data| {
                data.u32(CT_KEY, CT_MARK).u32(CT_DREG, REGISTER);
            }),
        }
    }

    /// The destination is an address of this host, as the routes say that know no mark.
    pub(crate) fn destined_here(&mut self) {
        self.destination_is(RTN_LOCAL);
    }

    /// The destination is everyone on a network or on the link, by the same routes.
    pub(crate) fn destined_to_everyone(&mut self) {
        self.destination_is(RTN_BROADCAST);
    }

    fn destination_is(&mut self, kind: u32) {
        self.push("fib", |data| {
            data.u32(FIB_DREG, REGISTER)
                .u32(FIB_RESULT, FIB_RESULT_ADDRTYPE)
                .u32(FIB_FLAGS, FIB_DESTINATION);
        });
        self.equals(&kind.to_ne_bytes());
    }

    /// The packet's socket may have foreign addresses.
    pub(crate) fn of_transparent_socket(&mut self) {
        self.socket_is_transparent(1);
    }

    /// The packet has a socket, and one that may not.
    pub(crate) fn of_ordinary_socket(&mut self) {
        self.socket_is_transparent(0);
    }

    /// Ends the rule where the packet has no socket.
    fn socket_is_transparent(&mut self, flag: u8) {
        self.push("socket", |data| {
            data.u32(SOCKET_KEY, SOCKET_TRANSPARENT)
                .u32(SOCKET_DREG, REGISTER);
        });
        self.equals(&[flag]);
    }

    /// Hands the packet to the transparent socket at a port of the family's loopback address, and
    /// ends the rule where there is none; needs tests of family and protocol before it.
    pub(crate) fn tproxy(&mut self, family: Family, port: u16) {
        let number = match family {
            Family::V4 => {
                self.load(REGISTER, &Ipv4Addr::LOCALHOST.octets());
                NFPROTO_IPV4
            }
            Family::V6 => {
                self.load(REGISTER, &Ipv6Addr::LOCALHOST.octets());
                NFPROTO_IPV6
            }
        };
        self.load(SECOND_REGISTER, &port.to_be_bytes());
        self.push("tproxy", |data| {
            data.u32(TPROXY_FAMILY, u32::from(number))
                .u32(TPROXY_REG_ADDR, REGISTER)
                .u32(TPROXY_REG_PORT, SECOND_REGISTER);
        });
    }
}

/// Bytes of an interface's name with the NUL that ends it.
pub(crate) const IFNAMSIZ: usize = 16;
/// `NFT_REG_2`: the port of a tproxy, whose address is in the first.
const SECOND_REGISTER: u32 = 2;
const CT_MARK: u32 = 3;
const SOCKET_TRANSPARENT: u32 = 0;
const FIB_RESULT_ADDRTYPE: u32 = 3;
const FIB_DESTINATION: u32 = 2;
const RTN_LOCAL: u32 = 2;
const RTN_BROADCAST: u32 = 3;

const META_KEY: u16 = 2;
const META_SREG: u16 = 3;
const CT_SREG: u16 = 4;
const FIB_DREG: u16 = 1;
const FIB_RESULT: u16 = 2;
const FIB_FLAGS: u16 = 3;
const TPROXY_FAMILY: u16 = 1;
const TPROXY_REG_ADDR: u16 = 2;
const TPROXY_REG_PORT: u16 = 3;
