//! Protobuf without a schema: what the wire says, as a tree keyed by field numbers.
//!
//! The wire does not tell a text from a nested message from bytes: a field is shown as text when it reads
//! as one, else as a message when it is one to its last byte, else as bytes. Invariant: no recursion;
//! work is bounded by bytes times `DEPTH`, the tree by `FIELDS`.

use bytes::Bytes;
use compact_str::{CompactString, ToCompactString};

use crate::limits::grpc as limits;
use crate::model::{Map, Value};

/// A message that is being read.
struct Open<'a> {
    /// The field of the message around it that it stands in.
    number: u32,
    whole: &'a [u8],
    rest: &'a [u8],
    fields: Map,
}

impl<'a> Open<'a> {
    fn new(number: u32, bytes: &'a [u8]) -> Self {
        Self { number, whole: bytes, rest: bytes, fields: Map::default() }
    }
}

/// One field off the wire.
enum Wire<'a> {
    Number(i64),
    Bytes(&'a [u8]),
}

/// The tree of a message; `None` when the bytes are not one. `budget`: fields that may still be shown, over
/// all messages of a call; when it is used up, what is left is shown as bytes.
pub(super) fn decode(bytes: &[u8], budget: &mut usize) -> Option<Value> {
    let mut stack = vec![Open::new(0, bytes)];
    loop {
        let depth = stack.len();
        let top = stack.last_mut()?;
        if top.rest.is_empty() {
            let done = stack.pop()?;
            let value = Value::Map(done.fields);
            match stack.last_mut() {
                None => return Some(value),
                Some(around) => add(&mut around.fields, done.number, value),
            }
            continue;
        }
        let Some((number, wire)) = field(&mut top.rest) else {
            // Not a message after all.
            let failed = stack.pop()?;
            add(&mut stack.last_mut()?.fields, failed.number, blob(failed.whole));
            continue;
        };
        *budget = budget.saturating_sub(1);
        match wire {
            Wire::Number(value) => add(&mut top.fields, number, Value::Int(value)),
            Wire::Bytes(bytes) => match text(bytes) {
                Some(text) => add(&mut top.fields, number, Value::Str(text)),
                None if depth < limits::DEPTH && *budget > 0 && !bytes.is_empty() => {
                    stack.push(Open::new(number, bytes));
                }
                None => add(&mut top.fields, number, blob(bytes)),
            },
        }
        if *budget == 0 {
            return Some(finish(stack));
        }
    }
}

/// What was read when the budget ended: the open messages with what they have.
fn finish(mut stack: Vec<Open<'_>>) -> Value {
    let mut inner: Option<(u32, Value)> = None;
    while let Some(mut open) = stack.pop() {
        if let Some((number, value)) = inner.take() {
            add(&mut open.fields, number, value);
        }
        inner = Some((open.number, Value::Map(open.fields)));
    }
    inner.map_or(Value::Null, |(_, value)| value)
}

/// Adds a field; one that repeats becomes a list.
fn add(fields: &mut Map, number: u32, value: Value) {
    let key = number.to_compact_string();
    // Repeated fields stand together, so the last key is the usual place to look.
    match fields.0.iter_mut().rev().find(|(known, _)| *known == key) {
        None => fields.0.push((key, value)),
        Some((_, Value::List(values))) => values.push(value),
        Some((_, earlier)) => *earlier = Value::List(vec![std::mem::take(earlier), value]),
    }
}

/// Text is what a person can read: valid UTF-8 without control characters but for white space.
fn text(bytes: &[u8]) -> Option<CompactString> {
    let text = std::str::from_utf8(bytes).ok()?;
    let plain = |character: char| !character.is_control() || matches!(character, '\n' | '\r' | '\t');
    text.chars().all(plain).then(|| text.into())
}

fn blob(bytes: &[u8]) -> Value {
    Value::Bytes(Bytes::copy_from_slice(bytes))
}

/// Takes one field off the front. Groups, which nobody writes any more, are not read.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Wire<'a>)> {
    let tag = varint(rest)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number))?;
    let wire = match tag & 7 {
        0 => Wire::Number(varint(rest)? as i64),
        1 => Wire::Number(i64::from_le_bytes(*rest.split_off_first_chunk_of()?)),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (bytes, more) = rest.split_at_checked(length)?;
            *rest = more;
            Wire::Bytes(bytes)
        }
        5 => Wire::Number(i64::from(i32::from_le_bytes(*rest.split_off_first_chunk_of()?))),
        _ => return None,
    };
    Some((number, wire))
}

/// Takes an array off the front of a slice.
trait SplitOff<'a> {
    fn split_off_first_chunk_of<const N: usize>(&mut self) -> Option<&'a [u8; N]>;
}

impl<'a> SplitOff<'a> for &'a [u8] {
    fn split_off_first_chunk_of<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.split_first_chunk()?;
        *self = rest;
        Some(chunk)
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, more) = rest.split_first()?;
        *rest = more;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(bytes: &[u8]) -> Option<Value> {
        decode(bytes, &mut 1000)
    }

    fn get<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
        path.iter()
            .fold(value, |value, key| value.get(key).unwrap_or_else(|| panic!("no {key} in {value:?}")))
    }

    #[test]
    fn numbers_texts_and_messages_are_told_apart() {
        // 1: 150, 2: "testing", 3: {1: 150}, 4: fixed32 -1, 5: fixed64 1, 6: bytes
        let bytes = b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01\x25\xff\xff\xff\xff\x29\x01\0\0\0\0\0\0\0\x32\x02\xff\xfe";
        let tree = tree(bytes).expect("a message");
        assert_eq!(*get(&tree, &["1"]), Value::Int(150));
        assert_eq!(*get(&tree, &["2"]), "testing".into());
        assert_eq!(*get(&tree, &["3", "1"]), Value::Int(150));
        assert_eq!(*get(&tree, &["4"]), Value::Int(-1));
        assert_eq!(*get(&tree, &["5"]), Value::Int(1));
        assert_eq!(*get(&tree, &["6"]), Value::Bytes(Bytes::from_static(b"\xff\xfe")));
    }

    #[test]
    fn repeated_fields_are_a_list() {
        let tree = tree(b"\x08\x01\x08\x02\x08\x03").expect("a message");
        assert_eq!(tree.get("1"), Some(&Value::List(vec![1.into(), 2.into(), 3.into()])));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [
            &b"\x08"[..],
            b"\x0f\x00",
            b"\x12\x05abc",
            b"\x00\x01",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(tree(bytes), None, "{bytes:?}");
        }
        assert_eq!(tree(b""), Some(Value::Map(Map::default())));
    }

    #[test]
    fn messages_within_messages_end_at_the_depth() {
        let mut bytes = b"\x08\x01".to_vec();
        for _ in 0..50 {
            let mut outer = vec![0x0a, bytes.len() as u8];
            outer.extend(bytes);
            bytes = outer;
        }
        let tree = tree(&bytes).expect("a message");
        let mut depth = 0;
        let mut inner = &tree;
        while let Some(next) = inner.get("1") {
            inner = next;
            depth += 1;
        }
        assert!(matches!(inner, Value::Bytes(_)) && depth == limits::DEPTH, "{depth}");
    }

    #[test]
    fn the_budget_ends_a_message_of_many_fields() {
        let mut budget = 10;
        let tree = decode(&b"\x08\x01".repeat(100), &mut budget).expect("a message");
        let Some(Value::List(values)) = tree.get("1") else { panic!("{tree:?}") };
        assert_eq!((values.len(), budget), (10, 0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            tree(&bytes);
        }
    }
}
