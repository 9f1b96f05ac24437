//! A readable difference of two lists of lines.

use super::Section;

/// The lines that went and came, with `-` and `+`, or `None` when nothing did.
pub(super) fn section(section: Section, before: &[String], after: &[String]) -> Option<String> {
    let changes: String = changes(before, after)
        .into_iter()
        .filter(|line| counts(section, line))
        .collect();
    (!changes.is_empty()).then(|| format!("== {section:?}\n{changes}"))
}

/// Sysctls of netfilter appear when its modules are loaded, which others may cause; flows end.
fn counts(section: Section, line: &str) -> bool {
    match section {
        Section::Sysctls => !["+net/netfilter/", "+net/bridge/", "+net/nf_conntrack"]
            .iter()
            .any(|start| line.starts_with(start)),
        Section::Conntrack => line.starts_with('+'),
        _ => true,
    }
}

fn changes(before: &[String], after: &[String]) -> Vec<String> {
    let same_start = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (before, after) = (&before[same_start..], &after[same_start..]);
    let same_end = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (before, after) = (
        &before[..before.len() - same_end],
        &after[..after.len() - same_end],
    );
    let common = common_lengths(before, after);
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < before.len() || j < after.len() {
        let width = after.len() + 1;
        if i < before.len() && j < after.len() && before[i] == after[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == after.len()
            || (i < before.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            lines.push(format!("-{}\n", before[i]));
            i += 1;
        } else {
            lines.push(format!("+{}\n", after[j]));
            j += 1;
        }
    }
    lines
}

/// For each pair of positions, how many lines the two rests have in common, in order.
fn common_lengths(before: &[String], after: &[String]) -> Vec<u32> {
    let width = after.len() + 1;
    let mut table = vec![0; (before.len() + 1) * width];
    for i in (0..before.len()).rev() {
        for j in (0..after.len()).rev() {
            table[i * width + j] = if before[i] == after[j] {
                table[(i + 1) * width + j + 1] + 1
            } else {
                table[(i + 1) * width + j].max(table[i * width + j + 1])
            };
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn only_lines_that_went_or_came_are_named() {
        let text = changes(&lines("a b c d e f"), &lines("a x c e f y"));
        assert_eq!(text.concat(), "-b\n+x\n-d\n+y\n");
        assert!(changes(&lines("a b"), &lines("a b")).is_empty());
    }

    #[test]
    fn a_changed_order_is_a_change() {
        assert!(section(Section::Nft, &lines("a b"), &lines("b a")).is_some());
    }

    #[test]
    fn flows_may_end_but_not_stay() {
        let (none, one) = (vec![], lines("flow"));
        assert_eq!(section(Section::Conntrack, &one, &none), None);
        assert!(section(Section::Conntrack, &none, &one).is_some());
    }

    #[test]
    fn netfilter_sysctls_may_appear_but_not_change() {
        let (none, one, other) = (
            vec![],
            lines("net/netfilter/x=1"),
            lines("net/netfilter/x=2"),
        );
        assert_eq!(section(Section::Sysctls, &none, &one), None);
        assert!(section(Section::Sysctls, &one, &other).is_some());
    }
}
