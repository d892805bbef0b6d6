//! Walks from a value to a part of it: members, indexes, all children, any depth.

use compact_str::{CompactString, format_compact};
use smallvec::SmallVec;

use super::value::{Val, any_item, equal};
use super::work::Work;
use crate::limits::kfl as limits;
use crate::model::{Map, Value};

/// One step of a path whose keys are known when the filter is compiled.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A member of a map, under its name or the other one that people use for it.
    Member { name: CompactString, alias: Option<Alias> },
    /// A member of a map of headers: case does not matter.
    Header(CompactString),
    /// An item of a list.
    Item(i64),
    /// All members or items.
    All,
    /// Whatever has this name at any depth.
    Descend(CompactString),
}

/// A second name of a member, tried when the first is not there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Alias {
    /// `query` is `queryString`.
    Name(&'static str),
    /// `body` is `postData.text` or `content.text`.
    Body,
}

impl Alias {
    /// The second name of the member `name` of a request or response.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "query" => Some(Self::Name("queryString")),
            "body" => Some(Self::Body),
            _ => None,
        }
    }

    fn find(self, map: &Map) -> Option<&Value> {
        match self {
            Self::Name(name) => map.get(name),
            Self::Body => {
                map.get("postData").or_else(|| map.get("content")).and_then(|part| part.get("text"))
            }
        }
    }
}

/// Walks steps that lead to one value at most.
fn single<'v>(mut value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    for step in steps {
        value = match (step, value) {
            (Step::Member { name, alias }, Value::Map(map)) => {
                map.get(name).or_else(|| alias.and_then(|alias| alias.find(map)))?
            }
            (Step::Header(name), Value::Map(map)) => map.get_ignore_case(name)?,
            (Step::Item(index), Value::List(items)) => items.get(usize::try_from(*index).ok()?)?,
            // KFL1 does not mind an index on what came only once.
            (Step::Item(0), other) if !matches!(other, Value::Map(_)) => other,
            (Step::Item(index), Value::Map(map)) => map.get(&format_compact!("{index}"))?,
            _ => return None,
        };
    }
    Some(value)
}

/// All values that `steps` lead to from `start`, the first `limits::SELECTED` of them.
fn several<'v>(start: &'v Value, steps: &[Step], work: &mut Work) -> SmallVec<[&'v Value; 8]> {
    let mut found: SmallVec<[&Value; 8]> = SmallVec::new();
    found.push(start);
    for step in steps {
        let mut next: SmallVec<[&Value; 8]> = SmallVec::new();
        for value in found {
            let room = limits::SELECTED.saturating_sub(next.len());
            match (step, value) {
                (Step::All, Value::List(items)) => next.extend(items.iter().take(room)),
                (Step::All, Value::Map(map)) => next.extend(map.iter().map(|(_, value)| value).take(room)),
                (Step::All, _) => {}
                (Step::Descend(name), value) => descend(value, name, room, &mut next, work),
                // A member of a list is that member of its items: `questions.name`.
                (Step::Member { .. } | Step::Header(_), Value::List(items)) => {
                    next.extend(
                        items.iter().filter_map(|item| single(item, std::slice::from_ref(step))).take(room),
                    );
                }
                (step, value) => {
                    next.extend(single(value, std::slice::from_ref(step)).into_iter().take(room));
                }
            }
        }
        found = next;
    }
    found
}

/// Adds every value named `name` at any depth below `start`; the tree is bounded by the entry.
fn descend<'v>(
    start: &'v Value,
    name: &str,
    room: usize,
    found: &mut SmallVec<[&'v Value; 8]>,
    work: &mut Work,
) {
    let mut left = room;
    let mut open: SmallVec<[&Value; 16]> = SmallVec::new();
    open.push(start);
    while let Some(value) = open.pop() {
        if !work.spend(1) {
            return;
        }
        match value {
            Value::Map(map) => {
                for (key, child) in map.iter() {
                    if key == name {
                        if left == 0 {
                            return;
                        }
                        left -= 1;
                        found.push(child);
                    }
                }
                open.extend(map.0.iter().rev().map(|(_, child)| child));
            }
            Value::List(items) => open.extend(items.iter().rev()),
            _ => {}
        }
    }
}

/// Whether steps lead to one value at most, as long as no list stands in the way.
pub(super) fn is_single(steps: &[Step]) -> bool {
    !steps.iter().any(|step| matches!(step, Step::All | Step::Descend(_)))
}

/// The part of `tree` that `steps` lead to; several become a list.
pub(super) fn select<'e>(tree: &'e Value, steps: &[Step], work: &mut Work) -> Val<'e> {
    // Steps that may lead to several values lead to none here.
    if let Some(value) = single(tree, steps) {
        return Val::of(value);
    }
    // All items of a list are the list.
    if let Some((Step::All, before)) = steps.split_last()
        && let Some(list @ Value::List(items)) = single(tree, before)
        && items.len() <= limits::SELECTED
    {
        return if items.is_empty() { Val::Missing } else { Val::of(list) };
    }
    let found = several(tree, steps, work);
    match (found.as_slice(), is_single(steps)) {
        ([], _) => Val::Missing,
        ([one], true) => Val::of(one),
        (all, _) => Val::List(all.iter().map(|value| Val::of(value)).collect()),
    }
}

