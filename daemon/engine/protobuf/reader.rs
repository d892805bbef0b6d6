//! Reads a `FileDescriptorSet` (google/protobuf/descriptor.proto) as `protoc --descriptor_set_out` writes it.
//!
//! Only what names fields is read. Invariant: no recursion, and each byte is looked at a bounded number of
//! times.

use compact_str::{CompactString, format_compact};

use super::descriptor::{EnumType, Field, Kind, MessageType};
use super::wire::{self, Wire};
use crate::limits::protobuf as limits;

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// It is something else, or cut.
    #[error(
        "it is no descriptor set; write one with `protoc --include_imports --descriptor_set_out=FILE FILE.proto`"
    )]
    NotDescriptors,
    /// It is larger than any real one.
    #[error("it has more than {limit} bytes; leave out what is not called, or split it")]
    TooLarge {
        /// Bytes.
        limit: usize,
    },
    /// All files together say too much.
    #[error("with it there are more than {limit} {what}; leave out what is not called")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Messages within messages.
    #[error("a message is declared more than {limit} messages deep")]
    TooDeep {
        /// Levels.
        limit: usize,
    },
    /// A name is longer than any real one.
    #[error("a name in it has more than {limit} bytes")]
    NameTooLong {
        /// Bytes.
        limit: usize,
    },
}

type Result<T> = std::result::Result<T, DescriptorError>;

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) messages: Vec<MessageType>,
    pub(super) enums: Vec<EnumType>,
    /// `package.Service/Method` and its two messages.
    pub(super) methods: Vec<(CompactString, [CompactString; 2])>,
    /// Name of the extended message, and the field that it gets.
    pub(super) extensions: Vec<(CompactString, Field)>,
    /// What was read so far, against the limits.
    fields: usize,
    types: usize,
}

/// Reads a file.
pub(super) fn read(bytes: &[u8]) -> Result<File> {
    if bytes.len() > limits::FILE {
        return Err(DescriptorError::TooLarge { limit: limits::FILE });
    }
    let mut file = File::default();
    let mut is_any = false;
    for (number, wire) in fields(bytes) {
        match (number, wire?) {
            (1, Wire::Bytes(bytes)) => {
                is_any = true;
                file.descriptor(bytes)?;
            }
            // No other field was ever declared: this is some other file.
            _ => return Err(DescriptorError::NotDescriptors),
        }
    }
    if is_any { Ok(file) } else { Err(DescriptorError::NotDescriptors) }
}

