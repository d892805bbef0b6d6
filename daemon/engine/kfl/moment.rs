//! Moments and spans of time as filters write them.

use jiff::civil;

/// Nanoseconds per millisecond.
pub(super) const MILLI: i64 = 1_000_000;
const SECOND: i64 = 1000 * MILLI;
const DAY: i64 = 86_400 * SECOND;

/// The units of `seconds(n)` .. `years(n)`, in nanoseconds; a month has 30 days, a year 365.
pub(super) const UNITS: &[(&str, i64)] = &[
    ("seconds", SECOND),
    ("minutes", 60 * SECOND),
    ("hours", 3600 * SECOND),
    ("days", DAY),
    ("weeks", 7 * DAY),
    ("months", 30 * DAY),
    ("years", 365 * DAY),
];

/// `2026-03-14T22:00:00Z` as nanoseconds since the epoch. RFC 3339.
pub(super) fn rfc3339(text: &str) -> Option<i64> {
    let at: jiff::Timestamp = text.trim().parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok()
}

/// Nanoseconds since the epoch as an RFC 3339 text.
pub(super) fn written(nanos: i64) -> Option<String> {
    jiff::Timestamp::from_nanosecond(i128::from(nanos)).ok().map(|at| at.to_string())
}

/// `10/19/2021, 6:29:02.593 PM` (month first, UTC; the fraction may be left out) as nanoseconds.
pub(super) fn us_datetime(text: &str) -> Option<i64> {
    let (date, time) = text.trim().split_once(',')?;
    let mut date = date.trim().splitn(3, '/');
    let month = small(date.next()?)?;
    let day = small(date.next()?)?;
    let year: i16 = date.next()?.parse().ok()?;
    let (clock, half) = time.trim().rsplit_once(' ')?;
    let mut clock = clock.trim().splitn(3, ':');
    let hour = small(clock.next()?)?;
    let minute = small(clock.next()?)?;
    let (second, nanos) = seconds(clock.next().unwrap_or("0"))?;
    let hour = match (half.to_ascii_uppercase().as_str(), hour) {
        ("AM", 12) => 0,
        ("AM", 1..=11) | ("PM", 12) => hour,
        ("PM", 1..=11) => hour + 12,
        _ => return None,
    };
    let at = civil::DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    i64::try_from(at.timestamp().as_nanosecond()).ok()
}

fn small(text: &str) -> Option<i8> {
    text.parse().ok().filter(|number| *number >= 0)
}

/// `02.593` as seconds and nanoseconds.
fn seconds(text: &str) -> Option<(i8, i32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: i32 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some((small(whole)?, nanos * 10_i32.pow(9 - fraction.len() as u32)))
}

/// `1h30m`, `1.5s`, `-200ms` as nanoseconds.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_f64;
    let mut whole = 0_i64;
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_len = after
            .find(|character: char| character.is_ascii_digit() || character == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let nanos = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1000,
            "ms" => MILLI,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            "d" => DAY,
            _ => return None,
        };
        match number.parse::<i64>() {
            Ok(number) => whole = whole.checked_add(number.checked_mul(nanos)?)?,
            Err(_) => total += number.parse::<f64>().ok()? * nanos as f64,
        }
        any = true;
        rest = after;
    }
    if !any || total.abs() > 9e18 {
        return None;
    }
    let sum = whole.checked_add(total as i64)?;
    Some(if negative { -sum } else { sum })
}

/// The part of a moment that a CEL accessor such as `getHours` names, in UTC; months and days of the
/// year count from 0 as CEL wants it.
pub(super) fn part(nanos: i64, name: &str) -> Option<i64> {
    let at = jiff::Timestamp::from_nanosecond(i128::from(nanos)).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
    Some(match name {
        "getFullYear" => i64::from(at.year()),
        "getMonth" => i64::from(at.month()) - 1,
        "getDate" => i64::from(at.day()),
        "getDayOfMonth" => i64::from(at.day()) - 1,
        "getDayOfWeek" => i64::from(at.weekday().to_sunday_zero_offset()),
        "getDayOfYear" => i64::from(at.day_of_year()) - 1,
        "getHours" => i64::from(at.hour()),
        "getMinutes" => i64::from(at.minute()),
        "getSeconds" => i64::from(at.second()),
        "getMilliseconds" => i64::from(at.millisecond()),
        _ => return None,
    })
}

/// The whole units of a span that a CEL accessor names.
pub(super) fn duration_part(nanos: i64, name: &str) -> Option<i64> {
    Some(match name {
        "getHours" => nanos / (3600 * SECOND),
        "getMinutes" => nanos / (60 * SECOND),
        "getSeconds" => nanos / SECOND,
        "getMilliseconds" => nanos / MILLI,
        _ => return None,
    })
}
