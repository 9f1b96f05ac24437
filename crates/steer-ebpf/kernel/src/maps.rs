//! The maps, which the user's side finds by their names.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE};
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockMap};

use crate::abi::{
    COUNTERS as COUNTERS_MOST, Config, Event, GENERATIONS, Inbound, NETS_MOST, NetKey, Owner,
    PAIRS_MOST, PLACES_MOST, PORT_WORDS, Pair, Place, Slot, Slots, TOKENS_MOST, Token, TokenKey,
};

/// Live tokens. A plain hash: what lives is never evicted. Without preallocation, as most hosts
/// have few.
#[map]
pub static TOKENS: HashMap<TokenKey, Token> =
    HashMap::with_max_entries(TOKENS_MOST, BPF_F_NO_PREALLOC);
/// The token of a connected socket.
#[btf_map]
pub static CONNECTED: SkStorage<Slot> = SkStorage::new();
/// The tokens of a socket of datagrams that is not connected.
#[btf_map]
pub static SENT: SkStorage<Slots> = SkStorage::new();
/// More of them.
#[map]
pub static OVERFLOW: HashMap<Pair, Slot> = HashMap::with_max_entries(PAIRS_MOST, BPF_F_NO_PREALLOC);
/// From whom a socket of datagrams has received: what it sends there is an answer.
#[map]
pub static PEERS: LruHashMap<Pair, u64> = LruHashMap::with_max_entries(PAIRS_MOST, 0);
/// Where the traffic of each network namespace goes.
#[map]
pub static PLACES: HashMap<u64, Place> = HashMap::with_max_entries(PLACES_MOST, BPF_F_NO_PREALLOC);
/// The configuration, one a generation.
#[map]
pub static CONFIG: Array<Config> = Array::with_max_entries(GENERATIONS, 0);
/// The generation that holds.
#[map]
pub static ACTIVE: Array<u32> = Array::with_max_entries(1, 0);
/// The ports that are meant.
#[map]
pub static PORTS: Array<u64> = Array::with_max_entries(GENERATIONS * PORT_WORDS, 0);
/// The networks that are meant or left alone.
#[map]
pub static NETS: LpmTrie<NetKey, u32> = LpmTrie::with_max_entries(NETS_MOST, 0);
/// Processes of the engine, known by a call on a socket with its mark, which no program without
/// privilege can make. Those that end without a word give way to later ones.
#[map]
pub static ENGINES: LruHashMap<u32, u32> = LruHashMap::with_max_entries(ENGINES_MOST, 0);
/// Whom the maps are of; no program reads it.
#[map]
pub static OWNER: Array<Owner> = Array::with_max_entries(1, 0);
/// Namespaces without a place.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);
/// What happened how often.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS_MOST, 0);
/// The original destination of connections that another proxy has accepted and asked about.
#[btf_map]
pub static ORIGINAL: SkStorage<Slot> = SkStorage::new();

/// What is taken of what comes in.
#[map]
pub static INBOUND: Array<Inbound> = Array::with_max_entries(GENERATIONS, 0);
/// The generation of it that holds.
#[map]
pub static INBOUND_ACTIVE: Array<u32> = Array::with_max_entries(1, 0);
/// Its ports.
#[map]
pub static INBOUND_PORTS: Array<u64> = Array::with_max_entries(GENERATIONS * PORT_WORDS, 0);
/// Its sources.
#[map]
pub static INBOUND_NETS: LpmTrie<NetKey, u32> = LpmTrie::with_max_entries(NETS_MOST, 0);
/// Who takes it: IPv4 at 0, IPv6 at 1.
#[map]
pub static LISTENERS: SockMap = SockMap::with_max_entries(2, 0);

/// One a steering, and its successors.
const ENGINES_MOST: u32 = 64;

/// A power of two of pages on every machine.
const EVENTS_BYTES: u32 = 65_536;

/// What a map keeps with a socket, if anything.
#[inline(always)]
pub fn kept<T>(map: &'static SkStorage<T>, socket: *mut c_void) -> Option<&'static mut T> {
    let map = ptr::from_ref(map).cast_mut().cast();
    // SAFETY: the map keeps values of `T`, and each lives until the program has ended.
    unsafe {
        bpf_sk_storage_get(map, socket, ptr::null_mut(), 0)
            .cast::<T>()
            .as_mut()
    }
}

/// The same; made of zeros where there was nothing. None where there is no memory for it.
#[inline(always)]
pub fn keep<T>(map: &'static SkStorage<T>, socket: *mut c_void) -> Option<&'static mut T> {
    let map = ptr::from_ref(map).cast_mut().cast();
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: as above; every `T` here is plain data, for which zeros are a value.
    unsafe {
        bpf_sk_storage_get(map, socket, ptr::null_mut(), create)
            .cast::<T>()
            .as_mut()
    }
}

/// Counts one more.
#[inline(always)]
pub fn count(index: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: it is this processor's own, and a program is not moved to another one.
        unsafe { *counter += 1 };
    }
}

/// Says that a namespace has no place. Lost when the buffer is full: the next call says it again.
#[inline(always)]
pub fn report(event: &Event) {
    let _ = EVENTS.output::<Event>(event, 0);
}
