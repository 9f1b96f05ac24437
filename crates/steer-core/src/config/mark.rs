//! `mark`: firewall marks instead of the usual ones.

use serde::{Deserialize, Serialize};

use super::document::Node;
use super::fault::Fault;
use super::report::Report;
use super::section::{Keys, Section};
use super::value;
use crate::mark::Mark;

/// The marks that were written; `None` is the usual one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// Of packets on their way to the engine.
    pub steer: Option<Mark>,
    /// Of the engine's own packets.
    pub bypass: Option<Mark>,
}

/// Why a mark cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// No number, or two numbers without a slash.
    #[error("{0:?} is not a mark")]
    Text(String),
    /// The mask chooses no bit.
    #[error("the mask of the mark {0:?} is empty")]
    EmptyMask(String),
    /// The value has bits that the mask leaves out, so that it never matches.
    #[error("the mark {value:#x} has bits outside its mask {mask:#x}")]
    Outside {
        /// The value.
        value: u32,
        /// The mask.
        mask: u32,
    },
    /// The value is zero, which is what packets without a mark have.
    #[error("the mark {0:?} is zero, as that of a packet that nobody marked")]
    Zero(String),
    /// One mark can be taken for the other.
    #[error("the mark {bypass} of the engine's own packets and {steer} of steered ones clash")]
    Clash {
        /// The engine's.
        bypass: Mark,
        /// That of steered packets.
        steer: Mark,
    },
}

impl MarkError {
    /// What would be right.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Text(_) => "write VALUE/MASK, each a number like 0x80000000 or 1337; a value \
                              alone means its own bits"
                .to_owned(),
            Self::EmptyMask(_) => "let the mask choose the bits that steer may use".to_owned(),
            Self::Outside { value, mask } => format!("write {value:#x}/{:#x}", value | mask),
            Self::Zero(_) => "set at least one bit".to_owned(),
            Self::Clash { .. } => "give them bits of their own, or the same mask and different \
                                   values; what is not written is the usual mark"
                .to_owned(),
        }
    }
}

/// Reads `mark`.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<Marks> {
    let section = Section::open(node, "mark", Keys::new(&KEYS), report)?;
    if section.is_empty() {
        return report.none(section.span, Fault::Empty("mark".to_owned()));
    }
    let mut one = |key: &'static str| {
        let node = section.at(key)?;
        let text = value::text(node, &section.path_of(key), "VALUE/MASK", report)?;
        match parse(text) {
            Ok(mark) => Some((mark, node)),
            Err(error) => report.none(&node.span, error),
        }
    };
    let (steer, bypass) = (one("steer"), one("bypass"));
    let mark = |written: Option<(Mark, &Node)>| written.map(|(mark, _)| mark);
    let marks = Marks {
        steer: mark(steer),
        bypass: mark(bypass),
    };
    // A mark that could not be read clashes with nothing that is known.
    let all_read = [("steer", steer), ("bypass", bypass)]
        .iter()
        .all(|(key, read)| section.at(key).is_some() == read.is_some());
    if let (Some((_, at)), Some(error), true) = (bypass.or(steer), marks.clash(), all_read) {
        report.fault(&at.span, error);
    }
    Some(marks)
}

impl Marks {
    /// Whether one can be taken for the other, the usual ones included: which slot a steering
    /// gets is not known beforehand.
    fn clash(self) -> Option<MarkError> {
        let bypass = self.bypass.unwrap_or(Mark::BYPASS);
        let steer = match self.steer {
            Some(steer) => vec![steer],
            None => (0..Mark::SLOTS).map(Mark::slot).collect(),
        };
        let clashing = steer.into_iter().find(|steer| bypass.clashes(*steer))?;
        Some(MarkError::Clash {
            bypass,
            steer: clashing,
        })
    }
}

fn parse(text: &str) -> Result<Mark, MarkError> {
    let no_mark = || MarkError::Text(text.to_owned());
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (number(value), Some(number(mask).ok_or_else(no_mark)?)),
        None => (number(text), None),
    };
    let value = value.ok_or_else(no_mark)?;
    let mask = mask.unwrap_or(value);
    if mask == 0 && text.contains('/') {
        return Err(MarkError::EmptyMask(text.to_owned()));
    }
    if value == 0 {
        return Err(MarkError::Zero(text.to_owned()));
    }
    if value & !mask != 0 {
        return Err(MarkError::Outside { value, mask });
    }
    Ok(Mark { value, mask })
}

/// A number, decimal or hexadecimal with `0x`, without a sign.
fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let plain = !digits.starts_with('+');
    u32::from_str_radix(digits, radix).ok().filter(|_| plain)
}

/// The keys of `mark`.
const KEYS: [&str; 2] = ["steer", "bypass"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_value_with_a_mask_or_with_its_own_bits() {
        for (text, value, mask) in [
            ("0x80000000/0xf0000000", 0x8000_0000, 0xf000_0000),
            ("1337", 1337, 1337),
            ("0X539/65535", 0x539, 0xffff),
            ("0xffffffff", u32::MAX, u32::MAX),
        ] {
            assert_eq!(parse(text), Ok(Mark { value, mask }), "{text}");
        }
        for text in [
            "",
            "/",
            "1/",
            "/1",
            "x",
            "0x",
            "+1",
            "0x+1",
            "-1",
            "1/2/3",
            "1 ",
            "0x1_0",
            "4294967296",
        ] {
            assert_eq!(parse(text), Err(MarkError::Text(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_mark_of_ones_own_is_compared_with_every_slot_of_the_usual_one() {
        let one = |bit| Mark {
            value: bit,
            mask: bit,
        };
        let bypass = |mark| Marks {
            steer: None,
            bypass: Some(mark),
        };
        // Bits 29 and 30 are set in some slots only.
        for bit in [1 << 29, 1 << 30, 1 << 31] {
            assert!(bypass(one(bit)).clash().is_some(), "{bit:#x}");
        }
        assert_eq!(bypass(one(1)).clash(), None);
        assert_eq!(bypass(Mark::BYPASS).clash(), None);
        assert_eq!(Marks::default().clash(), None);
    }
}
