//! posix_spawn(3), and what starts a shell.

use core::ffi::{c_char, c_int, c_void};

use crate::environment::{Environment, value};
use crate::exec::{environ, search};
use crate::program::{self, AT_FDCWD};
use crate::real::{self, List};
use crate::settings::{Settings, settings};
use crate::sys::{self, Errno};
use crate::text::Text;

/// posix_spawn(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_spawn(
    pid: *mut c_int,
    path: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    arguments: List,
    variables: List,
) -> c_int {
    // SAFETY: as the caller says.
    match unsafe { prepared(path, path, variables) } {
        // SAFETY: as the caller says.
        None => unsafe { real::posix_spawn(pid, path, actions, attributes, arguments, variables) },
        // SAFETY: as the caller says.
        Some(Ok(environment)) => unsafe {
            real::posix_spawn(
                pid,
                path,
                actions,
                attributes,
                arguments,
                environment.list(),
            )
        },
        Some(Err(Errno(errno))) => errno,
    }
}

/// posix_spawnp(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_spawnp(
    pid: *mut c_int,
    name: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    arguments: List,
    variables: List,
) -> c_int {
    // SAFETY: as the caller says.
    let found = unsafe {
        search(name, |path| {
            if !program::can_be_executed(AT_FDCWD, path) {
                return None;
            }
            Text::<4096>::from(sys::bytes(path))
        })
    };
    let path = found.as_ref().map_or(name, Text::as_ptr);
    // SAFETY: as the caller says.
    match unsafe { prepared(name, path, variables) } {
        // SAFETY: as the caller says.
        None => unsafe { real::posix_spawnp(pid, name, actions, attributes, arguments, variables) },
        // SAFETY: as the caller says.
        Some(Ok(environment)) => unsafe {
            real::posix_spawnp(
                pid,
                name,
                actions,
                attributes,
                arguments,
                environment.list(),
            )
        },
        Some(Err(Errno(errno))) => errno,
    }
}

/// The environment that a program is to have; nothing where there is no engine.
///
/// # Safety
/// As for posix_spawn(3).
unsafe fn prepared(
    name: *const c_char,
    path: *const c_char,
    variables: List,
) -> Option<Result<Environment, Errno>> {
    let settings = settings().filter(|_| !name.is_null())?;
    // SAFETY: as the caller says.
    if let Err(errno) = unsafe { program::admit(settings, AT_FDCWD, path) } {
        return Some(Err(errno));
    }
    // SAFETY: as the caller says.
    Some(unsafe { Environment::steered(variables, settings) })
}

/// system(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn system(command: *const c_char) -> c_int {
    settings().inspect(|settings| keep_loaded(settings));
    // SAFETY: as the caller says.
    unsafe { real::system(command) }
}

/// popen(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn popen(command: *const c_char, mode: *const c_char) -> *mut c_void {
    settings().inspect(|settings| keep_loaded(settings));
    // SAFETY: as the caller says.
    unsafe { real::popen(command, mode) }
}

/// Puts the library back into the environment of this process, where the program has taken it out:
/// a shell that the C library starts gets that one.
fn keep_loaded(settings: &Settings) {
    let keep = |name: &[u8], name_for_c: *const c_char, wanted: *const c_char| {
        // SAFETY: the environment of the process; whoever starts a shell reads it, too.
        if unsafe { value(environ, name) }.is_none() {
            // SAFETY: both are texts that end with a zero.
            unsafe { real::setenv(name_for_c, wanted, 1) };
        }
    };
    keep(
        b"LD_PRELOAD",
        c"LD_PRELOAD".as_ptr(),
        settings.library.as_ptr(),
    );
    keep(
        b"STEER_PRELOAD",
        c"STEER_PRELOAD".as_ptr(),
        settings.variable.as_ptr(),
    );
}
