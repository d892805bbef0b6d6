//! What descriptor sets say: messages with their fields, enums, and the messages of methods.

use compact_str::CompactString;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::reader::{self, DescriptorError, File};
use crate::limits::protobuf as limits;

/// The types of all descriptor files that were added; where names come twice the first one counts.
#[derive(Debug, Default)]
pub struct DescriptorSet {
    messages: Vec<MessageType>,
    enums: Vec<EnumType>,
    /// Full name of a message -> its place.
    message_names: HashMap<CompactString, u32>,
    enum_names: HashMap<CompactString, u32>,
    /// `package.Service/Method` -> full names of request and response.
    methods: HashMap<CompactString, [CompactString; 2]>,
    /// Fields of all messages.
    fields: usize,
}

/// One message type.
#[derive(Debug, Default)]
pub(crate) struct MessageType {
    /// With its package: `shop.Cart`.
    pub(crate) name: CompactString,
    /// Whether it is the pair of key and value that a map is made of.
    pub(crate) is_map_entry: bool,
    /// By number.
    fields: Vec<Field>,
}

/// One field of a message type.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) name: CompactString,
    pub(crate) kind: Kind,
    pub(crate) is_repeated: bool,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Double,
    Float,
    Int64,
    Uint64,
    Int32,
    Fixed64,
    Fixed32,
    Bool,
    Text,
    Bytes,
    Uint32,
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
    /// By its full name.
    Message(CompactString),
    /// By its full name.
    Enum(CompactString),
}

/// One enum.
#[derive(Debug, Default)]
pub(super) struct EnumType {
    pub(super) name: CompactString,
    /// By number; of aliases the first.
    pub(super) values: Vec<(i32, CompactString)>,
}

impl MessageType {
    /// A type of these fields; of several with one number the first counts.
    pub(super) fn new(name: CompactString, is_map_entry: bool, mut fields: Vec<Field>) -> Self {
        fields.sort_by_key(|field| field.number);
        fields.dedup_by_key(|field| field.number);
        Self { name, is_map_entry, fields }
    }

    /// The field with a number.
    pub(crate) fn field(&self, number: u32) -> Option<&Field> {
        let index = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        self.fields.get(index)
    }
}

impl DescriptorSet {
    /// Adds what a file says; nothing of it when it is wrong or there is no more room.
    pub fn add(&mut self, file: &[u8]) -> Result<(), DescriptorError> {
        let file = reader::read(file)?;
        self.check_room(&file)?;
        for message in file.messages {
            let index = self.messages.len() as u32;
            if let Entry::Vacant(free) = self.message_names.entry(message.name.clone()) {
                free.insert(index);
                self.fields += message.fields.len();
                self.messages.push(message);
            }
        }
        for enumeration in file.enums {
            let index = self.enums.len() as u32;
            if let Entry::Vacant(free) = self.enum_names.entry(enumeration.name.clone()) {
                free.insert(index);
                self.fields += enumeration.values.len();
                self.enums.push(enumeration);
            }
        }
        for (path, types) in file.methods {
            self.methods.entry(path).or_insert(types);
        }
        for (extended, field) in file.extensions {
            self.extend(&extended, field);
        }
        Ok(())
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.methods.is_empty() && self.messages.is_empty()
    }

    /// Number of methods whose messages it knows.
    pub fn methods(&self) -> usize {
        self.methods.len()
    }

    /// The types of request and response of the method that a path (`/shop.Cart/Add`) calls; a part of the
    /// path in front of the service does not matter.
    pub(crate) fn method(&self, path: &str) -> [Option<&MessageType>; 2] {
        let path = path.trim_start_matches('/');
        let bare = path.rsplit_once('/').and_then(|(service, _)| service.rsplit_once('/'));
        let start = bare.map_or(0, |(front, _)| front.len() + 1);
        match self.methods.get(&path[start..]) {
            Some([asked, answered]) => [self.message(asked), self.message(answered)],
            None => [None, None],
        }
    }

    /// A message type by its full name.
    pub(crate) fn message(&self, name: &str) -> Option<&MessageType> {
        self.messages.get(*self.message_names.get(name)? as usize)
    }

    /// The name of an enum's value.
    pub(crate) fn value_name(&self, enumeration: &str, number: i32) -> Option<&CompactString> {
        let values = &self.enums.get(*self.enum_names.get(enumeration)? as usize)?.values;
        let index = values.binary_search_by_key(&number, |(known, _)| *known).ok()?;
        values.get(index).map(|(_, name)| name)
    }

    fn check_room(&self, file: &File) -> Result<(), DescriptorError> {
        let fields = file.messages.iter().map(|message| message.fields.len()).sum::<usize>()
            + file.enums.iter().map(|enumeration| enumeration.values.len()).sum::<usize>()
            + file.extensions.len();
        let types = file.messages.len() + file.enums.len() + file.methods.len();
        let counts = [
            ("fields", self.fields + fields, limits::FIELDS),
            ("types", self.messages.len() + self.enums.len() + self.methods.len() + types, limits::TYPES),
        ];
        match counts.into_iter().find(|(_, count, limit)| count > limit) {
            Some((what, _, limit)) => Err(DescriptorError::TooMany { what, limit }),
            None => Ok(()),
        }
    }

    fn extend(&mut self, extended: &str, field: Field) {
        let Some(index) = self.message_names.get(extended) else { return };
        let Some(message) = self.messages.get_mut(*index as usize) else { return };
        if let Err(place) = message.fields.binary_search_by_key(&field.number, |known| known.number) {
            message.fields.insert(place, field);
            self.fields += 1;
        }
    }
}
