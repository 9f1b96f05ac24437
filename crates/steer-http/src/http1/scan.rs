//! Finds where a head ends, whichever way its bytes are cut.

use crate::error::Malformed;
use crate::limits::Limits;

/// How far a head has been looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// Where the line begins that has not ended.
    line: usize,
    /// Where to look on.
    at: usize,
    /// Lines that have ended.
    lines: usize,
}

impl Scan {
    /// The length of the head that `bytes` begins with, its empty line included; none while more
    /// is needed. Called again with more bytes, it goes on where it was.
    pub(super) fn end(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, Malformed> {
        let seen = &bytes[..bytes.len().min(largest(limits))];
        while let Some(offset) = memchr::memchr(b'\n', &seen[self.at..]) {
            let lf = self.at + offset;
            if lf == 0 || bytes[lf - 1] != b'\r' || lf - 1 < self.line {
                return Err(Malformed::BareLf);
            }
            self.at = lf + 1;
            if lf - 1 == self.line && self.lines > 0 {
                return Ok(Some(self.at));
            }
            // The start line is no field.
            if self.lines > limits.fields {
                return Err(Malformed::TooMany);
            }
            self.lines += 1;
            self.line = self.at;
        }
        self.at = seen.len();
        if bytes.len() >= largest(limits) {
            return Err(Malformed::TooLarge);
        }
        Ok(None)
    }

    /// How many fields the head has, once its end is found.
    pub(super) fn fields(&self) -> usize {
        self.lines.saturating_sub(1)
    }
}

/// The largest head. Places in it are kept in 32 bits.
pub(super) fn largest(limits: &Limits) -> usize {
    limits.head.min(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_where_its_empty_line_does_however_it_is_cut() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\n";
        for cut in 0..bytes.len() {
            let mut scan = Scan::default();
            let limits = Limits::default();
            let end = match scan.end(&bytes[..cut], &limits).expect("well-formed") {
                Some(end) => end,
                None => scan
                    .end(bytes, &limits)
                    .expect("well-formed")
                    .expect("whole"),
            };
            assert_eq!((end, scan.fields()), (27, 1), "cut at {cut}");
        }
    }

    #[test]
    fn a_bare_lf_is_refused_before_the_head_has_ended() {
        let limits = Limits::default();
        for bytes in [
            &b"GET / HTTP/1.1\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n",
            b"\n",
        ] {
            let end = Scan::default().end(bytes, &limits);
            assert_eq!(end, Err(Malformed::BareLf));
        }
    }

    #[test]
    fn more_bytes_or_fields_than_allowed_are_refused() {
        let limits = Limits {
            head: 20,
            fields: 1,
            ..Limits::default()
        };
        let end = Scan::default().end(b"GET /aaaaaaaaaaaaaaaaaaaa", &limits);
        assert_eq!(end, Err(Malformed::TooLarge));
        let end = Scan::default().end(b"GET /\r\na: b\r\nc: d\r\n", &limits);
        assert_eq!(end, Err(Malformed::TooMany));
    }
}
