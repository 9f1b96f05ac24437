//! Looking up names: the engine gives an address that stands for the name, so that it gets the name
//! when the program connects.

use core::ffi::{c_char, c_int, c_void};
use core::ptr;

use crate::address::{AF_INET, AF_INET6};
use crate::control::Question;
use crate::real;
use crate::settings::settings;
use crate::sys::{self, EAGAIN};
use crate::text::Text;
use crate::wire::{Address, Ask, NAME, Reply, Request};

/// getaddrinfo(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const Info,
    result: *mut *mut Info,
) -> c_int {
    let real = |node: *const c_char, hints: *const Info| {
        // SAFETY: as the caller says; the places are those of the caller, or ours.
        unsafe { real::getaddrinfo(node, service, hints.cast(), result.cast()) }
    };
    let mut wanted = Info::none();
    if !hints.is_null() {
        // SAFETY: as the caller says. Of hints, no more than the first four fields is set.
        wanted = unsafe {
            Info {
                flags: (*hints).flags,
                family: (*hints).family,
                kind: (*hints).kind,
                protocol: (*hints).protocol,
                ..wanted
            }
        };
    }
    if wanted.flags & AI_NUMERICHOST != 0 {
        return real(node, hints);
    }
    // SAFETY: as the caller says.
    match unsafe { stand_in(node, wanted.family) } {
        Answer::Own => real(node, hints),
        Answer::Failed(EAGAIN) => EAI_AGAIN,
        Answer::Failed(_) => EAI_NONAME,
        Answer::StandIn(text) => {
            wanted.flags = wanted.flags & !AI_ADDRCONFIG | AI_NUMERICHOST;
            let done = real(text.as_ptr(), &raw const wanted);
            if done == 0 && wanted.flags & AI_CANONNAME != 0 && real::is_glibc() {
                // SAFETY: the function has made a list, in which glibc has made each name.
                unsafe { rename(*result, node) };
            }
            done
        }
    }
}

/// Puts the name that was asked for in the place of the number that stands for it.
///
/// # Safety
/// It is a list of glibc's getaddrinfo.
unsafe fn rename(first: *mut Info, node: *const c_char) {
    // SAFETY: as the caller says.
    if let Some(first) = unsafe { first.as_mut() }
        && !first.name.is_null()
    {
        // SAFETY: the name was made by malloc, and is freed by free.
        unsafe {
            let name = real::strdup(node);
            if !name.is_null() {
                real::free(first.name.cast());
                first.name = name.cast();
            }
        }
    }
}

/// gethostbyname(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gethostbyname(name: *const c_char) -> *mut c_void {
    // SAFETY: as the caller says.
    match unsafe { stand_in(name, AF_INET) } {
        // SAFETY: a name.
        Answer::StandIn(text) => unsafe { real::gethostbyname(text.as_ptr()) },
        // A failure is told by the function itself, in its own variable.
        // SAFETY: as the caller says.
        Answer::Own => unsafe { real::gethostbyname(name) },
        // SAFETY: a name.
        Answer::Failed(_) => unsafe { real::gethostbyname(NO_NAME.as_ptr().cast()) },
    }
}

/// gethostbyname2(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gethostbyname2(name: *const c_char, family: c_int) -> *mut c_void {
    // SAFETY: as the caller says.
    match unsafe { stand_in(name, family) } {
        // SAFETY: a name.
        Answer::StandIn(text) => unsafe { real::gethostbyname2(text.as_ptr(), family) },
        // SAFETY: as the caller says.
        Answer::Own => unsafe { real::gethostbyname2(name, family) },
        // SAFETY: a name.
        Answer::Failed(_) => unsafe { real::gethostbyname2(NO_NAME.as_ptr().cast(), family) },
    }
}

/// gethostbyname_r(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gethostbyname_r(
    name: *const c_char,
    entry: *mut c_void,
    place: *mut c_char,
    size: usize,
    result: *mut *mut c_void,
    error: *mut c_int,
) -> c_int {
    // SAFETY: as the caller says.
    let asked = unsafe { stand_in(name, AF_INET) };
    let name = asked.name(name);
    // SAFETY: as the caller says.
    unsafe { real::gethostbyname_r(name, entry, place, size, result, error) }
}

