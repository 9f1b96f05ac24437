//! The functions that ours stand before: the next of their name, of a C library or of another
//! library that the user preloads.

use core::ffi::{c_char, c_int, c_uint, c_void};
use core::mem::transmute;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::sys;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// A list of texts, as programs and environments have it.
pub type List = *const *const c_char;

/// What a function returns that is not there.
trait Missing {
    fn missing() -> Self;
}

impl Missing for c_int {
    fn missing() -> Self {
        sys::fail(ENOSYS)
    }
}

impl Missing for isize {
    fn missing() -> Self {
        sys::set_errno(ENOSYS);
        -1
    }
}

impl Missing for *mut c_void {
    fn missing() -> Self {
        sys::set_errno(ENOSYS);
        ptr::null_mut()
    }
}

macro_rules! functions {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        #[allow(non_upper_case_globals, reason = "a place for each function, by its name")]
        mod places {
            use super::{AtomicPtr, ptr};
            $(pub(super) static $name: AtomicPtr<super::c_void> = AtomicPtr::new(ptr::null_mut());)*
        }

        /// Finds every function, so that none has to be looked up where that could wait for a lock.
        pub fn find_all() {
            $(find(&places::$name, concat!(stringify!($name), "\0"));)*
        }

        $(
            /// The function behind ours.
            ///
            /// # Safety
            /// As its manual page says.
            pub unsafe fn $name($($arg: $kind),*) -> $result {
                let place = find(&places::$name, concat!(stringify!($name), "\0"));
                if place.is_null() {
                    return <$result as Missing>::missing();
                }
                // SAFETY: the function of this name has these arguments and this result.
                unsafe {
                    let function: unsafe extern "C" fn($($kind),*) -> $result = transmute(place);
                    function($($arg),*)
                }
            }
        )*
    };
}

functions! {
    connect(fd: c_int, address: *const u8, length: u32) -> c_int;
    socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    getpeername(fd: c_int, address: *mut u8, length: *mut u32) -> c_int;
    getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut u32) -> c_int;
    sendto(fd: c_int, bytes: *const c_void, count: usize, flags: c_int, address: *const u8, length: u32) -> isize;
    sendmsg(fd: c_int, message: *const c_void, flags: c_int) -> isize;
    sendmmsg(fd: c_int, messages: *mut c_void, count: c_uint, flags: c_int) -> c_int;
    execve(path: *const c_char, arguments: List, variables: List) -> c_int;
    execveat(folder: c_int, path: *const c_char, arguments: List, variables: List, flags: c_int) -> c_int;
    fexecve(fd: c_int, arguments: List, variables: List) -> c_int;
    posix_spawn(pid: *mut c_int, path: *const c_char, actions: *const c_void, attributes: *const c_void, arguments: List, variables: List) -> c_int;
    posix_spawnp(pid: *mut c_int, name: *const c_char, actions: *const c_void, attributes: *const c_void, arguments: List, variables: List) -> c_int;
    system(command: *const c_char) -> c_int;
    popen(command: *const c_char, mode: *const c_char) -> *mut c_void;
    setenv(name: *const c_char, value: *const c_char, overwrite: c_int) -> c_int;
    getaddrinfo(node: *const c_char, service: *const c_char, hints: *const c_void, result: *mut *mut c_void) -> c_int;
    gethostbyname(name: *const c_char) -> *mut c_void;
    gethostbyname2(name: *const c_char, family: c_int) -> *mut c_void;
    gethostbyname_r(name: *const c_char, entry: *mut c_void, place: *mut c_char, size: usize, result: *mut *mut c_void, error: *mut c_int) -> c_int;
    gethostbyname2_r(name: *const c_char, family: c_int, entry: *mut c_void, place: *mut c_char, size: usize, result: *mut *mut c_void, error: *mut c_int) -> c_int;
    dladdr(address: *const c_void, info: *mut c_void) -> c_int;
    strdup(text: *const c_char) -> *mut c_void;
    free(memory: *mut c_void) -> c_int;
}

/// Whether the C library is glibc.
pub fn is_glibc() -> bool {
    // SAFETY: a name that ends with a zero.
    !unsafe { dlsym(NEXT, c"gnu_get_libc_version".as_ptr()) }.is_null()
}

/// `name` ends with a zero.
fn find(place: &AtomicPtr<c_void>, name: &'static str) -> *mut c_void {
    let known = place.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: a name that ends with a zero.
    let found = unsafe { dlsym(NEXT, name.as_ptr().cast()) };
    place.store(found, Ordering::Relaxed);
    found
}

/// RTLD_NEXT: behind the library that asks.
const NEXT: *mut c_void = ptr::without_provenance_mut(usize::MAX);

const ENOSYS: c_int = 38;
