//! The one table of fields: what names a filter may use, their types, and where values come from.
//!
//! Parser, type checker, completion and documentation read it; adding a field is adding a row, here
//! for what all entries have, in the dissector's folder for what one protocol has.

mod common;
mod entry;
mod flags;
mod paths;
mod planned;
mod protocols;
mod tls;
mod verdict;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::dissect::registry;
use crate::model::Field;

/// Rows that belong together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// Heading in the documentation.
    pub(super) title: &'static str,
    /// Whether they compare as KFL1 does: numbers with texts that spell them, lists by any item.
    pub(super) loose: bool,
    pub(super) fields: &'static [Field],
}

/// All groups. Of two rows with one name the first counts: what every entry keeps is read from there
/// and not from the message, and a dissector's row replaces a planned one.
pub(super) static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(|| {
    let mut groups = vec![
        Group { title: "Protocol flags", loose: false, fields: flags::FIELDS },
        Group { title: "Call", loose: false, fields: common::FIELDS },
        Group { title: "Ends of the call", loose: true, fields: entry::PEERS },
        Group { title: "Paths of the full entry", loose: true, fields: entry::FIELDS },
        Group { title: "Verb and outcome", loose: false, fields: verdict::FIELDS },
    ];
    groups.push(Group { title: "TLS", loose: false, fields: tls::FIELDS });
    groups.push(Group { title: "TLS, texts", loose: false, fields: tls::TEXTS });
    groups.extend(registry::PROTOCOLS.iter().filter(|protocol| !protocol.fields.is_empty()).map(
        |protocol| Group {
            title: protocol.infos.first().map_or("", |info| info.abbr),
            loose: false,
            fields: protocol.fields,
        },
    ));
    groups.push(Group { title: "Parts of messages", loose: true, fields: paths::FIELDS });
    groups.extend(planned::GROUPS);
    groups
});

/// A row as the checker finds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) field: &'static Field,
    pub(super) loose: bool,
}

static TABLE: LazyLock<HashMap<&'static str, Row>> = LazyLock::new(|| {
    let mut table = HashMap::new();
    for group in GROUPS.iter() {
        for field in group.fields {
            table.entry(field.name).or_insert(Row { field, loose: group.loose });
        }
    }
    table
});

/// The row of a name.
pub(super) fn find(name: &str) -> Option<Row> {
    TABLE.get(name).copied()
}

/// All rows that count, in the order of the documentation.
pub(super) fn all() -> impl Iterator<Item = &'static Field> {
    let rows = GROUPS.iter().flat_map(|group| group.fields);
    rows.filter(|field| find(field.name).is_some_and(|row| std::ptr::eq(row.field, *field)))
}

/// Whether a flag depends on nothing but the entry's protocol.
pub(super) fn is_protocol_flag(name: &str) -> bool {
    !matches!(name, "tls" | "error") && flags::FIELDS.iter().any(|field| field.name == name)
}
