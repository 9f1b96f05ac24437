//! What the environment said when the library was loaded.
//!
//! `STEER_PRELOAD=NAME[,WORD]…`: the engine's control socket in the abstract namespace, and what is
//! wanted. The library's file is called after the socket, so that of two libraries in one process
//! (`steer run` within `steer run`) each knows whether it is meant.

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::text::Text;
use crate::{environment, real, sys};

/// What the environment said when the library was loaded.
pub struct Settings {
    /// The name of the engine's control socket.
    pub control: Text<107>,
    /// The variable as it was.
    pub variable: Text<512>,
    /// The file of this library.
    pub library: Text<4096>,
    /// Loopback addresses are steered, too.
    pub loopback: bool,
    /// Datagrams go where the program sends them.
    pub datagrams: bool,
    /// Port 53 is left alone.
    pub dns: bool,
    /// Names are asked of the engine.
    pub names: bool,
    /// Without an engine connections go direct.
    pub open: bool,
    /// Programs that would not be steered are started all the same.
    pub unsteered: bool,
}

/// The settings, where an engine is to be asked: without them everything is as without the library.
pub fn settings() -> Option<&'static Settings> {
    // SAFETY: it is written once, before the flag, and never after.
    READY
        .load(Ordering::Acquire)
        .then(|| unsafe { &*PLACE.0.get() })
}

struct Place(UnsafeCell<Settings>);

// SAFETY: one thread writes it, while the program's own code has not begun.
unsafe impl Sync for Place {}

static READY: AtomicBool = AtomicBool::new(false);
static PLACE: Place = Place(UnsafeCell::new(Settings {
    control: Text::new(),
    variable: Text::new(),
    library: Text::new(),
    loopback: false,
    datagrams: false,
    dns: false,
    names: false,
    open: false,
    unsteered: false,
}));

#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = loaded;

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// Runs when the library is loaded, before the program's own code.
extern "C" fn loaded(
    _count: c_int,
    _arguments: *const *const c_char,
    variables: *const *const c_char,
) {
    real::find_all();
    // glibc calls with the variables and may have set `environ` not yet; others call with nothing.
    let given = real::is_glibc();
    // SAFETY: whoever loads programs has set one of the two.
    let variables = if given { variables } else { unsafe { environ } };
    // SAFETY: it is the environment that the process was started with.
    if let Some(read) = unsafe { read(variables) } {
        // SAFETY: nobody reads it before the flag is set.
        unsafe { *PLACE.0.get() = read };
        READY.store(true, Ordering::Release);
    }
}

/// # Safety
/// `variables` is an environment.
unsafe fn read(variables: *const *const c_char) -> Option<Settings> {
    // SAFETY: as above.
    let variable = unsafe { environment::value(variables, VARIABLE)? };
    let mut words = variable.split(|byte| *byte == b',');
    let control = Text::from(words.next().filter(|name| !name.is_empty())?)?;
    let library = own_file()?;
    let name = library.as_bytes().rsplit(|byte| *byte == b'/').next()?;
    if name.strip_suffix(b".so") != Some(control.as_bytes()) {
        return None;
    }
    let mut settings = Settings {
        control,
        variable: Text::from(variable)?,
        library,
        loopback: false,
        datagrams: false,
        dns: false,
        names: false,
        open: false,
        // SAFETY: as above.
        unsteered: unsafe { environment::value(variables, UNSTEERED) }.is_some(),
    };
    for word in words {
        match word {
            b"loopback" => settings.loopback = true,
            b"datagrams" => settings.datagrams = true,
            b"dns" => settings.dns = true,
            b"names" => settings.names = true,
            b"open" => settings.open = true,
            // Both ends are of one build.
            _ => return None,
        }
    }
    Some(settings)
}

/// What dladdr(3) tells of an address.
#[repr(C)]
struct Info {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

fn own_file() -> Option<Text<4096>> {
    let mut info = Info {
        file: ptr::null(),
        base: ptr::null_mut(),
        symbol: ptr::null(),
        address: ptr::null_mut(),
    };
    // SAFETY: an address of ours, and a place for what is told of it.
    let found = unsafe { real::dladdr((&raw const LOADED).cast(), (&raw mut info).cast()) };
    if found <= 0 || info.file.is_null() {
        return None;
    }
    // SAFETY: the loader's name of the file, which stays.
    Text::from(unsafe { sys::bytes(info.file) })
}

/// What tells of the engine.
pub const VARIABLE: &[u8] = b"STEER_PRELOAD";

/// What has programs started that would not be steered.
const UNSTEERED: &[u8] = b"STEER_ALLOW_UNSTEERED";
