//! Bearer tokens: made once, kept as hashes, checked in constant time.
//!
//! A token is 256 random bits, so a plain SHA-256 protects it: there is nothing to guess, and a
//! slow password hash would only slow the API down.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redb::{ReadTransaction, ReadableTable as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::database::TOKENS;
use super::{Store, StoreError};
use crate::config::Role;
use crate::engine::model::Timestamp;
use crate::runtime::clock;

/// Begins every token, so that secret scanners find one that leaked.
const PREFIX: &str = "rmr_";
/// Random bytes in a token.
const SECRET_BYTES: usize = 32;
/// Tokens at a time: every check looks at all of them.
const MAX_TOKENS: usize = 1000;
/// Longest name, bytes.
const MAX_NAME: usize = 128;

/// Number of a token, shown in lists and used to revoke it. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub u64);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A token as it is kept: everything but the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its number.
    pub id: TokenId,
    /// What it is for, as whoever made it wrote.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is refused; `None` for never.
    pub expires: Option<Timestamp>,
    hash: [u8; 32],
}

impl TokenInfo {
    /// Whether it is no longer accepted at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl fmt::Debug for TokenInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenInfo")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A token just made: the only time that its text exists.
pub struct NewToken {
    /// To be given to its bearer.
    pub text: String,
    /// What is kept.
    pub info: TokenInfo,
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken").field("info", &self.info).finish_non_exhaustive()
    }
}

/// All tokens in memory; replaced whole, so a check takes no lock.
#[derive(Debug)]
pub(super) struct Tokens {
    all: ArcSwap<Vec<TokenInfo>>,
    // Makes changes one at a time, so that file and memory agree.
    changing: Mutex<()>,
}

impl Tokens {
    pub(super) fn new(all: Vec<TokenInfo>) -> Self {
        Self { all: ArcSwap::from_pointee(all), changing: Mutex::new(()) }
    }
}

impl Store {
    /// Makes a token, durable on return and valid at once.
    pub fn token_create(
        &self,
        name: &str,
        role: Role,
        expires: Option<Timestamp>,
    ) -> Result<NewToken, StoreError> {
        let refuse = |reason: String| StoreError::TokenRefused { reason };
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(refuse(format!("its name must have 1 to {MAX_NAME} bytes of printable text")));
        }
        let tokens = &self.shared.tokens;
        let _one_at_a_time = tokens.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let present = tokens.all.load_full();
        if present.len() >= MAX_TOKENS {
            return Err(refuse(format!("there are {MAX_TOKENS} already; revoke some first")));
        }
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)
            .map_err(|error| refuse(format!("the kernel gave no random bytes: {error}")))?;
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        let info = TokenInfo {
            id: TokenId(self.next_token_id()?),
            name: name.to_owned(),
            role,
            created: clock::now(),
            expires,
            hash: hash(&text),
        };
        let bytes = rmp_serde::to_vec_named(&info)
            .map_err(|error| StoreError::Encode { what: "a token", reason: error.to_string() })?;
        self.change_tokens(info.id, Some(&bytes))?;
        tokens.all.store(Arc::new(present.iter().cloned().chain([info.clone()]).collect()));
        Ok(NewToken { text, info })
    }

    /// All tokens, oldest first, expired ones included.
    pub fn token_list(&self) -> Vec<TokenInfo> {
        self.shared.tokens.all.load().as_ref().clone()
    }

    /// Removes a token, durable on return and refused at once.
    pub fn token_revoke(&self, id: TokenId) -> Result<(), StoreError> {
        let tokens = &self.shared.tokens;
        let _one_at_a_time = tokens.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let present = tokens.all.load_full();
        if !present.iter().any(|token| token.id == id) {
            return Err(StoreError::UnknownToken { id: id.0 });
        }
        // From memory first: should the disk refuse, the token is out of use at least until a restart.
        tokens.all.store(Arc::new(present.iter().filter(|token| token.id != id).cloned().collect()));
        self.change_tokens(id, None)
    }

    /// Whom a token's text stands for; `None` when it is unknown, revoked or expired. Takes the
    /// same time whichever token matches, or none.
    pub fn token_check(&self, text: &str) -> Option<TokenInfo> {
        let given = hash(text);
        let tokens = self.shared.tokens.all.load();
        let mut found = None;
        for token in tokens.iter() {
            if same(&token.hash, &given) {
                found = Some(token);
            }
        }
        found.filter(|token| !token.is_expired(clock::now())).cloned()
    }

    /// One more than any id ever given: the highest is kept in the meta table.
    fn next_token_id(&self) -> Result<u64, StoreError> {
        let txn = self.shared.begin_read()?;
        let meta = txn.open_table(super::database::META).map_err(StoreError::failed("number a token"))?;
        let last = meta.get(META_LAST_TOKEN).map_err(StoreError::failed("number a token"))?;
        Ok(last.map_or(0, |last| last.value()) + 1)
    }

    fn change_tokens(&self, id: TokenId, bytes: Option<&[u8]>) -> Result<(), StoreError> {
        let failed = "write a token";
        let txn = self.shared.begin_write()?;
        {
            let mut table = txn.open_table(TOKENS).map_err(StoreError::failed(failed))?;
            match bytes {
                Some(bytes) => {
                    table.insert(id.0, bytes).map_err(StoreError::failed(failed))?;
                    let mut meta =
                        txn.open_table(super::database::META).map_err(StoreError::failed(failed))?;
                    meta.insert(META_LAST_TOKEN, id.0).map_err(StoreError::failed(failed))?;
                }
                None => drop(table.remove(id.0).map_err(StoreError::failed(failed))?),
            }
        }
        txn.commit().map_err(StoreError::failed(failed))
    }
}

/// Highest token id ever given.
const META_LAST_TOKEN: &str = "last_token";

/// Reads all tokens when the store is opened.
pub(super) fn read_all(txn: &ReadTransaction, path: &Path) -> Result<Vec<TokenInfo>, StoreError> {
    let table = txn.open_table(TOKENS).map_err(StoreError::failed("read the tokens"))?;
    let mut tokens = Vec::new();
    for row in table.iter().map_err(StoreError::failed("read the tokens"))? {
        let (id, bytes) = row.map_err(StoreError::failed("read the tokens"))?;
        let token = rmp_serde::from_slice(bytes.value()).map_err(|error| StoreError::Corrupt {
            path: path.to_owned(),
            reason: format!("token {}: {error}", id.value()),
        })?;
        tokens.push(token);
    }
    Ok(tokens)
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Compares without an early end; `black_box` keeps the compiler from adding one.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left.iter().zip(right).fold(0, |bits, (left, right)| bits | (left ^ right));
    std::hint::black_box(difference) == 0
}
