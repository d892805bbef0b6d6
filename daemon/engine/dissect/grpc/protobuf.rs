//! A protobuf message as a tree: by names where its type is known, else what the wire says by field numbers.
//!
//! The wire does not tell a text from a nested message from bytes: without a type a field is shown as text
//! when it reads as one, else as a message when it is one to its last byte, else as bytes. Invariant: no
//! recursion; work is bounded by bytes times `DEPTH`, the tree by `FIELDS`.

use compact_str::{CompactString, ToCompactString};

use super::scalar;
use crate::limits::grpc as limits;
use crate::model::{Map, Value};
use crate::protobuf::wire::{self, Wire};
use crate::protobuf::{DescriptorSet, Field, Kind, MessageType};

/// What is known of a message.
#[derive(Clone, Copy)]
pub(super) struct Typed<'s> {
    pub(super) set: &'s DescriptorSet,
    pub(super) message: &'s MessageType,
}

/// A message that is being read.
struct Open<'a, 's> {
    /// Where it stands in the message around it.
    place: Place<'s>,
    whole: &'a [u8],
    rest: &'a [u8],
    fields: Map,
    message: Option<&'s MessageType>,
}

impl<'a, 's> Open<'a, 's> {
    fn new(place: Place<'s>, bytes: &'a [u8], message: Option<&'s MessageType>) -> Self {
        Self { place, whole: bytes, rest: bytes, fields: Map::default(), message }
    }
}

/// A field by its name, or by its number where that is all that is known.
#[derive(Clone, Copy)]
enum Place<'s> {
    Named(&'s Field),
    Numbered(u32),
}

/// What a value turned out to be.
enum Step<'a, 's> {
    Done(Value),
    /// A packed list.
    All(Vec<Value>),
    /// A message to be read.
    Inside(&'a [u8], Option<&'s MessageType>),
}

/// The tree of a message; `None` when the bytes are not one. `budget`: fields that may still be shown, over
/// all messages of a call; when it is used up, what is left is not shown.
pub(super) fn decode(bytes: &[u8], typed: Option<Typed<'_>>, budget: &mut usize) -> Option<Value> {
    let set = typed.map(|typed| typed.set);
    let mut stack = vec![Open::new(Place::Numbered(0), bytes, typed.map(|typed| typed.message))];
    loop {
        let depth = stack.len();
        let top = stack.last_mut()?;
        if top.rest.is_empty() {
            let done = stack.pop()?;
            match stack.last_mut() {
                None => return Some(Value::Map(done.fields)),
                Some(around) => close(&mut around.fields, done),
            }
            continue;
        }
        let Some((number, wire)) = wire::field(&mut top.rest) else {
            // Not a message after all.
            let failed = stack.pop()?;
            add(&mut stack.last_mut()?.fields, failed.place, scalar::blob(failed.whole));
            continue;
        };
        *budget = budget.saturating_sub(1);
        let may_descend = depth < limits::DEPTH && *budget > 0;
        let known = top.message.and_then(|message| message.field(number));
        let (place, step) = known
            .and_then(|field| {
                Some((Place::Named(field), typed_step(set?, field, wire, may_descend, budget)?))
            })
            .unwrap_or_else(|| (Place::Numbered(number), guessed_step(wire, may_descend)));
        match step {
            Step::Done(value) => add(&mut top.fields, place, value),
            Step::All(values) => values.into_iter().for_each(|value| add(&mut top.fields, place, value)),
            Step::Inside(bytes, message) => stack.push(Open::new(place, bytes, message)),
        }
        if *budget == 0 {
            return Some(finish(stack));
        }
    }
}

