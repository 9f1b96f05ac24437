use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A port, or a range of ports with both ends included; never port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A user or group id, or a range of ids with both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdRange {
    first: u32,
    last: u32,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not a port or port range.
    #[error("{0:?} is not a port or a range of ports: use 1 to 65535, or FIRST-LAST")]
    Port(String),
    /// Not an id or id range.
    #[error("{0:?} is not an id or a range of ids: use 0 to 4294967294, or FIRST-LAST")]
    Id(String),
    /// The range ends before it starts.
    #[error("the range {0:?} ends before it starts: write the smaller number first")]
    Order(String),
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self {
        first: 1,
        last: u16::MAX,
    };

    /// One port.
    ///
    /// # Errors
    /// Port 0 is none.
    pub fn one(port: u16) -> Result<Self, RangeError> {
        Self::new(port, port)
    }

    /// The ports from `first` to `last`.
    ///
    /// # Errors
    /// Port 0, or an end before the start.
    pub fn new(first: u16, last: u16) -> Result<Self, RangeError> {
        if first == 0 {
            return Err(RangeError::Port("0".to_owned()));
        }
        if last < first {
            return Err(RangeError::Order(format!("{first}-{last}")));
        }
        Ok(Self { first, last })
    }

    /// The lowest port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether a port lies in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl IdRange {
    /// The ids from `first` to `last`; `u32::MAX` means "no id" to the kernel and is refused.
    ///
    /// # Errors
    /// The reserved id, or an end before the start.
    pub fn new(first: u32, last: u32) -> Result<Self, RangeError> {
        if last == u32::MAX {
            return Err(RangeError::Id(last.to_string()));
        }
        if last < first {
            return Err(RangeError::Order(format!("{first}-{last}")));
        }
        Ok(Self { first, last })
    }

    /// The lowest id.
    #[must_use]
    pub const fn first(self) -> u32 {
        self.first
    }

    /// The highest id.
    #[must_use]
    pub const fn last(self) -> u32 {
        self.last
    }

    /// Whether an id lies in the range.
    #[must_use]
    pub const fn contains(self, id: u32) -> bool {
        self.first <= id && id <= self.last
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    let digits = text.trim();
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

fn ends<T: FromStr + Copy>(text: &str) -> Option<(T, T)> {
    match text.split_once('-') {
        None => number(text).map(|n| (n, n)),
        Some((first, last)) => Some((number(first)?, number(last)?)),
    }
}

impl FromStr for PortRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = ends(text).ok_or_else(|| RangeError::Port(text.to_owned()))?;
        Self::new(first, last)
    }
}

impl FromStr for IdRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = ends(text).ok_or_else(|| RangeError::Id(text.to_owned()))?;
        Self::new(first, last)
    }
}

macro_rules! text_form {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.first == self.last {
                    write!(f, "{}", self.first)
                } else {
                    write!(f, "{}-{}", self.first, self.last)
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = RangeError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(range: $name) -> Self {
                range.to_string()
            }
        }
    };
}

text_form!(PortRange);
text_form!(IdRange);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_seventy_thousand_and_backwards_ranges_are_refused() {
        for wrong in ["0", "70000", "-1", "80-", "", "a", "0-5", "1-65536", "+80"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
        let error = "90-80".parse::<PortRange>().unwrap_err();
        assert!(error.to_string().contains("smaller number first"));
        assert_eq!(
            "3000-5000".parse::<PortRange>().unwrap().to_string(),
            "3000-5000"
        );
    }

    #[test]
    fn the_kernels_no_such_id_is_refused() {
        assert!("4294967295".parse::<IdRange>().is_err());
        assert!("0".parse::<IdRange>().unwrap().contains(0));
    }
}
