//! The static and the dynamic table of HPACK (RFC 7541 2.3 and appendix A).
//!
//! A dynamic table that was joined late, or missed a header block, has entries that nobody here saw.
//! They lie below the ones that were seen, so those keep their right places, and every unseen entry has
//! a stable number: how far below the first one that was seen it lies.

use std::collections::VecDeque;
use std::sync::Arc;

/// What RFC 7541 4.1 adds to the octets of name and value.
const OVERHEAD: usize = 32;
/// Entries of the static table; the dynamic one follows.
const STATIC_LEN: usize = 61;
/// The size that both sides begin with (`SETTINGS_HEADER_TABLE_SIZE`).
const INITIAL_LIMIT: usize = 4096;

#[rustfmt::skip]
const STATIC: [(&str, &str); STATIC_LEN] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// A text of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// Of the static table.
    Fixed(&'static str),
    /// Shared by all entries that took it over by index: copying it costs nothing.
    Shared(Arc<str>),
}

impl Text {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// A header as a table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Text,
    pub(super) value: Text,
    /// Octets of name and value as they were sent.
    pub(super) octets: [usize; 2],
    /// The name is a placeholder.
    pub(super) unknown: bool,
}

/// What an index stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A header that is known.
    Known(Entry),
    /// A header that was not seen; the text is its placeholder.
    Unknown(Text),
}

/// The table of one direction.
#[derive(Debug)]
pub(super) struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    /// What the encoder allows itself; an assumption while entries are unseen.
    limit: usize,
    /// There may be entries below those that are known.
    unseen: bool,
    /// Entries added since the first unseen one was on top.
    added: usize,
}

impl Table {
    /// An empty table; `joined`: entries may have been added before.
    pub(super) fn new(joined: bool) -> Self {
        Self { entries: VecDeque::new(), size: 0, limit: INITIAL_LIMIT, unseen: joined, added: 0 }
    }

    /// A header block was missed: what is on top, and so every place, is not known any more.
    pub(super) fn lose(&mut self) {
        self.clear();
        self.unseen = true;
        self.added = 0;
    }

    /// What `index` stands for; 0 is no index.
    pub(super) fn get(&self, index: usize) -> Option<Found> {
        let above = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(above) {
            let octets = [name.len(), value.len()];
            let (name, value) = (Text::Fixed(name), Text::Fixed(value));
            return Some(Found::Known(Entry { name, value, octets, unknown: false }));
        }
        let place = above - STATIC_LEN;
        Some(match self.entries.get(place) {
            Some(entry) => Found::Known(entry.clone()),
            None => Found::Unknown(self.placeholder(place)),
        })
    }

    fn placeholder(&self, place: usize) -> Text {
        match place.checked_sub(self.added) {
            Some(depth) if self.unseen => Text::Shared(format!("[unknown {}]", depth + 1).into()),
            _ => Text::Fixed("[unknown]"),
        }
    }

    /// Adds an entry on top. `cap`: bytes that are kept at most, whatever the peers agreed on.
    pub(super) fn add(&mut self, entry: Entry, cap: usize) {
        let size = entry.octets[0].saturating_add(entry.octets[1]).saturating_add(OVERHEAD);
        if size > self.limit.max(if self.unseen { cap } else { 0 }) {
            // RFC 7541 4.4: it empties the table and is not added.
            self.clear();
            return;
        }
        self.added = self.added.saturating_add(1);
        self.size = self.size.saturating_add(size);
        self.entries.push_front(entry);
        self.shrink(cap);
    }

    /// The encoder says how large the table may be from now on.
    pub(super) fn resize(&mut self, limit: usize, cap: usize) {
        self.limit = limit;
        if limit == 0 {
            // Now it is certain what is in the table: nothing.
            self.clear();
            self.unseen = false;
        }
        self.shrink(cap);
    }

    /// Where unseen entries make the limit an assumption, keeping more than it says does no harm: an
    /// encoder never names what it has evicted.
    fn shrink(&mut self, cap: usize) {
        let allowed = if self.unseen { cap } else { self.limit.min(cap) };
        while self.size > allowed {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= oldest.octets[0] + oldest.octets[1] + OVERHEAD;
            self.unseen |= cap < self.limit;
        }
    }

    /// Bytes of the entries as RFC 7541 4.1 counts them.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.size = 0;
    }
}
