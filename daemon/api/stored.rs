//! The store, as the routes use it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::access::{Caller, Role};
use super::control::{ControlError, History, Page, Tokens};
use super::schema::{NewToken, TokenInfo};
use crate::engine::kfl::Filter;
use crate::engine::model::{Entry, EntryId};
use crate::runtime::clock;
use crate::store::{self, Reader, Store, StoreError, TokenId};

/// How long one page is searched for; then what was found is shown, with a cursor to go on from.
const SEARCH_TIME: Duration = Duration::from_secs(5);

/// Bytes of bodies that a page may gather; it is written out while they are in memory.
const PAGE_BYTES: u64 = 64 << 20;

impl History for Reader {
    fn newest_first(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Page, ControlError> {
        let started = Instant::now();
        let mut page = Page::default();
        if limit == 0 {
            return Ok(page);
        }
        let mut bytes = 0;
        let mut visit = |entry: Arc<Entry>| {
            let (seq, matches) = (entry.seq, filter.matches(&entry));
            if matches {
                bytes += entry.request_size + entry.response_size;
                page.entries.push(entry);
            }
            if page.entries.len() >= limit || bytes > PAGE_BYTES || started.elapsed() > SEARCH_TIME {
                page.next = Some(seq);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        Reader::newest_first(self, before, &mut visit, None).map_err(|error| failed(&error))?;
        Ok(page)
    }

    fn get(&self, id: &EntryId) -> Result<Option<Arc<Entry>>, ControlError> {
        Reader::get(self, id).map_err(|error| failed(&error))
    }
}

impl Tokens for Store {
    fn verify(&self, token: &str) -> Option<Caller> {
        let info = self.token_check(token)?;
        Some(Caller { name: format!("token {}", info.name), role: info.role })
    }

    fn list(&self) -> Result<Vec<TokenInfo>, ControlError> {
        Ok(self.token_list().iter().map(shown).collect())
    }

    fn create(&self, name: &str, role: Role, lifetime: Option<Duration>) -> Result<NewToken, ControlError> {
        let expires = lifetime.map(|lifetime| clock::now().plus(lifetime));
        match self.token_create(name, role, expires) {
            Ok(made) => Ok(NewToken { token: made.text, info: shown(&made.info) }),
            Err(error @ StoreError::TokenRefused { .. }) => Err(ControlError::Invalid(error.to_string())),
            Err(error) => Err(failed(&error)),
        }
    }

    fn revoke(&self, id: &str) -> Result<bool, ControlError> {
        let known = self.token_list();
        let mut named = known.iter().filter(|token| token.name == id);
        let wanted = match (id.parse().map(TokenId), named.next(), named.next()) {
            (Ok(number), ..) if known.iter().any(|token| token.id == number) => number,
            (_, Some(token), None) => token.id,
            (_, Some(_), Some(_)) => {
                return Err(ControlError::Conflict(format!("several tokens are named {id:?}; revoke by id")));
            }
            _ => return Ok(false),
        };
        match self.token_revoke(wanted) {
            Ok(()) => Ok(true),
            Err(StoreError::UnknownToken { .. }) => Ok(false),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn shown(token: &store::TokenInfo) -> TokenInfo {
    TokenInfo {
        id: token.id.to_string(),
        name: token.name.clone(),
        role: token.role,
        created_at: clock::rfc3339(token.created),
        expires_at: token.expires.map(clock::rfc3339),
    }
}

fn failed(error: &StoreError) -> ControlError {
    ControlError::Internal(error.to_string())
}