/// gethostbyname2_r(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gethostbyname2_r(
    name: *const c_char,
    family: c_int,
    entry: *mut c_void,
    place: *mut c_char,
    size: usize,
    result: *mut *mut c_void,
    error: *mut c_int,
) -> c_int {
    // SAFETY: as the caller says.
    let asked = unsafe { stand_in(name, family) };
    let name = asked.name(name);
    // SAFETY: as the caller says.
    unsafe { real::gethostbyname2_r(name, family, entry, place, size, result, error) }
}

/// What the engine says of a name.
enum Answer {
    /// Look it up yourself.
    Own,
    /// This address stands for it.
    StandIn(Text<48>),
    /// It has none; errno.
    Failed(c_int),
}

impl Answer {
    /// What is looked up in the place of a name.
    fn name(&self, name: *const c_char) -> *const c_char {
        match self {
            Self::Own => name,
            Self::StandIn(text) => text.as_ptr(),
            Self::Failed(_) => NO_NAME.as_ptr().cast(),
        }
    }
}

/// # Safety
/// `node` is a C string, or null.
unsafe fn stand_in(node: *const c_char, family: c_int) -> Answer {
    let Some(settings) = settings().filter(|settings| settings.names && !node.is_null()) else {
        return Answer::Own;
    };
    // SAFETY: as the caller says.
    let name = unsafe { sys::bytes(node) };
    let version = match family {
        0 => 0,
        AF_INET => 4,
        AF_INET6 => 6,
        _ => return Answer::Own,
    };
    if !is_worth_asking(name) {
        return Answer::Own;
    }
    let before = sys::errno();
    let family = Address {
        version,
        ..Address::default()
    };
    let request = Request {
        name: name.len() as u16,
        ..Request::new(Ask::Resolve, family)
    };
    let answer = match Question::ask(settings, &request, name, None) {
        Ok(question) => match question.answer() {
            Some(Reply::Address(address)) => written(&address).map_or(Answer::Own, Answer::StandIn),
            Some(Reply::Errno(0) | Reply::Own(_)) => Answer::Own,
            Some(Reply::Errno(errno)) => Answer::Failed(errno),
            None => Answer::Failed(EAGAIN),
        },
        Err(_) if settings.open => Answer::Own,
        Err(_) => Answer::Failed(EAGAIN),
    };
    sys::set_errno(before);
    answer
}

/// Whether the engine may have an address for it: names with a dot within, as the search list is
/// the resolver's (resolv.conf(5), `ndots`), and no numbers.
fn is_worth_asking(name: &[u8]) -> bool {
    let bare = name.strip_suffix(b".").unwrap_or(name);
    let number = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b'x' | b'X');
    name.len() <= NAME
        && bare.contains(&b'.')
        && !bare.contains(&b':')
        && !bare.contains(&b'%')
        && !bare.ends_with(b".localhost")
        && !(bare.first().is_some_and(u8::is_ascii_digit) && bare.iter().all(number))
}

/// An address as text.
fn written(address: &Address) -> Option<Text<48>> {
    let mut text = Text::new();
    let mut good = true;
    if address.version == 4 {
        for (at, byte) in address.ip.iter().take(4).enumerate() {
            good &= at == 0 || text.push(b".");
            good &= text.push_number(u32::from(*byte), 10);
        }
    } else {
        for (at, pair) in address.ip.chunks_exact(2).enumerate() {
            good &= at == 0 || text.push(b":");
            let group = pair
                .iter()
                .fold(0, |group, byte| group << 8 | u32::from(*byte));
            good &= text.push_number(group, 16);
        }
    }
    good.then_some(text)
}

/// `struct addrinfo`.
#[repr(C)]
pub struct Info {
    flags: c_int,
    family: c_int,
    kind: c_int,
    protocol: c_int,
    length: u32,
    address: *mut c_void,
    name: *mut c_char,
    next: *mut Info,
}

impl Info {
    const fn none() -> Self {
        Self {
            // What glibc takes where nothing is given.
            flags: AI_V4MAPPED | AI_ADDRCONFIG,
            family: 0,
            kind: 0,
            protocol: 0,
            length: 0,
            address: ptr::null_mut(),
            name: ptr::null_mut(),
            next: ptr::null_mut(),
        }
    }
}

/// What every C library takes for an address that is wrong: it is not found, and nobody is asked.
const NO_NAME: &[u8] = b"999.999.999.999\0";

const AI_CANONNAME: c_int = 2;
const AI_NUMERICHOST: c_int = 4;
const AI_V4MAPPED: c_int = 8;
const AI_ADDRCONFIG: c_int = 0x20;
const EAI_NONAME: c_int = -2;
const EAI_AGAIN: c_int = -3;
