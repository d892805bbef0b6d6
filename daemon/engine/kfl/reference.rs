//! Writes the generated part of docs/kfl.md: fields and functions.

use std::fmt::Write as _;

use super::fields::{self, GROUPS};
use super::functions::FUNCTIONS;
use crate::model::{Field, FieldSource};

/// The tables of the language as Markdown, generated from what the language itself uses.
pub fn reference_markdown() -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_reference(&mut out);
    out
}

fn write_reference(out: &mut String) -> std::fmt::Result {
    for group in GROUPS.iter() {
        let counts =
            |field: &&Field| fields::find(field.name).is_some_and(|row| std::ptr::eq(row.field, *field));
        let rows: Vec<&Field> = group.fields.iter().filter(counts).collect();
        if rows.is_empty() {
            continue;
        }
        writeln!(out, "### {}\n", group.title)?;
        if group.loose {
            writeln!(out, "These compare loosely: numbers with texts that spell them.\n")?;
        }
        if rows.iter().all(|field| matches!(field.source, FieldSource::Planned)) {
            writeln!(out, "Known and typed; nothing fills them yet, so they have their default value.\n")?;
        }
        writeln!(out, "| Field | Type | Meaning | Example |\n|---|---|---|---|")?;
        for field in rows {
            let (doc, example) = (cell(field.doc), cell(field.example));
            writeln!(out, "| `{}` | {} | {doc} | `{example}` |", field.name, field.ty.name())?;
        }
        writeln!(out)?;
    }
    writeln!(out, "Any other path below `request` and `response` may be written as well.")?;
    for (title, is_method) in [("Methods", true), ("Functions", false)] {
        writeln!(out, "\n### {title}\n\n| Name | Meaning | Example |\n|---|---|---|")?;
        for function in FUNCTIONS.iter().filter(|function| function.is_method == is_method) {
            writeln!(out, "| `{}` | {} | `{}` |", function.name, cell(function.doc), cell(function.usage))?;
        }
    }
    Ok(())
}

/// A text as the cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
