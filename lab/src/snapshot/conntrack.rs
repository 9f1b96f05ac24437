//! Flows that somebody's rules still act on.

use crate::family::Family;
use crate::host::Host;
use crate::need::find_program;

/// A line for each flow that is rewritten or marked and has not ended, without its life time.
///
/// A TCP flow that has ended stays listed for a while and does nothing.
pub(super) fn lines(host: &Host) -> Vec<String> {
    if find_program("conntrack").is_none() {
        return vec!["(conntrack is not installed)".to_owned()];
    }
    let list = |family: Family| {
        let name = match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        let program = host.program("conntrack").args(["-L", "-f", name]);
        program.run().expect_success()
    };
    let text = Family::BOTH.map(list).concat();
    let mut lines: Vec<_> = text.lines().filter_map(flow).collect();
    lines.sort();
    lines
}

fn flow(line: &str) -> Option<String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let protocol = *words.first()?;
    if protocol == "tcp" && words.get(3) != Some(&"ESTABLISHED") {
        return None;
    }
    let all = |key: &str| -> Vec<&str> {
        let value = |word: &&str| word.strip_prefix(key).is_some_and(|it| it.starts_with('='));
        let found = words.iter().copied().filter(|word| value(word));
        found.map(|word| &word[key.len() + 1..]).collect()
    };
    let [source, destination, from, to] = ["src", "dst", "sport", "dport"].map(all);
    let is_rewritten = source.first() != destination.get(1)
        || destination.first() != source.get(1)
        || from.first() != to.get(1)
        || to.first() != from.get(1);
    let mark = all("mark").first().copied().unwrap_or("0");
    let first = |of: &[&str]| of.first().copied().unwrap_or("-").to_owned();
    (is_rewritten || mark != "0").then(|| {
        let [source, destination, from, to] = [source, destination, from, to].map(|it| first(&it));
        format!("{protocol} {source} {from} -> {destination} {to} mark {mark}")
    })
}

#[cfg(test)]
mod tests {
    use super::flow;

    #[test]
    fn only_flows_that_are_acted_on_are_listed() {
        let plain = "udp 17 29 src=10.0.0.1 dst=10.0.0.2 sport=5 dport=53 \
                     src=10.0.0.2 dst=10.0.0.1 sport=53 dport=5 mark=0 use=1";
        assert_eq!(flow(plain), None);
        let marked = plain.replace("mark=0", "mark=7");
        let said = "udp 10.0.0.1 5 -> 10.0.0.2 53 mark 7";
        assert_eq!(flow(&marked).as_deref(), Some(said));
        let rewritten = plain.replace("sport=53", "sport=15053");
        assert!(flow(&rewritten).is_some());
        let ended = rewritten.replace("udp 17 29", "tcp 6 29 TIME_WAIT");
        assert_eq!(flow(&ended), None);
        assert!(flow(&ended.replace("TIME_WAIT", "ESTABLISHED")).is_some());
        assert_eq!(flow(""), None);
    }
}
