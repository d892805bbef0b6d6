//! Stored entries and tokens, as the API asks for them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::api::schema::{NewToken, TokenInfo};
use crate::api::{Caller, ControlError, History, Page, Tokens};
use crate::config::Role;
use crate::engine::kfl::Filter;
use crate::engine::model::{Entry, EntryId};
use crate::runtime::clock;
use crate::store::{Reader, Store, StoreError, TokenId};

/// Entries that one page looks at before it answers with what it has: bounds the time of a search that
/// matches nothing. The caller goes on from `next`.
const MAX_LOOKED_AT: u64 = 200_000;

/// The API's view of the store.
#[derive(Debug)]
pub(super) struct StoredHistory(pub(super) Reader);

impl History for StoredHistory {
    fn newest_first(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Page, ControlError> {
        let mut page = Page::default();
        let mut looked_at = 0;
        self.0
            .newest_first(
                before,
                &mut |entry| {
                    looked_at += 1;
                    let seq = entry.seq;
                    if filter.matches(&entry) {
                        page.entries.push(entry);
                    }
                    if page.entries.len() >= limit || looked_at >= MAX_LOOKED_AT {
                        page.next = Some(seq);
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                },
                None,
            )
            .map_err(failed)?;
        Ok(page)
    }

    fn get(&self, id: &EntryId) -> Result<Option<Arc<Entry>>, ControlError> {
        self.0.get(id).map_err(failed)
    }
}

/// Stands in where storing is switched off.
#[derive(Debug)]
pub(super) struct NoHistory;

impl History for NoHistory {
    fn newest_first(&self, _: &Filter, _: Option<u64>, _: usize) -> Result<Page, ControlError> {
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
