//! Whether a program would be steered, as far as its file tells.

use core::ffi::{c_char, c_int};

use crate::settings::Settings;
use crate::sys::{self, EACCES, Errno, Fd, call, number};
use crate::text::Text;

/// Lets a program be started, or says why not.
///
/// # Errors
/// It would not be steered: EACCES, and a line on the standard error.
///
/// # Safety
/// `path` is a C string.
pub unsafe fn admit(settings: &Settings, folder: c_int, path: *const c_char) -> Result<(), Errno> {
    if settings.open || settings.unsteered {
        return Ok(());
    }
    // SAFETY: as the caller says.
    let why = match unsafe { open(folder, path) } {
        Ok(file) => slips(file),
        // SAFETY: as the caller says.
        Err(Errno(EACCES)) if unsafe { can_be_executed(folder, path) } => Some(UNREADABLE),
        // The kernel says what is wrong with it, or with the folders on the way.
        Err(_) => return Ok(()),
    };
    // SAFETY: as the caller says.
    unsafe { judge(settings, why, sys::bytes(path)) }
}

/// The same for a program that is open.
///
/// # Errors
/// As [`admit`].
pub fn admit_open(settings: &Settings, fd: c_int) -> Result<(), Errno> {
    if settings.open || settings.unsteered {
        return Ok(());
    }
    let path = Text::<32>::from(b"/proc/self/fd/")
        .and_then(|mut path| path.push_number(fd as u32, 10).then_some(path));
    let path = path.ok_or(Errno(EACCES))?;
    // SAFETY: the text ends with a zero.
    unsafe { admit(settings, AT_FDCWD, path.as_ptr()) }
}

/// Whether whoever asks may execute a file, if not read it.
///
/// # Safety
/// `path` is a C string.
pub unsafe fn can_be_executed(folder: c_int, path: *const c_char) -> bool {
    let args = [folder as usize, path as usize, X_OK, 0, 0, 0];
    // SAFETY: as the caller says.
    unsafe { call(number::FACCESSAT, args) }.is_ok()
}

fn judge(settings: &Settings, why: Option<&[u8]>, path: &[u8]) -> Result<(), Errno> {
    // SAFETY: the text ends with a zero.
    let library = unsafe { open(AT_FDCWD, settings.library.as_ptr()) };
    let why = why.or(library.is_err().then_some(OUT_OF_REACH));
    let Some(why) = why else { return Ok(()) };
    sys::complain(&[
        b"steer: ",
        path,
        b": not started, since it would not be steered: ",
        why,
        b" (--allow-unsteered starts it)\n",
    ]);
    Err(Errno(EACCES))
}

/// Why a program would not be steered.
fn slips(mut file: Fd) -> Option<&'static [u8]> {
    for _ in 0..=DEEPEST {
        let mut head = [0; HEAD];
        let length = read(&file, 0, &mut head);
        let head = head.get(..length)?;
        let Some(line) = head.strip_prefix(b"#!") else {
            return binary(&file, head);
        };
        let interpreter = Text::<HEAD>::from(first_word(line))?;
        // SAFETY: the text ends with a zero.
        match unsafe { open(AT_FDCWD, interpreter.as_ptr()) } {
            Ok(next) => file = next,
            Err(Errno(EACCES)) => return Some(UNREADABLE),
            Err(_) => return None,
        }
    }
    // Too deep: the kernel refuses it.
    None
}

fn first_word(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = line.iter().position(|b| !blank(b)).unwrap_or(line.len());
    let word = line.get(start..).unwrap_or_default();
    let end = word.iter().position(|b| blank(b) || matches!(b, b'\n' | 0));
    word.get(..end.unwrap_or(word.len())).unwrap_or_default()
}

fn binary(file: &Fd, head: &[u8]) -> Option<&'static [u8]> {
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    if head.get(4) != Some(&CLASS) || half(head, 18) != Some(MACHINE) {
        return Some(b"it is of another architecture than steer");
    }
    let start = u64::from_ne_bytes(head.get(32..40)?.try_into().ok()?);
    let (size, count) = (half(head, 54)?, half(head, 56)?);
    if usize::from(size) != SEGMENT {
        return Some(UNREADABLE);
    }
    let mut dynamic = false;
    for index in 0..u64::from(count.min(MOST_SEGMENTS)) {
        let mut segment = [0; SEGMENT];
        let place = start.wrapping_add(index * SEGMENT as u64);
        if read(file, place, &mut segment) < SEGMENT {
            break;
        }
        match segment {
            [3, 0, 0, 0, ..] => dynamic = true,
            [4, 0, 0, 0, ..] if has_go_note(file, &segment) => {
                return Some(b"a Go program makes system calls of its own");
            }
            _ => {}
        }
    }
    if !dynamic {
        return Some(b"it is static, so that no library is loaded into it");
    }
    gains(file).then_some(b"it gains privileges, so that its loader heeds no LD_PRELOAD")
}