impl File {
    /// `FileDescriptorProto`.
    fn descriptor(&mut self, bytes: &[u8]) -> Result<()> {
        let package = name_in(bytes, 2)?;
        if name_in(bytes, 1)?.is_empty() {
            return Err(DescriptorError::NotDescriptors);
        }
        for (number, wire) in fields(bytes) {
            match (number, wire?) {
                (4, Wire::Bytes(message)) => self.messages_in(message, &package)?,
                (5, Wire::Bytes(enumeration)) => self.enumeration(enumeration, &package)?,
                (6, Wire::Bytes(service)) => self.service(service, &package)?,
                (7, Wire::Bytes(field)) => self.extension(field, &package)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `DescriptorProto`, and those within it.
    fn messages_in(&mut self, bytes: &[u8], scope: &str) -> Result<()> {
        let mut open = vec![(bytes, CompactString::from(scope), 1)];
        while let Some((bytes, scope, depth)) = open.pop() {
            if depth > limits::NESTING {
                return Err(DescriptorError::TooDeep { limit: limits::NESTING });
            }
            let name = within(&scope, &name_in(bytes, 1)?)?;
            let mut found = Vec::new();
            let mut is_map_entry = false;
            for (number, wire) in fields(bytes) {
                match (number, wire?) {
                    (2, Wire::Bytes(field)) => found.extend(self.field(field)?.map(|(field, _)| field)),
                    (3, Wire::Bytes(inner)) => open.push((inner, name.clone(), depth + 1)),
                    (4, Wire::Bytes(enumeration)) => self.enumeration(enumeration, &name)?,
                    (6, Wire::Bytes(field)) => self.extension(field, &name)?,
                    (7, Wire::Bytes(options)) => is_map_entry |= number_in(options, 7)? == 1,
                    _ => {}
                }
            }
            self.count_type()?;
            self.messages.push(MessageType::new(name, is_map_entry, found));
        }
        Ok(())
    }

    /// `FieldDescriptorProto`: the field, and the message that it extends. `None`: of a kind that is not
    /// shown by name.
    fn field(&mut self, bytes: &[u8]) -> Result<Option<(Field, CompactString)>> {
        self.count_field()?;
        let name = name_in(bytes, 1)?;
        let of = unrooted(name_in(bytes, 6)?);
        let number = u32::try_from(number_in(bytes, 3)?).unwrap_or_default();
        let kind = kind(number_in(bytes, 5)?, of);
        let field = kind.filter(|_| number > 0 && !name.is_empty()).map(|kind| {
            let is_repeated = matches!(number_in(bytes, 4), Ok(3));
            Field { number, name, kind, is_repeated }
        });
        let extended = unrooted(name_in(bytes, 2)?);
        Ok(field.map(|field| (field, extended)))
    }

    fn extension(&mut self, bytes: &[u8], scope: &str) -> Result<()> {
        if let Some((mut field, extended)) = self.field(bytes)? {
            // As the JSON form of protobuf spells it.
            field.name = format_compact!("[{}]", within(scope, &field.name)?);
            self.extensions.push((extended, field));
        }
        Ok(())
    }

    /// `EnumDescriptorProto`.
    fn enumeration(&mut self, bytes: &[u8], scope: &str) -> Result<()> {
        let mut found = EnumType { name: within(scope, &name_in(bytes, 1)?)?, values: Vec::new() };
        for (number, wire) in fields(bytes) {
            if let (2, Wire::Bytes(value)) = (number, wire?) {
                self.count_field()?;
                found.values.push((number_in(value, 2)? as i32, name_in(value, 1)?));
            }
        }
        found.values.sort_by_key(|(number, _)| *number);
        found.values.dedup_by_key(|(number, _)| *number);
        self.count_type()?;
        self.enums.push(found);
        Ok(())
    }

    /// `ServiceDescriptorProto`.
    fn service(&mut self, bytes: &[u8], package: &str) -> Result<()> {
        let service = within(package, &name_in(bytes, 1)?)?;
        for (number, wire) in fields(bytes) {
            if let (2, Wire::Bytes(method)) = (number, wire?) {
                self.count_type()?;
                let path = format_compact!("{service}/{}", name_in(method, 1)?);
                self.methods.push((path, [unrooted(name_in(method, 2)?), unrooted(name_in(method, 3)?)]));
            }
        }
        Ok(())
    }

    fn count_field(&mut self) -> Result<()> {
        self.fields += 1;
        count("fields", self.fields, limits::FIELDS)
    }

    fn count_type(&mut self) -> Result<()> {
        self.types += 1;
        count("types", self.types, limits::TYPES)
    }
}

fn count(what: &'static str, count: usize, limit: usize) -> Result<()> {
    if count > limit { Err(DescriptorError::TooMany { what, limit }) } else { Ok(()) }
}

/// The fields of a message; one that cannot be read is the last.
fn fields(bytes: &[u8]) -> impl Iterator<Item = (u32, Result<Wire<'_>>)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((number, wire)) = wire::field(&mut rest) else {
            rest = &[];
            return Some((0, Err(DescriptorError::NotDescriptors)));
        };
        Some((number, Ok(wire)))
    })
}

/// The text of a field; empty without one.
fn name_in(bytes: &[u8], wanted: u32) -> Result<CompactString> {
    let mut name = CompactString::default();
    for (number, wire) in fields(bytes) {
        match wire? {
            Wire::Bytes(text) if number == wanted => {
                if text.len() > limits::NAME {
                    return Err(DescriptorError::NameTooLong { limit: limits::NAME });
                }
                name = CompactString::from_utf8(text).map_err(|_| DescriptorError::NotDescriptors)?;
            }
            _ => {}
        }
    }
    Ok(name)
}

/// The number in a field; 0 without one.
fn number_in(bytes: &[u8], wanted: u32) -> Result<i64> {
    let mut found = 0;
    for (number, wire) in fields(bytes) {
        match wire? {
            Wire::Varint(value) if number == wanted => found = value as i64,
            _ => {}
        }
    }
    Ok(found)
}

fn within(scope: &str, name: &str) -> Result<CompactString> {
    if scope.len() + name.len() >= limits::NAME {
        return Err(DescriptorError::NameTooLong { limit: limits::NAME });
    }
    Ok(if scope.is_empty() { name.into() } else { format_compact!("{scope}.{name}") })
}

/// A name of a type without the dot that says that it is a full one.
fn unrooted(name: CompactString) -> CompactString {
    name.strip_prefix('.').map_or_else(|| name.clone(), CompactString::from)
}

/// `FieldDescriptorProto.Type`. Groups (10) are shown without a schema.
fn kind(code: i64, of: CompactString) -> Option<Kind> {
    Some(match code {
        1 => Kind::Double,
        2 => Kind::Float,
        3 => Kind::Int64,
        4 => Kind::Uint64,
        5 => Kind::Int32,
        6 => Kind::Fixed64,
        7 => Kind::Fixed32,
        8 => Kind::Bool,
        9 => Kind::Text,
        11 => Kind::Message(of),
        12 => Kind::Bytes,
        13 => Kind::Uint32,
        14 => Kind::Enum(of),
        15 => Kind::Sfixed32,
        16 => Kind::Sfixed64,
        17 => Kind::Sint32,
        18 => Kind::Sint64,
        _ => return None,
    })
}
