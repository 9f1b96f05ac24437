//! Times and counts.

use std::time::Duration;

use super::super::document::Node;
use super::super::report::Report;
use super::super::section::Section;
use super::super::value;
use super::UpstreamFault;

/// Reads a time like `500ms`, `5s` or `1m`.
pub(super) fn time(section: &Section<'_>, key: &str, report: &mut Report<'_>) -> Option<Duration> {
    let node = section.at(key)?;
    let given = value::text(node, &section.path_of(key), TIMES, report)?;
    let digits = given.len() - given.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = given.split_at(digits);
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let time = millis
        .zip(number.parse::<u64>().ok())
        .and_then(|(millis, number)| number.checked_mul(millis))
        .map(Duration::from_millis)
        .filter(|time| !time.is_zero() && *time <= LONGEST);
    time.or_else(|| report.none(&node.span, UpstreamFault::Time(given.to_owned())))
}

/// Reads a number that is at least one.
pub(super) fn count<T: TryFrom<u32>>(
    section: &Section<'_>,
    key: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    let node = section.at(key)?;
    let counted = |node: &Node, report: &mut Report<'_>| {
        let given = value::text(node, &section.path_of(key), "a number", report)?;
        let number = given.parse().ok().filter(|number| *number > 0);
        let number = number.and_then(|number: u32| T::try_from(number).ok());
        number.or_else(|| report.none(&node.span, UpstreamFault::Count(given.to_owned())))
    };
    counted(node, report)
}

const TIMES: &str = "a time like 500ms, 5s or 1m";
/// More is most likely a mistake in the unit.
const LONGEST: Duration = Duration::from_secs(3600);