/// The value of a field whose type is known; `None` when it is of another type on the wire.
fn typed_step<'a, 's>(
    set: &'s DescriptorSet,
    field: &'s Field,
    wire: Wire<'a>,
    may_descend: bool,
    budget: &mut usize,
) -> Option<Step<'a, 's>> {
    match (&field.kind, wire) {
        (Kind::Text, Wire::Bytes(bytes)) => Some(Step::Done(scalar::text(bytes))),
        (Kind::Bytes, Wire::Bytes(bytes)) => Some(Step::Done(scalar::blob(bytes))),
        (Kind::Text | Kind::Bytes, _) => None,
        // A type that no file declares is shown as if nothing were known.
        (Kind::Message(name), Wire::Bytes(bytes)) => match set.message(name) {
            Some(message) if may_descend => Some(Step::Inside(bytes, Some(message))),
            Some(_) => Some(Step::Done(scalar::blob(bytes))),
            None => Some(guessed_step(wire, may_descend)),
        },
        (Kind::Message(_), _) => None,
        (kind, Wire::Bytes(bytes)) if field.is_repeated => {
            scalar::packed(set, kind, bytes, budget).map(Step::All)
        }
        (kind, wire) => scalar::number(set, kind, wire).map(Step::Done),
    }
}

/// The value of a field of which nothing is known.
fn guessed_step(wire: Wire<'_>, may_descend: bool) -> Step<'_, 'static> {
    match wire {
        Wire::Varint(value) => Step::Done(Value::Int(value as i64)),
        Wire::Fixed64(bytes) => Step::Done(Value::Int(i64::from_le_bytes(bytes))),
        Wire::Fixed32(bytes) => Step::Done(Value::Int(i64::from(i32::from_le_bytes(bytes)))),
        Wire::Bytes(bytes) => match readable(bytes) {
            Some(text) => Step::Done(Value::Str(text)),
            None if may_descend && !bytes.is_empty() => Step::Inside(bytes, None),
            None => Step::Done(scalar::blob(bytes)),
        },
    }
}

/// What was read when the budget ended: the open messages with what they have.
fn finish(mut stack: Vec<Open<'_, '_>>) -> Value {
    while let Some(open) = stack.pop() {
        match stack.last_mut() {
            Some(around) => close(&mut around.fields, open),
            None => return Value::Map(open.fields),
        }
    }
    Value::Null
}

/// Puts a message that was read into the one around it; the pairs of a map become one map.
fn close(around: &mut Map, done: Open<'_, '_>) {
    let (Place::Named(field), Some(message)) = (done.place, done.message) else {
        return add(around, done.place, Value::Map(done.fields));
    };
    if !message.is_map_entry {
        return add(around, done.place, Value::Map(done.fields));
    }
    let part = |number| {
        let field = message.field(number);
        let value = field.and_then(|field| done.fields.get(&field.name).cloned());
        value.or_else(|| field.map(|field| scalar::default(&field.kind))).unwrap_or_default()
    };
    let (key, value) = (scalar::key(&part(1)), part(2));
    match last(around, &field.name) {
        Some(Value::Map(pairs)) => pairs.push(key, value),
        _ => around.push(field.name.clone(), Map(vec![(key, value)])),
    }
}

/// Adds a field. One that may repeat is a list; so is one that does without anybody saying that it may.
fn add(fields: &mut Map, place: Place<'_>, value: Value) {
    let (key, is_repeated) = match place {
        Place::Named(field) => (field.name.clone(), Some(field.is_repeated)),
        Place::Numbered(number) => (number.to_compact_string(), None),
    };
    match (last(fields, &key), is_repeated) {
        (None, Some(true)) => fields.0.push((key, Value::List(vec![value]))),
        (None, _) => fields.0.push((key, value)),
        // The last one counts.
        (Some(earlier), Some(false)) => *earlier = value,
        (Some(Value::List(values)), _) => values.push(value),
        (Some(earlier), _) => *earlier = Value::List(vec![std::mem::take(earlier), value]),
    }
}

/// A field that came already. Repeated fields stand together, so the last key is the usual place to look.
fn last<'m>(fields: &'m mut Map, key: &str) -> Option<&'m mut Value> {
    fields.0.iter_mut().rev().find(|(known, _)| known == key).map(|(_, value)| value)
}

