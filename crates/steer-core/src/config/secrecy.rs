//! Which bytes of a configuration no message may show.

use super::document::{Node, Span, Value};
use super::nearest::nearest;

/// Where a tree holds secrets, misspelt and misplaced ones included.
pub(super) fn held(text: &str, root: &Node) -> Vec<Span> {
    let mut found = Vec::new();
    search(text, root, Context::Open, &mut found);
    found
}

/// The word that a key begins with: where its colon was forgotten, as in `{ password x }`, YAML
/// takes the value for a part of the key.
pub(super) fn word(key: &str) -> &str {
    let end = key.find(|c: char| !(c.is_alphanumeric() || "_-.<".contains(c)));
    &key[..end.filter(|end| *end > 0).unwrap_or(key.len())]
}

/// What a value stands under.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Open,
    /// A key that names a secret.
    Secret,
}

fn search(text: &str, node: &Node, context: Context, found: &mut Vec<Span>) {
    match &node.value {
        Value::Null => {}
        Value::Text(_) if context == Context::Secret || anchored(text, node.span.start) => {
            found.push(node.span.clone());
        }
        Value::Text(_) => {
            let written = text.get(node.span.clone()).unwrap_or_default();
            found.extend(userinfo(written).map(|s| shifted(&s, node.span.start)));
        }
        Value::List(items) => items.iter().for_each(|i| search(text, i, context, found)),
        Value::Map(entries) => {
            for (name, value) in entries {
                let key = word(&name.text);
                // A key that goes on behind its word holds values, and perhaps other keys.
                let runs_on = key.len() < name.text.len();
                let named = secret_word(if runs_on { &name.text } else { key }).is_some()
                    && name.text != "authority";
                if runs_on && named {
                    found.push(name.span.clone());
                }
                let below =
                    if named || VALUES.contains(&key) || nearest(key, ["password"]).is_some() {
                        Context::Secret
                    } else if PUBLIC.contains(&key) {
                        Context::Open
                    } else {
                        context
                    };
                search(text, value, below, found);
            }
        }
    }
}

/// Where text that could not be read as a tree may hold secrets, by its look.
///
/// Errs on the side of hiding: the rest of a line that mentions a password, the user part of a
/// URL, and a line that continues a password begun before it.
pub(super) fn suspected(text: &str, at: usize) -> Vec<Span> {
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind('\n').map_or(0, |n| n + 1);
    let end = text[at..].find('\n').map_or(text.len(), |n| at + n);
    let line = &text[start..end];
    let mut found = Vec::new();
    if let Some(word) = secret_word(line) {
        found.push(start + word..end);
    }
    found.extend(userinfo(line).map(|s| shifted(&s, start)));
    if continues_secret(&text[..start], indent(line)) {
        found.push(start..end);
    }
    found
}

/// Whether an anchor that names a secret stands before a value: `&password: x` is one, called
/// `password:`.
fn anchored(text: &str, start: usize) -> bool {
    // A bounded look back: a list without spaces would be read once for each of its items.
    let from = text.floor_char_boundary(start.saturating_sub(ANCHOR_MAX));
    let before = text.get(from..start).unwrap_or_default();
    let name = before.split_whitespace().next_back();
    name.is_some_and(|name| name.starts_with(['&', '!']) && secret_word(name).is_some())
}

/// The part of a URL between `://` and `@`.
fn userinfo(text: &str) -> Option<Span> {
    let behind = text.rfind('@')?;
    let before = text.find("://").map_or(0, |at| at + 3);
    (before < behind).then_some(before..behind)
}

fn shifted(span: &Span, by: usize) -> Span {
    span.start + by..span.end + by
}

/// Whether the lines before one with this indentation leave a password open.
fn continues_secret(before: &str, mut depth: usize) -> bool {
    for line in before.lines().rev().filter(|l| !l.trim().is_empty()) {
        let level = indent(line);
        if let Some(word) = secret_word(line) {
            let value = line[word..].split_once(':').map_or("", |(_, v)| v.trim());
            let quotes = line.matches(['"', '\'']).count();
            let unfinished = value.is_empty() || value.starts_with(['|', '>']) || quotes % 2 == 1;
            if level < depth || unfinished {
                return true;
            }
        }
        depth = depth.min(level);
    }
    false
}

/// Behind the first word of a line that names a secret.
fn secret_word(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let word = SECRET_WORDS
        .iter()
        .filter_map(|word| lower.find(word).map(|at| at + word.len()))
        .min()?;
    let rest = lower[word..].bytes().take_while(u8::is_ascii_alphabetic);
    Some(word + rest.count())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// What keys of secrets are called, misspelt ones included.
const SECRET_WORDS: [&str; 13] = [
    "passw",
    "pasw",
    "passp",
    "pwd",
    "secret",
    "token",
    "credential",
    "auth",
    "cookie",
    "api-key",
    "apikey",
    "bearer",
    "literal",
];
/// Bytes in which an anchor that could name a secret is looked for.
const ANCHOR_MAX: usize = 80;
/// Keys whose values are no secrets themselves, also where a secret is described.
const PUBLIC: [&str; 5] = ["env", "file", "command", "lifetime", "username"];
/// Keys under which values of header fields stand, which may be secrets under any name.
const VALUES: [&str; 3] = ["set", "add", "header"];

#[cfg(test)]
mod tests {
    use super::super::snippet::Snippet;
    use super::*;

    #[test]
    fn a_password_behind_a_key_without_its_colon_is_none_of_that_key() {
        for text in [
            "u: { username:A password: hunter2 }",
            "u: { username A, file:B password hunter2: 1 }",
            "u: { password hunter2 }",
            "u: { username: &password: hunter2 }",
        ] {
            let root = super::super::document::read(text).unwrap();
            let secrets = held(text, &root);
            let at = text.find("username").unwrap_or(5);
            let snippet = Snippet::new(text, &(at..at + 8), &secrets).to_string();
            assert!(!snippet.contains("hunter2"), "{snippet}");
        }
    }

    #[test]
    fn an_unreadable_line_shows_no_password_of_any_form() {
        for (text, secret) in [
            ("password: hunter2 }\n", "hunter2"),
            ("u: { url: \"socks5://me:hunter2@h:1\" ]\n", "hunter2"),
            ("password: |\n  x\n  hunter2: [\n", "hunter2"),
            ("password: \"x\n  hunter2\n", "hunter2"),
            ("password:\n  hunter2 ]\n", "hunter2"),
            ("Passwd: hunter2: x\n", "hunter2"),
        ] {
            let at = text.find(secret).unwrap();
            let snippet = Snippet::new(text, &(at..at), &suspected(text, at)).to_string();
            assert!(!snippet.contains(secret), "{snippet}");
        }
    }
}
