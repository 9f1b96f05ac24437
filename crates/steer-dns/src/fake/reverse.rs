//! Names of addresses (RFC 1035, section 3.5; RFC 3596, section 2.5).

use std::net::IpAddr;

use crate::codec::Name;

/// The address that a name of `in-addr.arpa` or `ip6.arpa` asks about.
pub(super) fn address(name: &Name) -> Option<IpAddr> {
    let labels: Option<Vec<_>> = name
        .labels()
        .map(|label| std::str::from_utf8(label).ok())
        .collect();
    let labels = labels?;
    let apex = labels.len().checked_sub(2)?;
    let is = |place: usize, text: &str| labels[place].eq_ignore_ascii_case(text);
    if !is(apex + 1, "arpa") {
        return None;
    }
    let digits = labels[..apex].iter().rev();
    if is(apex, "in-addr") && apex == 4 {
        let text: Vec<_> = digits.copied().collect();
        return text.join(".").parse().ok().map(IpAddr::V4);
    }
    if is(apex, "ip6") && apex == 32 {
        let mut bits = 0_u128;
        for digit in digits {
            let nibble = u128::from_str_radix(digit, 16)
                .ok()
                .filter(|_| digit.len() == 1)?;
            bits = bits << 4 | nibble;
        }
        return Some(IpAddr::V6(bits.into()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Option<IpAddr> {
        address(&name.parse().unwrap())
    }

    #[test]
    fn only_a_whole_address_is_read() {
        assert_eq!(of("4.3.2.1.in-addr.ARPA"), "1.2.3.4".parse().ok());
        let nibbles = "1.0.0.0".to_owned() + &".0".repeat(20) + ".8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(of(&nibbles), "2001:db8::1".parse().ok());
        for other in [
            "3.2.1.in-addr.arpa",
            "5.4.3.2.1.in-addr.arpa",
            "256.3.2.1.in-addr.arpa",
            "04.3.2.1.in-addr.arpa",
            "x.3.2.1.in-addr.arpa",
            "4.3.2.1.in-addr.example",
            "1.ip6.arpa",
            "arpa",
            ".",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(of(&nibbles.replacen('1', "+1", 1)), None);
    }
}