/// Text is what a person can read: valid UTF-8 without control characters but for white space.
fn readable(bytes: &[u8]) -> Option<CompactString> {
    let text = std::str::from_utf8(bytes).ok()?;
    let plain = |character: char| !character.is_control() || matches!(character, '\n' | '\r' | '\t');
    text.chars().all(plain).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn tree(bytes: &[u8]) -> Option<Value> {
        decode(bytes, None, &mut 1000)
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
        let tree = decode(&b"\x08\x01".repeat(100), None, &mut budget).expect("a message");
        let Some(Value::List(values)) = tree.get("1") else { panic!("{tree:?}") };
        assert_eq!((values.len(), budget), (10, 0));
    }

    fn shop() -> DescriptorSet {
        let mut set = DescriptorSet::default();
        set.add(crate::protobuf::tests::SHOP).expect("descriptors");
        set
    }

    /// Read as a message of the shop.
    fn typed(name: &str, bytes: &[u8], budget: &mut usize) -> Option<Value> {
        let set = shop();
        let message = set.message(name).expect("declared");
        decode(bytes, Some(Typed { set: &set, message }), budget)
    }

    #[test]
    fn what_does_not_match_its_type_is_shown_by_number() {
        // A cart: 1 (text) as a number, 99 (unknown) as text, 1 as text that is none, 7 an unknown value,
        // 3 (a message) that cannot be read.
        let bytes = b"\x08\x05\x9a\x06\x02hi\x0a\x02\xff\xfe\x38\x09\x1a\x01\x08";
        let tree = typed("remora.test.Cart", bytes, &mut 100).expect("a message");
        assert_eq!(tree.get("1"), Some(&Value::Int(5)));
        assert_eq!(tree.get("99"), Some(&"hi".into()));
        assert_eq!(tree.get("customer"), Some(&Value::Bytes(Bytes::from_static(b"\xff\xfe"))));
        assert_eq!(tree.get("currency"), Some(&Value::Int(9)));
        assert_eq!(tree.get("items"), Some(&Value::List(vec![Value::Bytes(Bytes::from_static(b"\x08"))])));
    }

    #[test]
    fn of_a_single_field_that_repeats_the_last_one_counts_and_pairs_without_parts_have_defaults() {
        let bytes = b"\x0a\x01a\x0a\x01b\x22\x00\x22\x03\x0a\x01k";
        let tree = typed("remora.test.Cart", bytes, &mut 100).expect("a message");
        assert_eq!(tree.get("customer"), Some(&"b".into()));
        let pairs = Map(vec![("".into(), Value::Int(0)), ("k".into(), Value::Int(0))]);
        assert_eq!(tree.get("stock"), Some(&Value::Map(pairs)));
    }

    #[test]
    fn the_budget_ends_packed_lists_and_the_depth_messages_that_hold_themselves() {
        let packed = [&b"\x3a\xe8\x07"[..], &[1; 1000]].concat();
        let mut budget = 10;
        let tree = typed("remora.test.Item", &packed, &mut budget).expect("a message");
        let Some(Value::List(sizes)) = tree.get("sizes") else { panic!("{tree:?}") };
        assert_eq!((sizes.len(), budget), (9, 0));

        let mut bytes = Vec::new();
        for _ in 0..50 {
            bytes = [&[0x6a, bytes.len() as u8][..], &bytes].concat();
        }
        let tree = typed("remora.test.Item", &bytes, &mut 1000).expect("a message");
        let mut inner = &tree;
        let mut depth = 0;
        while let Some(next) = inner.get("inner") {
            (inner, depth) = (next, depth + 1);
        }
        assert!(matches!(inner, Value::Bytes(_)) && depth == limits::DEPTH, "{depth}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            tree(&bytes);
            typed("remora.test.Cart", &bytes, &mut 1000);
        }
    }
}
