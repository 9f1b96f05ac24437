//! Deterministic bytes and their checksum, so that a transfer proves every byte and its place.

use std::fmt;

/// An endless stream of pseudo-random bytes that depends on the seed alone.
///
/// Any part can be made without what lies before it, so a receiver can name the first wrong byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern(
    /// The seed.
    pub u64,
);

impl Pattern {
    /// Fills `buffer` with the bytes from `offset` on.
    pub fn fill(self, offset: u64, buffer: &mut [u8]) {
        let mut position = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let word = mix(self.0.wrapping_add(position / 8)).to_le_bytes();
            let from = (position % 8) as usize;
            let count = rest.len().min(8 - from);
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&word[from..from + count]);
            rest = later;
            position += count as u64;
        }
    }

    /// The first `length` bytes.
    pub fn bytes(self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(0, &mut bytes);
        bytes
    }

    /// The checksum of the first `length` bytes.
    pub fn digest(self, length: u64) -> Digest {
        let mut digest = Digest::default();
        let mut buffer = vec![0; 64 * 1024];
        let mut offset = 0;
        while offset < length {
            let count = buffer.len().min((length - offset) as usize);
            self.fill(offset, &mut buffer[..count]);
            digest.update(&buffer[..count]);
            offset += count as u64;
        }
        digest
    }
}

/// A 64-bit checksum over bytes in order, eight at a time so that test builds are not slowed down.
///
/// Each word is folded in by an exclusive-or and a multiplication with an odd number, both of
/// which can be undone, so a single wrong word always changes it. It guards against mistakes,
/// not against forgery. Its text is 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    state: u64,
    pending: u64,
    length: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self {
            state: 0x51_7c_c1_b7_27_22_0a_95,
            pending: 0,
            length: 0,
        }
    }
}

impl Digest {
    /// The checksum of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = Self::default();
        digest.update(bytes);
        digest
    }

    /// Takes in the next bytes; where they are cut makes no difference.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && (!self.length.is_multiple_of(8) || bytes.len() < 8) {
            self.pending |= u64::from(bytes[0]) << (8 * (self.length % 8));
            self.length += 1;
            bytes = &bytes[1..];
            if self.length.is_multiple_of(8) {
                self.state = fold(self.state, self.pending);
                self.pending = 0;
            }
        }
        let words = bytes.chunks_exact(8);
        let rest = words.remainder();
        for word in words {
            let word = u64::from_le_bytes(word.try_into().expect("chunks of eight bytes"));
            self.state = fold(self.state, word);
            self.length += 8;
        }
        if !rest.is_empty() {
            self.update(rest);
        }
    }

    /// How many bytes went in.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:016x}",
            mix(fold(fold(self.state, self.pending), self.length))
        )
    }
}

fn fold(state: u64, word: u64) -> u64 {
    (state.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn mix(seed: u64) -> u64 {
    let mut z = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(0x1234_5678_9abc_def1);
    z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_a_pattern_equals_that_part_of_the_whole() {
        let whole = Pattern(7).bytes(1000);
        for (from, to) in [(0, 1), (3, 29), (8, 16), (17, 1000)] {
            let mut part = vec![0; to - from];
            Pattern(7).fill(from as u64, &mut part);
            assert_eq!(part, whole[from..to]);
        }
        assert_ne!(whole, Pattern(8).bytes(1000));
    }

    #[test]
    fn a_digest_does_not_depend_on_where_the_bytes_are_cut() {
        let bytes = Pattern(1).bytes(100);
        for cut in 0..bytes.len() {
            let mut digest = Digest::of(&bytes[..cut]);
            digest.update(&bytes[cut..]);
            assert_eq!(digest, Pattern(1).digest(100));
        }
    }

    #[test]
    fn a_digest_tells_swapped_flipped_missing_and_added_bytes() {
        let bytes = Pattern(1).bytes(40);
        let right = Digest::of(&bytes).to_string();
        let mut swapped = bytes.clone();
        swapped.rotate_left(8);
        let mut flipped = bytes.clone();
        flipped[39] ^= 1;
        let added = [&bytes[..], &[0]].concat();
        for wrong in [&swapped[..], &flipped, &bytes[..39], &added] {
            assert_ne!(Digest::of(wrong).to_string(), right);
        }
    }
}
