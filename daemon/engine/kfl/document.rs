//! Reads JSON and XML texts of a message into trees, within bounds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use compact_str::CompactString;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

use crate::limits::kfl as limits;
use crate::model::{Map, Value};

/// Texts from this length on are shared instead of copied when parts of a tree are passed around.
const SHARED: usize = 64;

/// The tree of a JSON text, which may be base64; `None` when it is neither, or too long.
pub(super) fn json(text: &[u8]) -> Option<Value> {
    parsed(text, json_text)
}

/// The tree of an XML text, which may be base64: elements are members, repeated ones lists,
/// attributes members that begin with `-`, text beside them `#text`.
pub(super) fn xml(text: &[u8]) -> Option<Value> {
    parsed(text, |text| xml_text(std::str::from_utf8(text).ok()?))
}

fn parsed(text: &[u8], parse: fn(&[u8]) -> Option<Value>) -> Option<Value> {
    if text.len() > limits::DOCUMENT {
        return None;
    }
    parse(text).filter(|tree| matches!(tree, Value::Map(_) | Value::List(_))).or_else(|| {
        let decoded = base64_text(text)?;
        parse(&decoded)
    })
}

/// The bytes of a base64 text.
pub(super) fn base64_text(text: &[u8]) -> Option<Vec<u8>> {
    let trimmed = text.trim_ascii();
    if trimmed.len() < 4 || !trimmed.len().is_multiple_of(4) {
        return None;
    }
    STANDARD.decode(trimmed).ok()
}

fn json_text(text: &[u8]) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Seed.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(value)
}

/// Builds the message tree straight from a reader; its recursion is bounded by `serde_json`.
struct Seed;

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text_value(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Seed)? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut map = Map::default();
        while let Some(key) = items.next_key::<Cow<'_, str>>()? {
            map.push(CompactString::from(key), items.next_value_seed(Seed)?);
        }
        Ok(Value::Map(map))
    }
}

fn text_value(text: &str) -> Value {
    if text.len() < SHARED {
        Value::from(text)
    } else {
        Value::Bytes(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// An element whose end was not read yet.
struct Open<'a> {
    name: &'a str,
    map: Map,
    text: String,
}

fn xml_text(text: &str) -> Option<Value> {
    let mut open = vec![Open { name: "", map: Map::default(), text: String::new() }];
    let mut rest = text.trim();
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        unescape_into(before, &mut open.last_mut()?.text);
        rest = tag;
        let after = skip_declaration(rest)?;
        if after.len() < rest.len() {
            rest = after;
        } else if let Some(cdata) = rest.strip_prefix("<![CDATA[") {
            let (content, after) = cdata.split_once("]]>")?;
            open.last_mut()?.text.push_str(content);
            rest = after;
        } else if let Some(closing) = rest.strip_prefix("</") {
            let (name, after) = closing.split_once('>')?;
            let done = open.pop()?;
            if open.is_empty() || done.name != name.trim() {
                return None;
            }
            close(&mut open.last_mut()?.map, done);
            rest = after;
        } else {
            rest = open_tag(rest, &mut open)?;
        }
    }
    let root = open.pop()?;
    (open.is_empty() && !root.map.is_empty()).then_some(Value::Map(root.map))
}

/// What follows a comment, a declaration or a processing instruction; `rest` itself when it is
/// another tag, and nothing when it does not end.
fn skip_declaration(rest: &str) -> Option<&str> {
    if rest.starts_with("<![CDATA[") {
        return Some(rest);
    }
    for (start, end) in [("<!--", "-->"), ("<?", "?>"), ("<!", ">")] {
        if let Some(inside) = rest.strip_prefix(start) {
            return Some(inside.split_once(end)?.1);
        }
    }
    Some(rest)
}

/// Reads an opening tag with its attributes; returns what follows it.
fn open_tag<'a>(rest: &'a str, open: &mut Vec<Open<'a>>) -> Option<&'a str> {
    let inside = rest.strip_prefix('<')?;
    let name_end = inside.find(|c: char| c.is_whitespace() || c == '>' || c == '/')?;
    let (name, mut inside) = inside.split_at(name_end);
    if name.is_empty() || open.len() > limits::DOCUMENT_DEPTH {
        return None;
    }
    let mut element = Open { name, map: Map::default(), text: String::new() };
    loop {
        inside = inside.trim_start();
        if let Some(after) = inside.strip_prefix("/>") {
            close(&mut open.last_mut()?.map, element);
            return Some(after);
        }
        if let Some(after) = inside.strip_prefix('>') {
            open.push(element);
            return Some(after);
        }
        let (key, value) = inside.split_once('=')?;
        let value = value.trim_start();
        let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let (value, after) = value.get(1..)?.split_once(quote)?;
        let mut decoded = String::new();
        unescape_into(value, &mut decoded);
        element.map.push(format!("-{}", key.trim()), decoded.as_str());
        inside = after;
    }
}

/// Adds a finished element to its parent; elements of one name become a list.
fn close(parent: &mut Map, done: Open<'_>) {
    let text = done.text.trim();
    let value = if done.map.is_empty() {
        text_value(text)
    } else {
        let mut map = done.map;
        if !text.is_empty() {
            map.put("#text", text);
        }
        Value::Map(map)
    };
    // The one before is the usual place of a namesake; looking further would be quadratic.
    let last = parent.0.iter_mut().rev().take(16).find(|(name, _)| name == done.name);
    match last {
        Some((_, Value::List(items))) => items.push(value),
        Some((_, first)) => {
            let before = std::mem::take(first);
            *first = Value::List(vec![before, value]);
        }
        None => parent.push(done.name, value),
    }
}

/// Appends `text` with the five named entities and character numbers undone.
fn unescape_into(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, entity) = rest.split_at(at);
        out.push_str(before);
        let end = entity.bytes().take(12).position(|byte| byte == b';');
        let decoded = end.and_then(|end| entity.get(1..end)).and_then(character);
        if let (Some(character), Some(end)) = (decoded, end) {
            out.push(character);
            rest = entity.get(end + 1..).unwrap_or_default();
        } else {
            out.push('&');
            rest = entity.get(1..).unwrap_or_default();
        }
    }
    out.push_str(rest);
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let digits = entity.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}
