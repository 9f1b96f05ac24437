//! The line of a mistake with a caret under it, secrets left out.

use std::fmt;

use super::document::Span;

/// A position as editors count it: both from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// What is shown of the source of a mistake: the line, masked, and what to underline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snippet {
    pub(super) at: Position,
    shown: String,
    caret: usize,
    width: usize,
}

impl Position {
    /// Where a byte of the text stands.
    pub(super) fn of(text: &str, byte: usize) -> Self {
        let head = &text[..text.floor_char_boundary(byte)];
        let line_start = head.rfind('\n').map_or(0, |n| n + 1);
        Self {
            line: head.matches('\n').count() + 1,
            column: head[line_start..].chars().count() + 1,
        }
    }
}

impl Snippet {
    /// The line in which `span` begins; bytes within `secrets` are shown as `…`.
    pub(super) fn new(text: &str, span: &Span, secrets: &[Span]) -> Self {
        let start = text.floor_char_boundary(span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |n| n + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |n| start + n);
        let mut shown = Shown::default();
        let mut masked = false;
        for (offset, c) in text[line_start..line_end].char_indices() {
            let byte = line_start + offset;
            shown.mark(byte, span);
            if secrets.iter().any(|s| s.contains(&byte)) {
                if !masked {
                    shown.push('…');
                }
                masked = true;
                continue;
            }
            masked = false;
            match c {
                '\r' | '\u{feff}' => {}
                '\t' => shown.push(' '),
                c if c.is_control() => shown.push('\u{fffd}'),
                c => shown.push(c),
            }
        }
        shown.mark(line_end, span);
        shown.cropped(Position::of(text, start))
    }
}

/// A line as it will be printed, with the caret's columns in it.
#[derive(Default)]
struct Shown {
    chars: Vec<char>,
    caret: Option<usize>,
    end: Option<usize>,
}

impl Shown {
    fn push(&mut self, c: char) {
        self.chars.push(c);
    }

    /// Remembers the column when the byte before which we stand begins or ends the span.
    fn mark(&mut self, byte: usize, span: &Span) {
        if byte >= span.start && self.caret.is_none() {
            self.caret = Some(self.chars.len());
        }
        if byte >= span.end && self.end.is_none() {
            self.end = Some(self.chars.len());
        }
    }

    /// The part of a long line around the caret.
    fn cropped(self, at: Position) -> Snippet {
        let Self { chars, caret, end } = self;
        let text_end = chars.len() - chars.iter().rev().take_while(|c| c.is_whitespace()).count();
        let caret = caret.unwrap_or(chars.len());
        let end = end.unwrap_or(text_end).min(text_end);
        let first = if chars.len() > WIDTH {
            caret.saturating_sub(WIDTH / 2)
        } else {
            0
        };
        let last = (first + WIDTH).min(chars.len());
        Snippet {
            at,
            shown: chars[first..last]
                .iter()
                .collect::<String>()
                .trim_end()
                .to_owned(),
            caret: caret - first,
            width: end.min(last).saturating_sub(caret).max(1),
        }
    }
}

impl fmt::Display for Snippet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            shown,
            caret,
            width,
        } = self;
        let number = at.line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {shown}")?;
        write!(f, "{margin} | {:caret$}{}", "", "^".repeat(*width))
    }
}

/// Where text that could not be read as YAML may hold secrets: without a tree, by its look.
///
/// Errs on the side of hiding: the rest of a line that mentions a password, the user part of a
/// URL, and a line that continues a password begun before it.
pub(super) fn suspects(text: &str, at: usize) -> Vec<Span> {
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind('\n').map_or(0, |n| n + 1);
    let end = text[at..].find('\n').map_or(text.len(), |n| at + n);
    let line = &text[start..end];
    let mut found = Vec::new();
    if let Some(word) = secret_word(line) {
        found.push(start + word..end);
    }
    if let (Some(scheme), Some(behind)) = (line.find("://"), line.rfind('@'))
        && scheme < behind
    {
        found.push(start + scheme + 3..start + behind);
    }
    if continues_secret(&text[..start], indent(line)) {
        found.push(start..end);
    }
    found
}

/// Whether the lines before one with this indentation leave a password open.
fn continues_secret(before: &str, mut depth: usize) -> bool {
    for line in before.lines().rev().filter(|l| !l.trim().is_empty()) {
        let level = indent(line);
        if let Some(word) = secret_word(line) {
            let value = line[word..]
                .trim_start_matches([':', '"', '\'', ' ', '\t'])
                .trim_end();
            let quotes = line.matches(['"', '\'']).count();
            if level < depth || value.is_empty() || value.starts_with(['|', '>']) || quotes % 2 == 1
            {
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
    SECRET_WORDS
        .iter()
        .filter_map(|word| lower.find(word).map(|at| at + word.len()))
        .min()
}

/// Whether a key by this name would hold a secret.
pub(super) fn names_secret(key: &str) -> bool {
    secret_word(key).is_some()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// What keys of secrets are called, misspelt ones included.
const SECRET_WORDS: [&str; 8] = [
    "passw",
    "pasw",
    "passp",
    "pwd",
    "secret",
    "token",
    "credential",
    "auth",
];
/// Columns of a line that are shown.
const WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_what_is_meant_also_behind_a_masked_secret() {
        let text = "a: 1\nb: { p: hunter22, port: 70000 }\n";
        let secret = text.find("hunter22").unwrap();
        let port = text.find("70000").unwrap();
        let snippet = Snippet::new(text, &(port..port + 5), &[secret..secret + 8]);
        assert_eq!(
            snippet.to_string(),
            "  |\n2 | b: { p: …, port: 70000 }\n  |                  ^^^^^"
        );
    }

    #[test]
    fn a_long_line_is_cropped_around_the_caret() {
        let text = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let shown = Snippet::new(&text, &(5000..5001), &[]).to_string();
        assert!(shown.lines().all(|l| l.len() < 120), "{shown}");
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[1].find('X'), lines[2].find('^'));
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
            let snippet = Snippet::new(text, &(at..at), &suspects(text, at)).to_string();
            assert!(!snippet.contains(secret), "{snippet}");
        }
    }
}
