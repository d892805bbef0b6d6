//! A call as one line.

use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::paint::{Paint, bytes, safe};

/// Columns of `source -> destination`; longer ones push the rest to the right.
const ENDS_WIDTH: usize = 44;

/// The line of a full entry, without line break.
pub(crate) fn render(entry: &Json, paint: Paint) -> String {
    let status = status(entry);
    let mut line = String::with_capacity(160);
    let ends = format!("{} -> {}", end(&entry["src"]), end(&entry["dst"]));
    let mut ends_shown = ends.clone();
    let padding = ENDS_WIDTH.saturating_sub(ends.chars().count());
    ends_shown.extend(std::iter::repeat_n(' ', padding));
    let _ok = write!(
        line,
        "{} {} {} {} {} {} {}",
        paint.dim(&time(entry)),
        paint.bold(&format!("{:<7}", method(entry))),
        colour(&format!("{status:>3}"), &status, paint),
        paint.dim(&format!("{:>8}", duration(entry))),
        paint.cyan(&ends_shown),
        target(entry),
        paint.dim(&sizes(entry)),
    );
    for mark in marks(entry) {
        let _ok = write!(line, " {}", paint.yellow(&mark));
    }
    if let Some(error) = entry.get("error").filter(|error| !error.is_null()) {
        let what = format!("! {}: {}", text(&error["type"]), text(&error["msg"]));
        let _ok = write!(line, " {}", paint.red(&what));
    }
    line
}

fn text(value: &Json) -> String {
    match value {
        Json::String(text) => safe(text),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

/// Local time of day to the millisecond.
fn time(entry: &Json) -> String {
    let millis = entry["timestamp"].as_i64().unwrap_or_default();
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(at) => at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.3f").to_string(),
        Err(_) => "--:--:--.---".to_owned(),
    }
}

fn method(entry: &Json) -> String {
    let method = [&entry["request"]["method"], &entry["base"]["method"], &entry["method"]];
    let method = method.into_iter().map(text).find(|method| !method.is_empty());
    method.unwrap_or_else(|| text(&entry["protocol"]["abbr"]))
}

fn status(entry: &Json) -> String {
    match entry["response"]["status"].as_i64() {
        Some(0) | None => "-".to_owned(),
        Some(status) => status.to_string(),
    }
}

fn colour(shown: &str, status: &str, paint: Paint) -> String {
    match status.as_bytes().first() {
        Some(b'2') => paint.green(shown),
        Some(b'3') => paint.cyan(shown),
        Some(b'4') => paint.yellow(shown),
        Some(b'5') => paint.red(shown),
        _ => paint.dim(shown),
    }
}

/// Full entries have whole milliseconds.
fn duration(entry: &Json) -> String {
    if entry["response"].is_null() {
        return "-".to_owned();
    }
    match entry["elapsedTime"].as_u64() {
        None => "-".to_owned(),
        Some(0) => "<1ms".to_owned(),
        Some(millis) if millis < 10_000 => format!("{millis}ms"),
        Some(millis) => format!("{:.1}s", millis as f64 / 1000.0),
    }
}

/// The process where it is known, else the name, else the address.
fn end(peer: &Json) -> String {
    let (process, pid) = (text(&peer["processName"]), peer["processId"].as_u64().unwrap_or_default());
    if !process.is_empty() {
        return format!("{process}[{pid}]");
    }
    let (name, ip, port) = (text(&peer["name"]), text(&peer["ip"]), text(&peer["port"]));
    let host = if name.is_empty() { ip } else { name };
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn target(entry: &Json) -> String {
    let request = &entry["request"];
    let path = [&request["url"], &request["path"], &entry["base"]["summary"], &entry["summary"]];
    let path = path.into_iter().map(text).find(|path| !path.is_empty()).unwrap_or_default();
    if path.starts_with('/') { format!("{}{path}", host(entry)) } else { path }
}

fn host(entry: &Json) -> String {
    let headers = entry["request"]["headers"].as_object();
    let host = headers.and_then(|headers| {
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host") || *name == ":authority")
    });
    match host {
        Some((_, Json::Array(several))) => several.first().map(text).unwrap_or_default(),
        Some((_, host)) => text(host),
        None => format!("{}:{}", text(&entry["dst"]["ip"]), text(&entry["dst"]["port"])),
    }
}

fn sizes(entry: &Json) -> String {
    let size = |key: &str| bytes(entry[key].as_u64().unwrap_or_default());
    format!("{} / {}", size("requestSize"), size("responseSize"))
}

/// What the entry says about being cut or incomplete.
fn marks(entry: &Json) -> Vec<String> {
    let events = entry["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut marks: Vec<String> = Vec::new();
    if entry["tls"] == true {
        marks.push("tls".to_owned());
    }
    for event in events {
        let name = text(&event["type"]).replace('_', " ");
        match event["bytes"].as_u64() {
            Some(count) => marks.push(format!("~{name} ({})", bytes(count))),
            None => marks.push(format!("~{name}")),
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Json {
        json!({
            "timestamp": 1_700_000_000_123_u64, "elapsedTime": 5,
            "src": {"ip": "10.0.0.1", "port": "4000", "name": "", "processName": "curl", "processId": 77},
            "dst": {"ip": "fd00::1", "port": "80", "name": ""},
            "request": {"method": "GET", "url": "/a?b=1", "headers": {"Host": "shop"}},
            "response": {"status": 404}, "requestSize": 10, "responseSize": 2048,
            "events": [{"type": "response_truncated", "bytes": 1024}],
            "error": {"type": "connection", "msg": "reset by the server"}
        })
    }

    #[test]
    fn a_call_is_one_readable_line() {
        let line = render(&sample(), Paint::OFF);
        for part in ["GET ", "404", " 5ms", "curl[77] -> [fd00::1]:80 ", "shop/a?b=1", "10 B / 2.0 KiB"] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(line.ends_with("~response truncated (1.0 KiB) ! connection: reset by the server"), "{line}");
    }

    #[test]
    fn hostile_paths_and_missing_parts_stay_one_line() {
        let mut entry = sample();
        entry["request"]["url"] = json!("/\u{1b}]0;x\u{7}\n2");
        assert!(!render(&entry, Paint::OFF).contains(['\u{1b}', '\n', '\u{7}']));
        let line = render(&json!({"response": null}), Paint::OFF);
        assert!(line.contains(" - "), "{line}");
    }
}
