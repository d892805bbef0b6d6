//! The one reader of the wall clock, and its text form.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::engine::model::Timestamp;

/// The present moment. A clock before 1970 reads as 1970.
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}

/// RFC 3339 in UTC with as many fraction digits as needed: `2026-11-21T11:26:38.5Z`.
pub fn rfc3339(at: Timestamp) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(at.nanos())) {
        Ok(moment) => moment.to_string(),
        // Not reached: u64 nanoseconds end in 2554, jiff's range in 9999.
        Err(_) => at.nanos().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_utc_with_needed_fraction_digits() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Timestamp(1_500_000_000)), "1970-01-01T00:00:01.5Z");
        assert_eq!(rfc3339(Timestamp(u64::MAX)), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn the_clock_runs_in_this_century() {
        assert!(now().nanos() > 1_700_000_000 * 1_000_000_000);
    }
}
