//! The resolvers that programs here are told to ask.

use std::fs;
use std::net::IpAddr;

/// The addresses in `/etc/resolv.conf`, in its order.
pub(super) fn all() -> Vec<IpAddr> {
    named_in(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

/// The `nameserver` lines of resolv.conf(5).
///
/// An address with a zone (`fe80::1%eth0`) is left out: outside its interface it means nothing.
pub(super) fn named_in(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_name_a_server_count() {
        let text = "# nameserver 192.0.2.1\nsearch lan\nnameserver 192.0.2.2 # near\n\
                    nameserver\t2001:db8::3\nnameserver fe80::1%eth0\nnameservers 192.0.2.4\n";
        let expected: [IpAddr; 2] = ["192.0.2.2".parse().unwrap(), "2001:db8::3".parse().unwrap()];
        assert_eq!(named_in(text), expected);
    }
}
