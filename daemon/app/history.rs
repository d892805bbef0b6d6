//! Stored entries and tokens, as the API asks for them.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::schema::{NewToken, TokenInfo};
use crate::api::{Caller, ControlError, Gathered, History, Hole, Page, Scope, Span, Stored, Stretch, Tokens};
use crate::config::Role;
use crate::engine::kfl::{FieldReader, Filter};
use crate::engine::model::{Entry, EntryId, Timestamp};
use crate::runtime::clock;
use crate::store::{Grouping, Reader, Search, Statistics, Store, StoreError, TokenId, Topology, ZoneMap};

/// Time that the search for one page takes before it answers with what it has. The caller goes on from
/// `next`.
const PAGE_TIME: Duration = Duration::from_secs(5);

/// Time that counting takes before it answers for the newest calls alone.
const COUNT_TIME: Duration = Duration::from_secs(20);

/// Entries of a stretch of a stream's history: what one stream holds in memory at a time.
const STRETCH_ENTRIES: usize = 512;

/// Bytes of their messages.
const STRETCH_BYTES: u64 = 4 << 20;

/// Entries that one stretch looks at: a stream that ends meanwhile is waited for no longer.
const STRETCH_LOOKED_AT: usize = 50_000;

/// The API's view of the store.
#[derive(Debug)]
pub(super) struct StoredHistory(pub(super) Reader);

