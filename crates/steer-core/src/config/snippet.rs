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

/// Columns of a line that are shown.
const WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_what_is_meant_also_behind_a_masked_secret() {
        let text = "a: 1\nb: { p: hunter22, port: 70000 }\n";
        let secret = text.find("hunter22").unwrap();
        let masked = secret..secret + 8;
        let port = text.find("70000").unwrap();
        let snippet = Snippet::new(text, &(port..port + 5), &[masked]);
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
}
