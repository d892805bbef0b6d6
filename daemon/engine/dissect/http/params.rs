//! Query strings and form bodies as named values, bounded in number and size.

use compact_str::CompactString;
use memchr::memmem;

use crate::limits::Limits;
use crate::model::{EntryEvent, Map, Value};

/// The parameters of a query string; repeated ones as a list.
pub(in crate::dissect) fn of_query(query: &str, limits: &Limits, events: &mut Vec<EntryEvent>) -> Value {
    let mut map = Map::default();
    for (count, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if count >= limits.max_params {
            events.push(limit_reached());
            break;
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (unescape(name), Value::Str(unescape(value)));
        match map.0.iter_mut().find(|(known, _)| *known == name) {
            None => map.push(name, value),
            Some((_, Value::List(values))) => values.push(value),
            Some((_, earlier)) => *earlier = Value::List(vec![std::mem::take(earlier), value]),
        }
    }
    Value::Map(map)
}

/// The fields of an urlencoded or multipart body; empty for any other.
pub(in crate::dissect) fn of_body(
    mime: &str,
    body: &[u8],
    limits: &Limits,
    events: &mut Vec<EntryEvent>,
) -> Vec<Value> {
    let kind = mime.split(';').next().unwrap_or("").trim();
    let mut found = Vec::new();
    if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let text = String::from_utf8_lossy(body);
        for pair in text.trim_ascii().split('&').filter(|pair| !pair.is_empty()).take(limits.max_params + 1) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            found.push(param(unescape(name), Value::Str(unescape(value)), None));
        }
    } else if kind.eq_ignore_ascii_case("multipart/form-data")
        && let Some(boundary) = attribute(mime, "boundary")
    {
        found.extend(
            parts(body, boundary).take(limits.max_params + 1).filter_map(|part| of_part(part, limits)),
        );
    }
    if found.len() > limits.max_params {
        found.truncate(limits.max_params);
        events.push(limit_reached());
    }
    found
}

fn limit_reached() -> EntryEvent {
    EntryEvent::LimitExceeded { limit: "max_params".into() }
}

fn param(name: CompactString, value: Value, file: Option<(&str, &str)>) -> Value {
    let mut map = Map::with_capacity(4);
    map.put("name", name);
    map.put("value", value);
    if let Some((file_name, content_type)) = file {
        map.put("fileName", Value::from(file_name));
        map.put("contentType", Value::from(content_type));
    }
    Value::Map(map)
}

/// The pieces between boundary lines.
fn parts<'a>(body: &'a [u8], boundary: &str) -> impl Iterator<Item = &'a [u8]> {
    let line = format!("--{boundary}").into_bytes();
    let starts: Vec<usize> = memmem::find_iter(body, &line).collect();
    let len = line.len();
    (0..starts.len()).map_while(move |index| {
        let from = starts[index] + len;
        let to = starts.get(index + 1).copied().unwrap_or(body.len());
        let part = body.get(from..to)?;
        if part.starts_with(b"--") { None } else { Some(part) }
    })
}

fn of_part(part: &[u8], limits: &Limits) -> Option<Value> {
    let part = part.strip_prefix(b"\r\n").or_else(|| part.strip_prefix(b"\n"))?;
    let end = super::lines::head_end(part, 0)?;
    let content = part[end..].strip_suffix(b"\n").unwrap_or(&part[end..]);
    let content = content.strip_suffix(b"\r").unwrap_or(content);
    let head = String::from_utf8_lossy(&part[..end]);
    let line = |name: &str| {
        head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let disposition = line("content-disposition")?;
    let name = attribute(disposition, "name")?;
    let kept = &content[..content.len().min(limits.max_param_value)];
    let value = match std::str::from_utf8(kept) {
        Ok(text) => Value::from(text),
        Err(_) => Value::Bytes(bytes::Bytes::copy_from_slice(kept)),
    };
    let file = attribute(disposition, "filename").map(|file| (file, line("content-type").unwrap_or("")));
    Some(param(name.into(), value, file))
}

/// The value of `name=…` or `name="…"` in a header's parameters.
fn attribute<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').skip(1).find_map(|part| {
        let (known, value) = part.split_once('=')?;
        known.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// Undoes `%xx` and `+`; what is not valid stays as it is.
fn unescape(text: &str) -> CompactString {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return text.into();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|digit| (*digit as char).to_digit(16));
        match (byte, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', ..) => {
                out.push(b' ');
                at += 1;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    CompactString::from_utf8_lossy(&out)
}