impl History for StoredHistory {
    fn newest_first(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Page, ControlError> {
        let mut search = Search::new(filter.clone());
        search.before = before.unwrap_or(u64::MAX);
        search.at_most = limit;
        search.deadline = Some(Instant::now() + PAGE_TIME);
        let mut page = Page::default();
        let mut is_full = limit == 0;
        let next = self.0.search(
            &Arc::new(search),
            |entries| entries,
            |found| {
                page.entries.extend(found.value.into_iter().take(limit - page.entries.len()));
                is_full = page.entries.len() >= limit;
                if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        page.next = next.map_err(failed)?;
        if is_full {
            page.next = page.entries.last().map(|entry| entry.seq);
        }
        Ok(page)
    }

    fn oldest_first(&self, filter: &Filter, span: Span) -> Result<Stretch, ControlError> {
        let mut gathering = Gathering::new(filter, span);
        let mut visit = |entry| gathering.visit(entry);
        // Only before the first: in between, a block passed over would look like a hole.
        let first = Cell::new(span.from <= 1);
        let skip = |zone: &ZoneMap| {
            first.set(first.get() && zone.latest < span.since);
            first.get()
        };
        self.0.oldest_first(span.from, span.until, &mut visit, &skip).map_err(failed)?;
        Ok(gathering.finish())
    }

    fn newest_seq(&self) -> Result<u64, ControlError> {
        Ok(self.0.last_seq())
    }

    fn statistics(&self, scope: Scope, grouping: Grouping) -> Result<Gathered<Statistics>, ControlError> {
        let search = scope_of(scope, grouping.by.clone());
        let mut value = Statistics::default();
        let count = move |entries: Vec<Arc<Entry>>| Statistics::of(&entries, &grouping);
        let next = self.0.search(&search, count, |found| {
            value.absorb(found.value);
            ControlFlow::Continue(())
        });
        Ok(Gathered { value, complete: next.map_err(failed)?.is_none() })
    }

    fn topology(&self, scope: Scope) -> Result<Gathered<Topology>, ControlError> {
        let search = scope_of(scope, Vec::new());
        let mut value = Topology::default();
        let count = |entries: Vec<Arc<Entry>>| Topology::of(&entries);
        let next = self.0.search(&search, count, |found| {
            value.absorb(found.value);
            ControlFlow::Continue(())
        });
        Ok(Gathered { value, complete: next.map_err(failed)?.is_none() })
    }

    fn get(&self, id: &EntryId) -> Result<Option<Arc<Entry>>, ControlError> {
        self.0.get(id).map_err(failed)
    }
}

/// What a look at the store, oldest first, has found so far.
struct Gathering<'a> {
    filter: &'a Filter,
    span: Span,
    stretch: Stretch,
    looked_at: usize,
    bytes: u64,
    last: Option<u64>,
}

impl<'a> Gathering<'a> {
    fn new(filter: &'a Filter, span: Span) -> Self {
        // Who asks for everything misses nothing at the beginning.
        let last = Some(span.from.saturating_sub(1)).filter(|last| *last > 0);
        let stretch = Stretch { found: Vec::new(), next: span.until.saturating_add(1) };
        Self { filter, span, stretch, looked_at: 0, bytes: 0, last }
    }

    fn visit(&mut self, entry: Arc<Entry>) -> ControlFlow<()> {
        let seq = entry.seq;
        if let Some(after) = self.last.filter(|last| seq > last + 1) {
            self.stretch.found.push(Stored::Hole(Hole { after, before: seq }));
        }
        self.last = Some(seq);
        self.looked_at += 1;
        if began(&entry) >= self.span.since && self.filter.matches(&entry) {
            self.bytes += entry.request_size + entry.response_size;
            self.stretch.found.push(Stored::Entry(entry));
        }
        let full = self.stretch.found.len() >= STRETCH_ENTRIES
            || self.bytes >= STRETCH_BYTES
            || self.looked_at >= STRETCH_LOOKED_AT;
        if full && seq < self.span.until {
            self.stretch.next = seq + 1;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn finish(mut self) -> Stretch {
        let Span { until, .. } = self.span;
        if let Some(after) = self.last.filter(|last| *last < until && self.stretch.next > until) {
            self.stretch.found.push(Stored::Hole(Hole { after, before: until.saturating_add(1) }));
        }
        self.stretch
    }
}

/// The first moment of a call that was seen.
fn began(entry: &Entry) -> Timestamp {
    let timing = &entry.timing;
    let moments = [timing.request_start, timing.request_end, timing.response_start, timing.response_end];
    moments.into_iter().find(|at| *at != Timestamp::ZERO).unwrap_or(Timestamp::ZERO)
}

/// A search for all calls of a scope, of which only the fields matter.
fn scope_of(scope: Scope, readers: Vec<FieldReader>) -> Arc<Search> {
    let mut search = Search::new(scope.filter);
    search.from = scope.from;
    search.to = scope.to;
    search.whole = false;
    search.readers = readers;
    search.deadline = Some(Instant::now() + COUNT_TIME);
    Arc::new(search)
}

/// Stands in where storing is switched off.
#[derive(Debug)]
pub(super) struct NoHistory;

impl History for NoHistory {
    fn newest_first(&self, _: &Filter, _: Option<u64>, _: usize) -> Result<Page, ControlError> {
        Err(ControlError::Unavailable(NOT_STORED.to_string()))
    }

    fn oldest_first(&self, _: &Filter, _: Span) -> Result<Stretch, ControlError> {
        Err(ControlError::Unavailable(NOT_STORED.to_string()))
    }

    fn newest_seq(&self) -> Result<u64, ControlError> {
        Err(ControlError::Unavailable(NOT_STORED.to_string()))
    }

    fn statistics(&self, _: Scope, _: Grouping) -> Result<Gathered<Statistics>, ControlError> {
        Err(ControlError::Unavailable(NOT_STORED.to_string()))
    }

    fn topology(&self, _: Scope) -> Result<Gathered<Topology>, ControlError> {
        Err(ControlError::Unavailable(NOT_STORED.to_string()))
    }

    fn get(&self, _: &EntryId) -> Result<Option<Arc<Entry>>, ControlError> {
        Err(ControlError::Unavailable(NOT_STORED.to_string()))
    }
}

const NOT_STORED: &str = "entries are not stored on this node; set store.enabled = true";

/// The API's view of the tokens.
#[derive(Debug)]
pub(super) struct StoredTokens(pub(super) Arc<Store>);

impl Tokens for StoredTokens {
    fn verify(&self, token: &str) -> Option<Caller> {
        let info = self.0.token_check(token)?;
        Some(Caller { name: format!("token {}", info.name), role: info.role })
    }

    fn list(&self) -> Result<Vec<TokenInfo>, ControlError> {
        Ok(self.0.token_list().into_iter().map(shown).collect())
    }

    fn create(&self, name: &str, role: Role, lifetime: Option<Duration>) -> Result<NewToken, ControlError> {
        let expires = lifetime.map(|lifetime| clock::now().plus(lifetime));
        let made = self.0.token_create(name, role, expires).map_err(failed)?;
        Ok(NewToken { token: made.text, info: shown(made.info) })
    }

    fn revoke(&self, id: &str) -> Result<bool, ControlError> {
        let listed = self.0.token_list();
        let found = listed.iter().find(|token| token.id.to_string() == id || token.name == id);
        let Some(token) = found else { return Ok(false) };
        self.0.token_revoke(TokenId(token.id.0)).map_err(failed)?;
        Ok(true)
    }
}

fn shown(token: crate::store::TokenInfo) -> TokenInfo {
    TokenInfo {
        id: token.id.to_string(),
        name: token.name,
        role: token.role,
        created_at: clock::rfc3339(token.created),
        expires_at: token.expires.map(clock::rfc3339),
    }
}

fn failed(error: StoreError) -> ControlError {
    ControlError::Internal(error.to_string())
}
