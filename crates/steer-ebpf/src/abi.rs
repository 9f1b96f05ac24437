//! What the programs in the kernel and their user side agree on: both compile this file.
//!
//! Every structure is plain data without padding, in the machine's byte order; addresses are of
//! IPv6 in the order of the network, those of IPv4 mapped into it (RFC 4291, section 2.5.5.2), and
//! ports are plain numbers. User-side names of maps and programs are those of the statics and
//! functions on the kernel's side.

/// 127.128.0.0/9, of which each token of IPv4 has an address: the number is in the lower
/// [`TOKEN_BITS_V4`] bits, never 0 (a network's own address) and at most [`TOKEN_LAST`].
pub const TOKEN_NET_V4: u32 = 0x7f80_0000;
/// The bits of a token's number in an address of IPv4.
pub const TOKEN_BITS_V4: u32 = 23;
/// The last number of a token. The one after it would be of 127.255.255.255, the broadcast address of
/// the loopback network, to which nobody connects.
pub const TOKEN_LAST: u32 = (1 << TOKEN_BITS_V4) - 2;
/// fd5e:7ee2:0:f8e3::/64, of which each token of IPv6 has an address: the number is in the lower 64
/// bits, and less than 2^23 as well.
pub const TOKEN_NET_V6: [u8; 8] = [0xfd, 0x5e, 0x7e, 0xe2, 0, 0, 0xf8, 0xe3];

/// An address of either family, IPv4 mapped.
pub type Address = [u8; 16];

/// The key of a token: its number in the lower bits, [`KEY_V6`] and [`KEY_UDP`] above.
pub type TokenKey = u64;
/// Set in a [`TokenKey`] whose address is of IPv6.
pub const KEY_V6: u64 = 1 << 63;
/// Set in a [`TokenKey`] of datagrams.
pub const KEY_UDP: u64 = 1 << 62;

/// What a token stands for (map `TOKENS`, hash by [`TokenKey`], [`TOKENS_MOST`] entries).
///
/// Made by the hook of the call, before the call goes on. A token of TCP is used once: the engine
/// removes it when it accepts the connection that came from `source`. One of UDP is for what comes
/// from `source`, and lives until some seconds after its socket was closed (hook of release), or until
/// it was silent for long.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The address that the program asked for.
    pub destination: Address,
    /// Where its socket sends from, once the kernel has chosen it (of UDP the latest); all zero before.
    pub source: Address,
    /// The socket that got it (`bpf_get_socket_cookie`).
    pub cookie: u64,
    /// The network namespace of the socket (`bpf_get_netns_cookie`).
    pub netns: u64,
    /// The cgroup of the process.
    pub cgroup: u64,
    /// When it was made, in nanoseconds since boot.
    pub made: u64,
    /// When it was last used to send there (UDP; the largest number where the socket is connected), in
    /// nanoseconds since boot.
    pub last: u64,
    /// When its socket was closed, in nanoseconds since boot; 0 while it is open.
    pub closed: u64,
    /// The process that called.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The port that the program asked for.
    pub port: u16,
    /// The port of `source`; 0 before it is known.
    pub source_port: u16,
    /// Its name, up to the first zero; that of the thread where the programs cannot tell it.
    pub command: [u8; 16],
}

/// A token from its socket's side (maps `CONNECTED`, `SENT`, `OVERFLOW`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The token; 0 means none.
    pub key: TokenKey,
    /// The address that the program asked for.
    pub destination: Address,
    /// The port that the program asked for.
    pub port: u16,
    /// Always zero.
    pub unused: [u16; 3],
}

/// The latest destinations of a socket of datagrams (map `SENT`, socket storage).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// One a destination; further ones are in `OVERFLOW`.
    pub slots: [Slot; SLOTS],
}

/// How many destinations of a socket are kept with it.
pub const SLOTS: usize = 8;

/// A socket of datagrams and an address (maps `OVERFLOW` and `PEERS`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The socket.
    pub cookie: u64,
    /// The address.
    pub address: Address,
    /// The port.
    pub port: u16,
    /// Always zero.
    pub unused: [u16; 3],
}

