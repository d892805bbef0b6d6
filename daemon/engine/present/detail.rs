//! The detail view of one entry: sections with selectors, beside the full entry and the list row.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value as Json, json};

use super::base::Quoted;
use super::parts::ProtocolObject;
use super::tree::Tree;
use super::{Base, Full, View};
use crate::dissect::{Section, SectionContent, registry};
use crate::model::{Direction, Entry};

/// An entry with its sections.
#[derive(Clone, Copy, Debug)]
pub struct Detail<'a> {
    /// What is shown.
    pub entry: &'a Entry,
    /// To whom.
    pub view: &'a View,
}

impl Serialize for Detail<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { entry, view } = *self;
        let mut out = serializer.serialize_map(Some(4))?;
        out.serialize_entry("protocol", &ProtocolObject(&entry.protocol))?;
        out.serialize_entry("representation", &self.representation())?;
        out.serialize_entry("data", &Full { entry, view })?;
        out.serialize_entry("base", &Base { entry, view })?;
        out.end()
    }
}

impl Detail<'_> {
    fn representation(&self) -> Json {
        let Some(protocol) = registry::protocol(&self.entry.protocol) else {
            return json!({ "request": [], "response": [], "event": [], "data": [] });
        };
        // The trees go through the same hiding as everywhere; what is hidden there cannot show here.
        let tree = |value, root| {
            serde_json::to_value(Tree::new(value, root, protocol.payloads, *self.view)).unwrap_or_default()
        };
        let root = json!({
            "request": tree(&self.entry.request, "request"),
            "response": tree(&self.entry.response, "response"),
        });
        let side = |side: Direction| {
            let sections = protocol.sections.iter().filter(|section| section.side == side);
            sections.filter_map(|section| render(section, &root)).collect::<Vec<_>>()
        };
        json!({ "request": side(Direction::ToServer), "response": side(Direction::ToClient), "event": [], "data": [] })
    }
}

fn at<'a>(root: &'a Json, path: &str) -> &'a Json {
    path.split('.').fold(root, |node, key| &node[key])
}

/// A section as JSON; none when there is nothing to show.
fn render(section: &Section, root: &Json) -> Option<Json> {
    match section.content {
        SectionContent::Details(rows) => {
            let rows = rows.iter().map(|(label, path)| row(label, at(root, path), path));
            let rows: Vec<_> = rows.filter(|row| !row["value"].is_null()).collect();
            (!rows.is_empty()).then(|| table(section.title, rows))
        }
        SectionContent::Table(path) => {
            let rows: Vec<_> = match at(root, path) {
                Json::Object(map) => map
                    .iter()
                    .map(|(key, value)| row(key, value, &format!("{path}[{}]", Quoted(key))))
                    .collect(),
                Json::Array(list) => {
                    list.iter().enumerate().map(|(index, value)| list_row(path, index, value)).collect()
                }
                _ => Vec::new(),
            };
            (!rows.is_empty()).then(|| table(section.title, rows))
        }
        SectionContent::Body(path, mime) => {
            let text = at(root, path).as_str().filter(|text| !text.is_empty())?;
            let holder = path.rsplit_once('.').map_or(path, |(holder, _)| holder);
            let encoding = at(root, holder)["encoding"].as_str().unwrap_or("");
            Some(json!({
                "type": "body", "title": section.title, "encoding": encoding, "mimeType": at(root, mime),
                "body": text, "selector": path,
            }))
        }
    }
}

fn table(title: &str, rows: Vec<Json>) -> Json {
    json!({ "type": "table", "title": title, "tableData": rows })
}

fn row(name: &str, value: &Json, selector: &str) -> Json {
    json!({ "name": name, "value": value, "selector": selector })
}

/// A list element; one with a name and a value is shown by these.
fn list_row(path: &str, index: usize, value: &Json) -> Json {
    let selector = format!("{path}[{index}]");
    match (value["name"].as_str(), &value["value"]) {
        (Some(name), shown) if !shown.is_null() => row(name, shown, &format!("{selector}.value")),
        _ => row(&index.to_string(), value, &selector),
    }
}
