//! Names of users and groups.

use std::collections::BTreeMap;
use std::fs;

/// The names of `/etc/passwd` or `/etc/group` with their ids; passwd(5), group(5).
///
/// Names from elsewhere (LDAP) have to be written as numbers in a scope. Lines that are not
/// entries are passed over, as the C library does.
pub(super) fn names(path: &str) -> BTreeMap<String, u32> {
    fs::read(path)
        .map(|text| parse(&String::from_utf8_lossy(&text)))
        .unwrap_or_default()
}

fn parse(text: &str) -> BTreeMap<String, u32> {
    let mut names = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1))
            && !name.is_empty()
            && let Ok(id) = id.parse()
        {
            // The first entry of a name counts.
            names.entry(name.to_owned()).or_insert(id);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_other_lines_passed_over() {
        let text = "root:x:0:0:root:/root:/bin/sh\n# a remark\n+::::::\nweb:x:33:33::/:\nroot:x:7:\n\nbad:x:-1:\n";
        assert_eq!(
            parse(text),
            BTreeMap::from([("root".to_owned(), 0), ("web".to_owned(), 33)])
        );
    }
}
