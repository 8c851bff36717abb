//! Formats and parses values for people and for JSON documents.

use domain::money::BaseUnits;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, UtcOffset};

/// Formats a time as RFC 3339 in UTC, in whole seconds.
pub fn timestamp(at: OffsetDateTime) -> String {
    let whole = at.to_offset(UtcOffset::UTC).replace_nanosecond(0).unwrap_or(at);
    whole.format(&Rfc3339).unwrap_or_default()
}

pub fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// Formats a stored amount as shillings; returns the text unchanged if it is no amount.
pub fn stored_shillings(text: &str) -> String {
    text.parse()
        .map_or_else(|_| text.to_owned(), BaseUnits::in_shillings)
}

/// Parses a duration on the command line.
pub fn age_argument(text: &str) -> Result<std::time::Duration, String> {
    parse_age(text)
        .and_then(|age| age.try_into().ok())
        .ok_or_else(|| "write e.g. 30s, 15m, 6h or 2d".to_owned())
}

/// Parses a time on the command line.
pub fn time_argument(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "write e.g. 2027-01-01T00:00:00Z".to_owned())
}

/// Parses a time in the past (`15m`, `6h`, `2d` ago) or an RFC 3339 time.
pub fn parse_since(text: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(at);
    }
    now.checked_sub(parse_age(text)?)
}

/// Parses `30s`, `15m`, `6h` or `2d`.
fn parse_age(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u32 = number.parse().ok()?;
    let number = i64::from(number);
    Some(match unit {
        "s" => Duration::seconds(number),
        "m" => Duration::minutes(number),
        "h" => Duration::hours(number),
        "d" => Duration::days(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_in_shillings_without_losing_a_digit() {
        assert_eq!(stored_shillings("150000000000000000000"), "150 KES");
        assert_eq!(
            stored_shillings("150000000000000000001"),
            "150.000000000000000001 KES"
        );
        assert_eq!(stored_shillings("1500000000000000000"), "1.5 KES");
        assert_eq!(stored_shillings("odd"), "odd");
    }

    #[test]
    fn since_is_an_age_or_a_time() {
        let now = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
        assert_eq!(parse_since("15m", now), Some(now - Duration::minutes(15)));
        assert_eq!(
            timestamp(parse_since("2025-12-31T00:00:00Z", now).unwrap()),
            "2025-12-31T00:00:00Z"
        );
        for bad in ["", "m", "-1h", "1w", "1.5h", "yesterday", "é"] {
            assert_eq!(parse_since(bad, now), None, "{bad}");
        }
    }
}
