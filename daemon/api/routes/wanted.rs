//! The query of a stream: which entries, from where, and how they are written.

use std::sync::Arc;

use serde::Deserialize;

use super::feed::Start;
use crate::engine::kfl::Filter;
use crate::engine::model::Timestamp;
use crate::tap::{Encoding, Look, Projection, Shape};

/// Numbers from here on are milliseconds since 1970 (this one is in 2001), smaller ones count entries.
const FIRST_MILLIS: u64 = 1_000_000_000_000;

/// What was asked for, as text. Unknown parameters are left alone: proxies and browsers add theirs.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct StreamQuery {
    q: Option<String>,
    kfl: Option<String>,
    notices: Option<String>,
    from: Option<String>,
    fields: Option<String>,
    format: Option<String>,
    snapshot: Option<String>,
    view: Option<String>,
}

/// How entries are put into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON text per frame.
    Json,
    /// Lines of JSON, as many per frame as are ready.
    Lines,
    /// One MessagePack map per binary frame.
    MsgPack,
}

/// What was asked for, understood.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) start: Start,
    pub(super) notices: bool,
    pub(super) format: Format,
    /// Whose entries; the live ones without.
    pub(super) snapshot: Option<String>,
    shape: Shape,
    hide_secrets: bool,
    projection: Option<Arc<Projection>>,
}

impl StreamQuery {
    /// The filter, where it is in the query.
    pub(super) fn filter(&self) -> Option<&str> {
        self.q.as_deref().or(self.kfl.as_deref())
    }

    /// Which form of entries, where the route leaves it open.
    pub(super) fn shape(&self) -> Result<Shape, String> {
        match self.view.as_deref() {
            None | Some("full") => Ok(Shape::Full),
            Some("base") => Ok(Shape::Base),
            Some(other) => Err(format!("view {other:?} is unknown; there are full and base")),
        }
    }

    /// Understands the rest; an error is a sentence for the caller.
    pub(super) fn understand(&self, shape: Shape, hide_secrets: bool) -> Result<Wanted, String> {
        let notices = self.notices.as_deref();
        let format = match self.format.as_deref() {
            None | Some("json") => Format::Json,
            Some("jsonl") => Format::Lines,
            Some("msgpack") => Format::MsgPack,
            Some(other) => {
                return Err(format!("format {other:?} is unknown; there are json, jsonl and msgpack"));
            }
        };
        let projection = self.fields.as_deref().map(|fields| Projection::parse(fields, shape));
        Ok(Wanted {
            start: self.from.as_deref().map_or(Ok(Start::Now), start)?,
            notices: notices.is_some_and(|value| value != "0" && value != "false"),
            format,
            snapshot: self.snapshot.clone().filter(|name| !name.is_empty()),
            shape,
            hide_secrets,
            projection: projection.transpose().map_err(|error| error.to_string())?.map(Arc::new),
        })
    }
}

impl Wanted {
    /// How entries of a filter are written.
    pub(super) fn look(&self, filter: &Filter) -> Look {
        let encoding = if self.format == Format::MsgPack { Encoding::MsgPack } else { Encoding::Json };
        Look::new(self.shape, self.hide_secrets)
            .redacting(filter)
            .with_projection(self.projection.clone())
            .with_encoding(encoding)
    }
}

/// `now`, `seq:N`, a number (of an entry, or milliseconds since 1970), or a moment of RFC 3339.
fn start(text: &str) -> Result<Start, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(Start::Now);
    }
    if let Some(number) = text.strip_prefix("seq:").and_then(|number| number.parse().ok()) {
        return Ok(Start::Seq(number));
    }
    if let Ok(number) = text.parse::<u64>() {
        let moment = || Start::Moment(Timestamp(number.saturating_mul(1_000_000)));
        return Ok(if number < FIRST_MILLIS { Start::Seq(number) } else { moment() });
    }
    // In a query, an unescaped + of an offset arrives as a space.
    let moment = text.replace(' ', "+").parse::<jiff::Timestamp>().ok();
    let nanos = moment.and_then(|moment| u64::try_from(moment.as_nanosecond()).ok());
    nanos.map(|nanos| Start::Moment(Timestamp(nanos))).ok_or_else(|| {
        format!("from {text:?} is neither an entry's seq, nor RFC 3339, nor milliseconds, nor now")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_number_of_an_entry_a_moment_or_now() {
        assert_eq!(start("now"), Ok(Start::Now));
        assert_eq!(start("17"), Ok(Start::Seq(17)));
        assert_eq!(start("seq:2000000000000"), Ok(Start::Seq(2_000_000_000_000)));
        let moment = Start::Moment(Timestamp(1_700_000_000_000_000_000));
        for text in ["1700000000000", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20 01:00"] {
            assert_eq!(start(text), Ok(moment), "{text}");
        }
        for text in ["", "yesterday", "-1", "seq:", "seq:x", "1e9", "2023-11-14"] {
            assert!(start(text).is_err(), "{text}");
        }
    }
}
