//! Single values of protobuf fields whose type is known (proto3 language guide; its JSON form for odd numbers).

use bytes::Bytes;
use compact_str::{CompactString, ToCompactString};

use crate::model::Value;
use crate::protobuf::wire::{self, Wire};
use crate::protobuf::{DescriptorSet, Kind};

/// A text; bytes when it is not the UTF-8 that it must be.
pub(super) fn text(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| blob(bytes), Value::from)
}

/// Bytes.
pub(super) fn blob(bytes: &[u8]) -> Value {
    Value::Bytes(Bytes::copy_from_slice(bytes))
}

/// A number, truth or name of an enum; `None` when the wire has another type.
pub(super) fn number(set: &DescriptorSet, kind: &Kind, wire: Wire<'_>) -> Option<Value> {
    Some(match (kind, wire) {
        (Kind::Int64, Wire::Varint(value)) => Value::Int(value as i64),
        (Kind::Int32, Wire::Varint(value)) => Value::Int(i64::from(value as i32)),
        (Kind::Uint64, Wire::Varint(value)) => unsigned(value),
        (Kind::Uint32, Wire::Varint(value)) => Value::Int(i64::from(value as u32)),
        (Kind::Sint64, Wire::Varint(value)) => Value::Int(unzigzag(value)),
        (Kind::Sint32, Wire::Varint(value)) => Value::Int(unzigzag(u64::from(value as u32))),
        (Kind::Bool, Wire::Varint(value)) => Value::Bool(value != 0),
        (Kind::Enum(name), Wire::Varint(value)) => {
            let number = value as i32;
            set.value_name(name, number).map_or(Value::Int(i64::from(number)), |name| name.clone().into())
        }
        (Kind::Fixed64, Wire::Fixed64(bytes)) => unsigned(u64::from_le_bytes(bytes)),
        (Kind::Sfixed64, Wire::Fixed64(bytes)) => Value::Int(i64::from_le_bytes(bytes)),
        (Kind::Double, Wire::Fixed64(bytes)) => real(f64::from_le_bytes(bytes)),
        (Kind::Fixed32, Wire::Fixed32(bytes)) => Value::Int(i64::from(u32::from_le_bytes(bytes))),
        (Kind::Sfixed32, Wire::Fixed32(bytes)) => Value::Int(i64::from(i32::from_le_bytes(bytes))),
        (Kind::Float, Wire::Fixed32(bytes)) => {
            let value = f32::from_le_bytes(bytes);
            // The shortest number that means the same, not the digits that binary adds.
            real(value.to_compact_string().parse().unwrap_or(f64::from(value)))
        }
        _ => return None,
    })
}

/// The numbers of a packed list; each counts against `budget`, and the list ends with it. `None`: it is none.
pub(super) fn packed(
    set: &DescriptorSet,
    kind: &Kind,
    mut rest: &[u8],
    budget: &mut usize,
) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while !rest.is_empty() && *budget > 0 {
        let wire = match kind {
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Wire::Fixed64(wire::chunk(&mut rest)?),
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Wire::Fixed32(wire::chunk(&mut rest)?),
            _ => Wire::Varint(wire::varint(&mut rest)?),
        };
        *budget -= 1;
        values.push(number(set, kind, wire)?);
    }
    Some(values)
}

/// What a field is when it is not there.
pub(super) fn default(kind: &Kind) -> Value {
    match kind {
        Kind::Text => Value::from(""),
        Kind::Bool => Value::Bool(false),
        Kind::Float | Kind::Double => Value::Float(0.0),
        Kind::Bytes => blob(&[]),
        Kind::Message(_) => Value::Map(crate::model::Map::default()),
        _ => Value::Int(0),
    }
}

/// The key of a map as text.
pub(super) fn key(value: &Value) -> CompactString {
    match value {
        Value::Str(text) => text.clone(),
        Value::Int(number) => number.to_compact_string(),
        Value::Bool(flag) => flag.to_compact_string(),
        _ => CompactString::default(),
    }
}

fn unsigned(value: u64) -> Value {
    i64::try_from(value).map_or_else(|_| Value::Str(value.to_compact_string()), Value::Int)
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// JSON has no numbers that are none.
fn real(value: f64) -> Value {
    if value.is_finite() {
        Value::Float(value)
    } else if value.is_nan() {
        Value::from("NaN")
    } else {
        Value::from(if value > 0.0 { "Infinity" } else { "-Infinity" })
    }
}
