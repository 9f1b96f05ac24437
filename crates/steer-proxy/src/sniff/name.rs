//! Names as a client claims them.
use steer_core::address::HostName;

/// The host name in `text`, if it is one that no reader could take for an address.
///
/// `127.1` and `0x7f.1` are names by their characters, and some resolvers read them as 127.0.0.1:
/// what a client claims must not turn into an address behind the rules' back.
pub(super) fn claimed(text: &str) -> Option<HostName> {
    let name = HostName::new(text).ok()?;
    let last = name.as_str().rsplit('.').next().unwrap_or_default();
    (!is_number(last)).then_some(name)
}

fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_name_is_normalised_and_never_an_address() {
        for (text, name) in [
            ("Example.COM", Some("example.com")),
            ("example.com.", Some("example.com")),
            ("localhost", Some("localhost")),
            ("1.2.3.4.example", Some("1.2.3.4.example")),
            ("", None),
            ("a..b", None),
            ("a b.example", None),
            ("1.2.3.4", None),
            ("127.1", None),
            ("0X7f.1", None),
            ("2130706433", None),
            ("a.0x7F", None),
            ("::1", None),
            ("[::1]", None),
        ] {
            assert_eq!(
                claimed(text).as_ref().map(HostName::as_str),
                name,
                "{text:?}"
            );
        }
    }
}
