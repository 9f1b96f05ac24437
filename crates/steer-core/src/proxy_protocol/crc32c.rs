//! CRC-32C (Castagnoli), as RFC 4960 (appendix B) defines it and version 2 asks for.

/// The checksum of bytes that come in parts.
pub(super) fn crc32c<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let bytes = parts.into_iter().flatten();
    !bytes.fold(!0, |crc, byte| {
        let index = (crc ^ u32::from(*byte)) & 0xff;
        TABLE[index as usize] ^ (crc >> 8)
    })
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 1 == 1;
            crc >>= 1;
            if carry {
                crc ^= REVERSED_POLYNOMIAL;
            }
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

const REVERSED_POLYNOMIAL: u32 = 0x82f6_3b78;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_answers_of_the_checksum_come_out() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c([&[0; 32][..]]), 0x8a91_36aa);
        assert_eq!(crc32c([&[0xff; 16][..], &[0xff; 16][..]]), 0x62a8_ab43);
        assert_eq!(crc32c([&b"12345"[..], &b"6789"[..]]), 0xe306_9283);
    }
}