/// The same for a value that is not a part of the entry.
pub(super) fn select_from<'e>(value: &Val<'e>, steps: &[Step], work: &mut Work) -> Val<'e> {
    match value {
        Val::Tree(tree) => select(tree, steps, work),
        Val::Owned(tree) => {
            let found = several(tree, steps, work);
            match (found.as_slice(), is_single(steps)) {
                ([], _) => Val::Missing,
                ([one], true) => copied(one, work),
                (all, _) => Val::List(all.iter().map(|value| copied(value, work)).collect()),
            }
        }
        Val::List(_) | Val::Map(_) | Val::Pair(..) => select_from_made(value, steps, work),
        Val::Missing => Val::Missing,
        scalar if steps.is_empty() => scalar.clone(),
        _ => Val::Missing,
    }
}

/// A copy of a part of a document that dies with the evaluation; its size is counted as work.
fn copied<'e>(value: &Value, work: &mut Work) -> Val<'e> {
    let mut open: SmallVec<[&Value; 16]> = SmallVec::new();
    open.push(value);
    while let Some(value) = open.pop() {
        if !work.spend(1) {
            return Val::Missing;
        }
        match value {
            Value::Map(map) => open.extend(map.iter().map(|(_, child)| child)),
            Value::List(items) => open.extend(items),
            _ => {}
        }
    }
    Val::owned(value)
}

/// Steps into lists and maps that the filter itself made.
fn select_from_made<'e>(value: &Val<'e>, steps: &[Step], work: &mut Work) -> Val<'e> {
    let Some((step, rest)) = steps.split_first() else { return value.clone() };
    let size = value.size().unwrap_or(0);
    match (step, value) {
        (Step::Item(index), value) if value.is_list() => {
            let item = usize::try_from(*index).ok().and_then(|index| value.item(index));
            item.map_or(Val::Missing, |item| select_from(&item, rest, work))
        }
        (Step::Member { name, .. } | Step::Header(name), Val::Map(items)) => {
            let found =
                items.iter().find(|(key, _)| key.text().is_some_and(|text| *text == *name.as_bytes()));
            found.map_or(Val::Missing, |(_, value)| select_from(value, rest, work))
        }
        (Step::Item(index), Val::Map(items)) => {
            let found = items.iter().find(|(key, _)| equal(key, &Val::Int(*index)) == Some(true));
            found.map_or(Val::Missing, |(_, value)| select_from(value, rest, work))
        }
        (Step::All, value) if value.is_list() && rest.is_empty() => value.clone(),
        (Step::All, Val::Map(items)) if rest.is_empty() => {
            Val::List(items.iter().map(|(_, value)| value.clone()).collect())
        }
        (Step::All | Step::Member { .. } | Step::Descend(_), value) if value.is_list() => {
            let steps = if *step == Step::All { rest } else { steps };
            let parts =
                (0..size).filter_map(|index| value.item(index)).map(|item| select_from(&item, steps, work));
            let found: Vec<Val<'e>> = parts.filter(|part| !matches!(part, Val::Missing)).collect();
            if found.is_empty() { Val::Missing } else { Val::List(found.into()) }
        }
        _ => Val::Missing,
    }
}

/// The member or item under a key that is only known during evaluation.
pub(super) fn index<'e>(value: &Val<'e>, key: &Val<'_>, ignore_case: bool, work: &mut Work) -> Val<'e> {
    let step = match key {
        Val::Int(index) => Step::Item(*index),
        Val::Missing => return Val::Missing,
        other => {
            let Some(text) = other.text() else { return Val::Missing };
            let Ok(name) = std::str::from_utf8(&text) else { return Val::Missing };
            if ignore_case {
                Step::Header(name.into())
            } else {
                Step::Member { name: name.into(), alias: None }
            }
        }
    };
    select_from(value, &[step], work)
}

/// Whether a list has the item, or a map has the key, `wanted`; `None` where there is neither.
pub(super) fn contains(
    container: &Val<'_>,
    wanted: &Val<'_>,
    ignore_case: bool,
    work: &mut Work,
) -> Option<bool> {
    if matches!(wanted, Val::Missing) {
        return None;
    }
    if container.is_list() {
        work.spend(container.size().unwrap_or(0));
        return Some(any_item(container, |item| equal(item, wanted) == Some(true)));
    }
    if matches!(container, Val::Map(_)) || matches!(container.tree(), Some(Value::Map(_))) {
        return Some(!matches!(index(container, wanted, ignore_case, work), Val::Missing));
    }
    None
}