/// Where a network namespace's traffic goes (map `PLACES`, hash by netns cookie). A namespace that is
/// not there has no listener.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The port for TCP; 0 means none, here and below.
    pub streams: u16,
    /// The port for UDP.
    pub datagrams: u16,
    /// The port for DNS over TCP.
    pub dns_streams: u16,
    /// The port for DNS over UDP.
    pub dns_datagrams: u16,
    /// [`PLACE_EXTERNAL`], [`PLACE_V4`], [`PLACE_V6`].
    pub flags: u32,
    /// Always zero.
    pub unused: u32,
}

/// The listeners are of another proxy: they need not carry the mark.
pub const PLACE_EXTERNAL: u32 = 1;
/// Connections of IPv4 can be taken there.
pub const PLACE_V4: u32 = 2;
/// Connections of IPv6 can be taken there.
pub const PLACE_V6: u32 = 4;

/// What is taken and from whom (map `CONFIG`, array of [`GENERATIONS`]; the entry that holds is
/// that of the generation in `ACTIVE` modulo [`GENERATIONS`]).
///
/// Whoever changes it fills the entry, the ports and the networks of the next generation, then
/// writes its number to `ACTIVE`: every call sees all of one generation. What is left of the one
/// before is removed after a grace period (`membarrier(2)`, MEMBARRIER_CMD_GLOBAL).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// `DO_…`
    pub flags: u32,
    /// The bits of the engine's own mark.
    pub bypass: u32,
    /// Which bits of a mark are looked at.
    pub bypass_mask: u32,
    /// Always zero.
    pub unused: u32,
    /// The namespace that is meant with [`DO_HERE`].
    pub netns: u64,
    /// Users that are meant; none at all means everybody.
    pub uid: Ranges,
    /// Users that are not meant.
    pub except_uid: Ranges,
    /// Groups that are meant; none at all means everybody.
    pub gid: Ranges,
    /// Groups that are not meant.
    pub except_gid: Ranges,
    /// Names of processes that are meant; none at all means everybody.
    pub command: Names,
    /// Names of processes that are not meant.
    pub except_command: Names,
    /// Cgroups to one of which (or below) the process must belong; none at all asks for none.
    pub cgroup: Cgroups,
    /// Cgroups that are not meant, each with all below.
    pub except_cgroup: Cgroups,
}

/// Ranges of numbers, both ends included; what is not used is `first > last`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// How many are used.
    pub count: u32,
    /// First and last of each.
    pub ranges: [[u32; 2]; LIST],
}

/// Names of processes, filled up with zeros.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// How many are used.
    pub count: u32,
    /// The names.
    pub names: [[u8; 16]; LIST],
}

/// Cgroups by their ids; a process belongs to each that it is in or below
/// (`bpf_get_current_ancestor_cgroup_id`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cgroups {
    /// The ids.
    pub ids: [u64; LIST],
    /// How many are used.
    pub count: u32,
    /// Always zero.
    pub unused: u32,
}

/// The longest list of users, groups, names or cgroups.
pub const LIST: usize = 16;
/// How many generations of the configuration there can be at once.
pub const GENERATIONS: u32 = 4;
/// Words of 64 bits in a generation's set of ports (map `PORTS`, array of `u64`): the bit `port %
/// 64` of the word `generation % GENERATIONS * PORT_WORDS + port / 64` is set where the port is
/// meant.
pub const PORT_WORDS: u32 = 1024;

/// Further connections are taken (else only those that were are translated, and what is meant is
/// refused under [`DO_CLOSED`]).
pub const DO_TAKE: u32 = 1;
/// What is meant and cannot be taken is refused (else left alone).
pub const DO_CLOSED: u32 = 1 << 1;
/// Only sockets of the namespace in `netns` are meant.
pub const DO_HERE: u32 = 1 << 2;
/// Connections to loopback addresses are meant.
pub const DO_LOOPBACK: u32 = 1 << 3;
/// DNS over TCP (port 53) is meant and goes to its own listener, also where it is addressed to
/// loopback, unless the networks say [`NET_LEFT`].
pub const DO_DNS_TCP: u32 = 1 << 4;
/// DNS (port 53) is left alone, whatever the rest says.
pub const DO_LEAVE_DNS: u32 = 1 << 5;
/// TCP is meant.
pub const DO_TCP: u32 = 1 << 6;
/// UDP is meant.
pub const DO_UDP: u32 = 1 << 7;
/// UDP to port 443 is left alone, whatever the rest says.
pub const DO_LEAVE_QUIC: u32 = 1 << 8;
/// A destination is meant only where the networks say [`NET_MEANT`].
pub const DO_NETS: u32 = 1 << 9;
/// UDP is not meant and is left alone, also under `DO_CLOSED` (it was excluded by its name).
pub const DO_LEAVE_UDP: u32 = 1 << 10;
/// TCP is not meant and is left alone, also under `DO_CLOSED`.
pub const DO_LEAVE_TCP: u32 = 1 << 11;