fn has_go_note(file: &Fd, segment: &[u8; SEGMENT]) -> bool {
    let wide = |at: usize| {
        let bytes = segment.get(at..at + 8)?;
        bytes.try_into().ok().map(u64::from_ne_bytes)
    };
    let (Some(place), Some(size)) = (wide(8), wide(32)) else {
        return false;
    };
    let mut notes = [0; 2048];
    let length = read(file, place, &mut notes);
    let length = length.min(usize::try_from(size).unwrap_or(length));
    let notes = notes.get(..length).unwrap_or_default();
    // A name of four bytes, a type of 4, the name. Notes are on bounds of four bytes.
    let go = |note: &[u8]| {
        note.starts_with(&[4, 0, 0, 0]) && note.get(8..16) == Some(b"\x04\0\0\0Go\0\0")
    };
    (0..length)
        .step_by(4)
        .filter_map(|at| notes.get(at..))
        .any(go)
}

/// Whether executing it makes its process one that must not heed variables of others.
fn gains(file: &Fd) -> bool {
    // SAFETY: these calls change nothing.
    let fixed = unsafe { call(number::PRCTL, [PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0, 0]) };
    if fixed == Ok(1) {
        return false;
    }
    let me = |what| {
        // SAFETY: these calls change nothing and never fail.
        unsafe { call(what, [0; 6]) }.unwrap_or(0) as u32
    };
    let (user, group) = (me(number::GETUID), me(number::GETGID));
    let mut stat = [0_u32; 64];
    let empty = c"".as_ptr() as usize;
    let place = stat.as_mut_ptr() as usize;
    let args = [file.0 as usize, empty, place, AT_EMPTY_PATH, 0, 0];
    // SAFETY: the place is larger than the structure.
    if unsafe { call(number::NEWFSTATAT, args) }.is_err() {
        return true;
    }
    let [mode, owner, owners] = STAT.map(|at| stat.get(at).copied().unwrap_or(0));
    let mut value = [0_u8; 64];
    let name = c"security.capability".as_ptr() as usize;
    let place = value.as_mut_ptr() as usize;
    let args = [file.0 as usize, name, place, value.len(), 0, 0];
    // SAFETY: the value fits, or there is an error.
    let capabilities = unsafe { call(number::FGETXATTR, args) }.is_ok_and(|size| size > 0);
    mode & SETUID != 0 && owner != user
        || mode & SETGID == SETGID && owners != group
        || capabilities && user != 0
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

/// # Safety
/// `path` is a C string.
unsafe fn open(folder: c_int, path: *const c_char) -> Result<Fd, Errno> {
    let args = [folder as usize, path as usize, O_CLOEXEC, 0, 0, 0];
    // SAFETY: as the caller says.
    unsafe { call(number::OPENAT, args) }.map(|fd| Fd(fd as c_int))
}

fn read(file: &Fd, from: u64, place: &mut [u8]) -> usize {
    let start = place.as_mut_ptr() as usize;
    let args = [file.0 as usize, start, place.len(), from as usize, 0, 0];
    // SAFETY: the place is as long as that.
    unsafe { call(number::PREAD, args) }
        .unwrap_or(0)
        .min(place.len())
}

/// The working directory, where a path is to begin.
pub const AT_FDCWD: c_int = -100;
const X_OK: usize = 1;
const AT_EMPTY_PATH: usize = 0x1000;
const O_CLOEXEC: usize = 0o2_000_000;
const PR_GET_NO_NEW_PRIVS: usize = 39;
const SETUID: u32 = 0o4000;
/// Without the right to execute for the group the bit means locking.
const SETGID: u32 = 0o2010;

/// Mode, owner and group in `struct stat`, in words of 32 bits.
#[cfg(target_arch = "x86_64")]
const STAT: [usize; 3] = [6, 7, 8];
#[cfg(target_arch = "aarch64")]
const STAT: [usize; 3] = [4, 6, 7];

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
/// 64 bits.
const CLASS: u8 = 2;
/// The size of a segment's header.
const SEGMENT: usize = 56;
const MOST_SEGMENTS: u16 = 64;
/// What the kernel looks at, too.
const HEAD: usize = 256;
const DEEPEST: usize = 5;

const UNREADABLE: &[u8] = b"it cannot be read";
const OUT_OF_REACH: &[u8] = b"the library of steer cannot be read from here";
