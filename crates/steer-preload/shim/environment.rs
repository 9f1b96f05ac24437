//! Environments of programs, as C has them.

use core::ffi::c_char;
use core::ptr;

use crate::settings::{Settings, VARIABLE};
use crate::sys::{self, Errno, Pages};

/// The value of a variable in an environment.
///
/// # Safety
/// `variables` is one, or null, and lives as long as the caller says.
pub unsafe fn value<'a>(variables: *const *const c_char, name: &[u8]) -> Option<&'a [u8]> {
    // SAFETY: as above.
    unsafe { Entries::of(variables) }.find_map(|entry| {
        // SAFETY: every entry is a string.
        unsafe { sys::bytes(entry) }
            .strip_prefix(name)?
            .strip_prefix(b"=")
    })
}

/// The entries of a list that ends with null.
pub struct Entries(*const *const c_char);

impl Entries {
    /// # Safety
    /// It is such a list, or null.
    pub const unsafe fn of(list: *const *const c_char) -> Self {
        Self(list)
    }
}

impl Iterator for Entries {
    type Item = *const c_char;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: the end of the list has not been reached.
        let entry = unsafe { *self.0 };
        if entry.is_null() {
            return None;
        }
        // SAFETY: behind an entry is another one, or the end.
        self.0 = unsafe { self.0.add(1) };
        Some(entry)
    }
}

/// An environment in which the program that it is for is steered.
pub struct Environment {
    list: *const *const c_char,
    _pages: Option<Pages>,
}

impl Environment {
    /// This one where it has the library already, else a copy with the library before all else.
    ///
    /// # Safety
    /// `variables` is an environment, or null for an empty one, and outlives this.
    pub unsafe fn steered(
        variables: *const *const c_char,
        settings: &Settings,
    ) -> Result<Self, Errno> {
        // SAFETY: as above.
        let preloaded = unsafe { value(variables, PRELOAD) }.unwrap_or_default();
        // SAFETY: as above.
        let told = unsafe { value(variables, VARIABLE) }.is_some();
        let ours = |part: &[u8]| part == settings.library.as_bytes();
        let loaded = preloaded.split(|b| matches!(b, b':' | b' ')).any(ours);
        if loaded && told {
            return Ok(Self {
                list: variables,
                _pages: None,
            });
        }
        // SAFETY: as above.
        let count = unsafe { Entries::of(variables) }.count();
        let library = settings.library.as_bytes();
        let texts = PRELOAD.len() + library.len() + preloaded.len() + 3;
        let texts = texts + VARIABLE.len() + settings.variable.as_bytes().len() + 2;
        let pages = Pages::new((count + 3) * size_of::<usize>() + texts)?;
        let list: *mut *const c_char = pages.start().cast();
        // SAFETY: the list has room for two more entries than there are, and the end.
        let mut writer = Writer(unsafe { list.add(count + 3) }.cast());
        let mut used = 0;
        let mut put = |entry: *const c_char| {
            // SAFETY: no more than the old entries and two are put.
            unsafe { *list.add(used) = entry };
            used += 1;
        };
        put(writer.at());
        let more: [&[u8]; 2] = match preloaded {
            _ if loaded => [preloaded, b""],
            b"" => [library, b""],
            _ => [library, b":"],
        };
        writer.write(&[PRELOAD, b"=", more[0], more[1]]);
        writer.end(if loaded { b"" } else { preloaded });
        put(writer.at());
        writer.write(&[VARIABLE, b"="]);
        writer.end(settings.variable.as_bytes());
        // SAFETY: as above.
        for entry in unsafe { Entries::of(variables) } {
            // SAFETY: every entry is a string.
            let text = unsafe { sys::bytes(entry) };
            let named = |name: &[u8]| text.strip_prefix(name).is_some_and(|r| r.starts_with(b"="));
            if !named(PRELOAD) && !named(VARIABLE) {
                put(entry);
            }
        }
        put(ptr::null());
        Ok(Self {
            list,
            _pages: Some(pages),
        })
    }

    pub const fn list(&self) -> *const *const c_char {
        self.list
    }
}

/// Writes texts one behind the other.
struct Writer(*mut u8);

impl Writer {
    const fn at(&self) -> *const c_char {
        self.0.cast_const().cast()
    }

    fn write(&mut self, parts: &[&[u8]]) {
        for part in parts {
            // SAFETY: whoever made the place has counted these bytes.
            unsafe {
                ptr::copy_nonoverlapping(part.as_ptr(), self.0, part.len());
                self.0 = self.0.add(part.len());
            }
        }
    }

    fn end(&mut self, last: &[u8]) {
        self.write(&[last, b"\0"]);
    }
}

/// What the loader loads before all else.
const PRELOAD: &[u8] = b"LD_PRELOAD";
