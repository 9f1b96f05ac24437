//! The date as HTTP writes it.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// The date and time for the field `date` (RFC 9110, 5.6.7).
pub(crate) fn text() -> String {
    written(OffsetDateTime::now_utc())
}

fn written(at: OffsetDateTime) -> String {
    at.format(FORMAT).expect("every date has these parts")
}

const FORMAT: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_the_standard_shows_it() {
        let at = OffsetDateTime::from_unix_timestamp(784_111_777).expect("a time");
        assert_eq!(written(at), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
