//! execve(2) and its kin: what is started is steered as well, whatever environment it is given.

use core::ffi::{c_char, c_int};

use crate::environment::{Entries, Environment, value};
use crate::program::{self, AT_FDCWD};
use crate::real::{self, List};
use crate::settings::settings;
use crate::sys::{
    self, E2BIG, EACCES, ENAMETOOLONG, ENODEV, ENOENT, ENOEXEC, ENOTDIR, ESTALE, ETIMEDOUT, Errno,
    Pages,
};
use crate::text::Text;

unsafe extern "C" {
    /// The environment of the process.
    pub static environ: List;
}

/// execve(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execve(path: *const c_char, arguments: List, variables: List) -> c_int {
    // SAFETY: as the caller says.
    let started = unsafe { start(path, arguments, variables) };
    sys::fail(started.0.0)
}

/// execv(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execv(path: *const c_char, arguments: List) -> c_int {
    // SAFETY: as the caller says.
    unsafe { execve(path, arguments, environ) }
}

/// execvp(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvp(name: *const c_char, arguments: List) -> c_int {
    // SAFETY: as the caller says.
    unsafe { execvpe(name, arguments, environ) }
}

/// execvpe(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvpe(name: *const c_char, arguments: List, variables: List) -> c_int {
    let mut denied = false;
    // SAFETY: as the caller says.
    let errno = unsafe {
        search(name, |path| {
            let NotStarted(Errno(errno), whose) = start_or_shell(path, arguments, variables);
            match (errno, whose) {
                (EACCES, Whose::Kernel) => {
                    denied = true;
                    None
                }
                (ENOENT | ESTALE | ENOTDIR | ENODEV | ETIMEDOUT, _) => None,
                (errno, _) => Some(errno),
            }
        })
    };
    sys::fail(errno.unwrap_or(if denied { EACCES } else { ENOENT }))
}

/// fexecve(3)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fexecve(fd: c_int, arguments: List, variables: List) -> c_int {
    let Some(settings) = settings() else {
        // SAFETY: as the caller says.
        return unsafe { real::fexecve(fd, arguments, variables) };
    };
    if let Err(Errno(errno)) = program::admit_open(settings, fd) {
        return sys::fail(errno);
    }
    // SAFETY: as the caller says.
    match unsafe { Environment::steered(variables, settings) } {
        // SAFETY: as the caller says.
        Ok(environment) => unsafe { real::fexecve(fd, arguments, environment.list()) },
        Err(Errno(errno)) => sys::fail(errno),
    }
}

/// execveat(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execveat(
    folder: c_int,
    path: *const c_char,
    arguments: List,
    variables: List,
    flags: c_int,
) -> c_int {
    let Some(settings) = settings().filter(|_| !path.is_null()) else {
        // SAFETY: as the caller says.
        return unsafe { real::execveat(folder, path, arguments, variables, flags) };
    };
    // SAFETY: as the caller says.
    let admitted = match unsafe { *path } {
        0 => program::admit_open(settings, folder),
        // SAFETY: as the caller says.
        _ => unsafe { program::admit(settings, folder, path) },
    };
    if let Err(Errno(errno)) = admitted {
        return sys::fail(errno);
    }
    // SAFETY: as the caller says.
    match unsafe { Environment::steered(variables, settings) } {
        // SAFETY: as the caller says.
        Ok(environment) => unsafe {
            real::execveat(folder, path, arguments, environment.list(), flags)
        },
        Err(Errno(errno)) => sys::fail(errno),
    }
}

/// Why a program was not started, and who says so.
struct NotStarted(Errno, Whose);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Kernel,
    Ours,
}

/// # Safety
/// As for execve(2).
unsafe fn start(path: *const c_char, arguments: List, variables: List) -> NotStarted {
    let Some(settings) = settings().filter(|_| !path.is_null()) else {
        // SAFETY: as the caller says.
        unsafe { real::execve(path, arguments, variables) };
        return NotStarted(Errno(sys::errno()), Whose::Kernel);
    };
    // SAFETY: as the caller says.
    if let Err(errno) = unsafe { program::admit(settings, AT_FDCWD, path) } {
        return NotStarted(errno, Whose::Ours);
    }
    // SAFETY: as the caller says.
    match unsafe { Environment::steered(variables, settings) } {
        Ok(environment) => {
            // SAFETY: as the caller says.
            unsafe { real::execve(path, arguments, environment.list()) };
            NotStarted(Errno(sys::errno()), Whose::Kernel)
        }
        Err(errno) => NotStarted(errno, Whose::Ours),
    }
}

/// As [`start`]; what the kernel does not know is the shell's.
///
/// # Safety
/// As for execve(2).
unsafe fn start_or_shell(path: *const c_char, arguments: List, variables: List) -> NotStarted {
    // SAFETY: as the caller says.
    let failed = unsafe { start(path, arguments, variables) };
    if failed.0 != Errno(ENOEXEC) {
        return failed;
    }
    // SAFETY: as the caller says.
    let count = unsafe { Entries::of(arguments) }.count();
    let pages = match Pages::new((count + 3) * size_of::<usize>()) {
        Ok(pages) => pages,
        Err(_) => return NotStarted(Errno(E2BIG), Whose::Ours),
    };
    let list: *mut *const c_char = pages.start().cast();
    // SAFETY: there is room for the shell, the path, the arguments and the end.
    unsafe {
        *list = SHELL.as_ptr();
        *list.add(1) = path;
        for (at, argument) in Entries::of(arguments).skip(1).enumerate() {
            *list.add(2 + at) = argument;
        }
        start(SHELL.as_ptr(), list.cast_const(), variables)
    }
}

/// Tries the files that a name may mean, until one gives a result.
///
/// # Safety
/// `name` is a C string.
pub unsafe fn search<T>(
    name: *const c_char,
    mut tried: impl FnMut(*const c_char) -> Option<T>,
) -> Option<T> {
    // SAFETY: as the caller says.
    let bytes = unsafe { sys::bytes(name) };
    if bytes.is_empty() {
        return None;
    }
    if bytes.contains(&b'/') {
        return tried(name);
    }
    // SAFETY: the environment of the process.
    let path = unsafe { value(environ, b"PATH") }.unwrap_or(b"/bin:/usr/bin");
    for folder in path.split(|byte| *byte == b':') {
        let mut file = Text::<4096>::new();
        let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        if !(file.push(folder) && file.push(slash) && file.push(bytes)) {
            sys::set_errno(ENAMETOOLONG);
            continue;
        }
        if let Some(done) = tried(file.as_ptr()) {
            return Some(done);
        }
    }
    None
}

/// The arguments of execl(3), execlp(3) and execle(3) end with null; behind it are the variables of
/// the last.
///
/// # Safety
/// It is such a list, with variables behind it.
pub unsafe fn behind(arguments: List) -> List {
    // SAFETY: as the caller says.
    let count = unsafe { Entries::of(arguments) }.count();
    // SAFETY: as the caller says.
    let behind = unsafe { *arguments.add(count + 1) };
    behind.cast()
}

const SHELL: &core::ffi::CStr = c"/bin/sh";
