//! Windows of time as requests give them: moments and spans.

use std::time::Duration;

use crate::api::fault::Fault;
use crate::engine::model::Timestamp;
use crate::runtime::clock;

/// A moment: milliseconds since 1970, RFC 3339, `now`, or a span (`15m`) that lies that far back.
pub(super) fn moment(name: &str, text: &str) -> Result<Timestamp, Fault> {
    let now = clock::now();
    if text == "now" {
        return Ok(now);
    }
    if let Ok(millis) = text.parse::<u64>() {
        return Ok(Timestamp(millis.saturating_mul(1_000_000)));
    }
    if let Some(span) = parse_span(text) {
        return Ok(Timestamp(now.nanos().saturating_sub(span.as_nanos() as u64)));
    }
    let parsed = text.parse::<jiff::Timestamp>().ok();
    let nanos = parsed.and_then(|moment| u64::try_from(moment.as_nanosecond()).ok());
    nanos.map(Timestamp).ok_or_else(|| {
        Fault::bad_request(format!(
            "{name} {text:?} is no moment; write 15m (ago), 2026-03-14T22:00:00Z, milliseconds since 1970, or now"
        ))
    })
}

/// A span of time: `10s`, `5m`, `1h`, `7d`.
pub(super) fn span(name: &str, text: &str) -> Result<Duration, Fault> {
    parse_span(text).filter(|span| !span.is_zero()).ok_or_else(|| {
        Fault::bad_request(format!("{name} {text:?} is no span of time; write 10s, 5m, 1h or 7d"))
    })
}

fn parse_span(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    // The last character is one of the ASCII letters above.
    let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    // A hundred years: beyond that moments overflow.
    number.checked_mul(unit).filter(|seconds| *seconds <= 3_155_760_000).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_all_forms() {
        let at = |text: &str| moment("from", text).map_err(|_| ());
        assert_eq!(at("1500"), Ok(Timestamp(1_500_000_000)));
        assert_eq!(at("1970-01-01T00:00:02Z"), Ok(Timestamp(2_000_000_000)));
        let ago = clock::now().since(at("15m").unwrap()) / 1_000_000_000;
        assert!((899..960).contains(&ago), "{ago}");
        for wrong in ["", "x", "-1", "1w", "99999999999999999999d", "\u{e9}", "2026-13-01T00:00:00Z"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
        assert!(span("interval", "0s").is_err() && span("interval", "2h").is_ok());
    }
}
