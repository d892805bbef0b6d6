//! How protocols are called: `protocol`, `protocol.name`, `protocol.abbr` and so on.

use crate::dissect::registry;
use crate::model::Entry;

/// The names of one protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) name: &'a str,
    pub(super) abbr: &'a str,
    pub(super) version: &'a str,
    pub(super) long_name: &'a str,
    pub(super) macro_name: &'a str,
    pub(super) layer4: &'a str,
}

/// The names of the entry's protocol; one that this version does not know is called by its key.
pub(super) fn names(entry: &Entry) -> Names<'_> {
    if let Some(info) = registry::info(&entry.protocol) {
        return Names {
            name: info.name,
            abbr: info.abbr,
            version: info.version,
            long_name: info.long_name,
            macro_name: info.macro_name,
            layer4: info.layer4.name(),
        };
    }
    let key = entry.protocol.as_str();
    Names { name: key, abbr: key, version: "", long_name: key, macro_name: key, layer4: "" }
}
