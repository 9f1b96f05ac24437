//! A short text in a place of fixed size.

use core::ffi::c_char;

/// At most `N` bytes, and a zero behind them.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }

    /// These bytes; `None` where they are too many.
    pub fn from(text: &[u8]) -> Option<Self> {
        let mut new = Self::new();
        new.push(text).then_some(new)
    }

    /// Appends; `false` where there is no room for the bytes and a zero.
    pub fn push(&mut self, text: &[u8]) -> bool {
        let end = self.length + text.len();
        match self.bytes.get_mut(self.length..end) {
            Some(place) if end < N => {
                place.copy_from_slice(text);
                self.length = end;
                true
            }
            _ => false,
        }
    }

    /// Appends a number.
    pub fn push_number(&mut self, number: u32, base: u32) -> bool {
        let mut digits = [0; 10];
        let mut rest = number;
        let mut at = digits.len();
        loop {
            at -= 1;
            let digit = (rest % base) as u8;
            if let Some(place) = digits.get_mut(at) {
                *place = if digit < 10 {
                    b'0' + digit
                } else {
                    b'a' + digit - 10
                };
            }
            rest /= base;
            if rest == 0 || at == 0 {
                break;
            }
        }
        self.push(digits.get(at..).unwrap_or_default())
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// With a zero at the end, for C.
    pub const fn as_ptr(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }
}