/// Sockets of other protocols (raw, ICMP, SCTP and so on) are meant: nobody can take what they send,
/// so that making one is refused under [`DO_CLOSED`].
pub const DO_OTHERS: u32 = 1 << 12;
/// UDP to port 443 that is meant is refused, also without [`DO_CLOSED`], so that clients fall back to
/// TCP.
pub const DO_REFUSE_QUIC: u32 = 1 << 13;
/// The same as [`DO_DNS_TCP`] of DNS over UDP.
pub const DO_DNS_UDP: u32 = 1 << 14;

/// The listeners are of another proxy (as [`PLACE_EXTERNAL`] says of a namespace).
pub const DO_EXTERNAL: u32 = 1 << 15;

/// The data of a key in `NETS`, a trie by longest prefix over both families.
///
/// The prefix length counts the 32 bits of the generation as well. The value is `NET_…` of all
/// networks of the configuration that contain this one, itself among them, so that the longest match
/// says it all.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetKey {
    /// The generation, in the order of the network.
    pub generation: [u8; 4],
    /// The address.
    pub address: Address,
}

/// The network, or one around it, is meant.
pub const NET_MEANT: u32 = 1;
/// The network, or one around it, is left alone.
pub const NET_LEFT: u32 = 2;
/// The network, or one around it, leads nowhere (made-up addresses): what goes there and is not taken
/// is refused, also where it is left alone or without [`DO_CLOSED`].
pub const NET_REFUSED: u32 = 4;

/// What is taken of what comes to a namespace (map `INBOUND`, array of [`GENERATIONS`], with
/// `INBOUND_ACTIVE`, `INBOUND_PORTS` and `INBOUND_NETS` as for `CONFIG`; the listening sockets are in
/// the socket map `LISTENERS`, IPv4 at 0 and IPv6 at 1).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// `DO_TAKE`, `DO_CLOSED`, `DO_NETS` (of sources).
    pub flags: u32,
    /// Always zero.
    pub unused: u32,
}

/// Whom the maps are of (map `OWNER`, array of one).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// [`VERSION`] of whoever loaded them.
    pub version: u32,
    /// How long the name is.
    pub length: u32,
    /// The name of the steering.
    pub instance: [u8; 64],
}

/// Changes with everything in this file that an older side would misread.
pub const VERSION: u32 = 4;

/// A namespace without a place from which somebody has tried to connect (ring buffer `EVENTS`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its cookie.
    pub netns: u64,
    /// A process in it.
    pub pid: u32,
    /// Always zero.
    pub unused: u32,
}

/// Entries of `TOKENS`.
pub const TOKENS_MOST: u32 = 262_144;
/// Entries of `OVERFLOW`, `PEERS` each.
pub const PAIRS_MOST: u32 = 65_536;
/// Entries of `PLACES`.
pub const PLACES_MOST: u32 = 4096;
/// Entries of `NETS`.
pub const NETS_MOST: u32 = 1_048_576;

/// Indices of `COUNTERS` (an array of `u64` for each processor).
pub const COUNT_TAKEN: u32 = 0;
/// Meant and refused because nobody could take it.
pub const COUNT_REFUSED: u32 = 1;
/// Meant and left alone because nobody could take it.
pub const COUNT_LEFT: u32 = 2;
/// No token was left.
pub const COUNT_EXHAUSTED: u32 = 3;
/// A token was used by somebody to whom it was not given.
pub const COUNT_RIDDEN: u32 = 4;
/// How many there are.
pub const COUNTERS: u32 = 5;
