//! The word that a misspelt one looks like.

/// The nearest of the words that is near enough to be meant.
///
/// Two words are near when at most a third of the longer one (and at least one letter) has to be
/// inserted, removed, replaced or swapped with its neighbour; case and `-` against `_` count
/// nothing.
pub(super) fn nearest<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let given = folded(word);
    if given.is_empty() || given.len() > LENGTH_MAX {
        return None;
    }
    words
        .into_iter()
        .filter(|w| w.len() <= LENGTH_MAX)
        .map(|w| (distance(&given, &folded(w)), w))
        .filter(|(d, w)| *d <= (w.chars().count().max(given.len()) / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, w)| w)
}

fn folded(word: &str) -> Vec<char> {
    word.chars()
        .map(|c| {
            if c == '-' {
                '_'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// The optimal string alignment distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before_at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

fn before_at(row: &[usize], j: usize) -> usize {
    row.get(j).copied().unwrap_or(usize::MAX - 1)
}

/// No key, method or user name is longer; the work is quadratic.
const LENGTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_found_and_another_word_is_not() {
        let keys = ["method", "scope", "on_failure", "upstreams"];
        for (slip, meant) in [
            ("metod", Some("method")),
            ("socpe", Some("scope")),
            ("onFailure", Some("on_failure")),
            ("on-failure", Some("on_failure")),
            ("upstream", Some("upstreams")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(nearest(slip, keys), meant, "{slip}");
        }
    }

    #[test]
    fn the_distance_is_symmetric_and_counts_edits() {
        let d = |a: &str, b: &str| distance(&folded(a), &folded(b));
        for (a, b, n) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((d(a, b), d(b, a)), (n, n), "{a} {b}");
        }
    }
}
