//! Which values are secrets.

use std::borrow::Cow;

/// What a reader may not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redaction {
    /// Everything is shown.
    #[default]
    None,
    /// Secrets are replaced by [`REDACTED`], payloads (see `Protocol::payloads`) are left empty.
    Secrets,
}

impl From<bool> for Redaction {
    /// Whether secrets are hidden.
    fn from(hide_secrets: bool) -> Self {
        if hide_secrets { Self::Secrets } else { Self::None }
    }
}

/// What stands in place of a secret.
pub const REDACTED: &str = "[REDACTED]";

/// Names (ignoring case) whose values are secrets, wherever they stand in a message.
pub const SENSITIVE_NAMES: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "api_key",
    "apikey",
    "x-amz-credential",
    "sid",
    "sessionid",
    "session_id",
    "jwt",
    "pass",
    "pwd",
    "otp",
];

/// Names (ignoring case) whose values are secrets in a query string; elsewhere these words are harmless.
pub const SENSITIVE_PARAMETERS: &[&str] = &["auth", "code", "key", "pin", "sig", "state", "variables"];

/// Parts of names (ignoring case) whose values are secrets.
pub const SENSITIVE_PARTS: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "signature",
    "private-key",
    "private_key",
];

/// Whether the value under `name` is a secret.
pub(super) fn is_sensitive(name: &str) -> bool {
    // A header whose name HPACK could not tell (`[unknown 3]`) may be any, credentials included.
    name.starts_with("[unknown")
        || SENSITIVE_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
        || SENSITIVE_PARTS.iter().any(|part| contains_ignore_case(name, part))
}

/// Whether the value of a query parameter is a secret.
pub(super) fn is_sensitive_parameter(name: &str) -> bool {
    is_sensitive(name) || SENSITIVE_PARAMETERS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether the map under `name` holds query parameters.
pub(super) fn is_parameter_map(name: &str) -> bool {
    name == "queryString"
}

/// Whether all values of the map under `name` are secrets.
pub(super) fn is_secret_map(name: &str) -> bool {
    name == "cookies"
}

fn contains_ignore_case(text: &str, part: &str) -> bool {
    text.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

/// A text with the secret values of a query string in it replaced (URLs in targets and headers), and the
/// password of `scheme://user:password@host`.
pub(super) fn without_query_secrets(text: &str) -> Cow<'_, str> {
    let Some((front, query)) = text.split_once('?') else { return without_user_info(text) };
    let (query, fragment) = query.split_once('#').map_or((query, None), |(query, rest)| (query, Some(rest)));
    let secret = |pair: &str| pair.split_once('=').is_some_and(|(name, _)| is_sensitive_parameter(name));
    if !query.split('&').any(secret) && fragment.is_none_or(|rest| !rest.split('&').any(secret)) {
        return match without_user_info(front) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(front) => Cow::Owned(format!("{front}?{query}")),
        };
    }
    let mut out = format!("{}?", without_user_info(front));
    hide_pairs(&mut out, query);
    if let Some(fragment) = fragment {
        out.push('#');
        hide_pairs(&mut out, fragment);
    }
    Cow::Owned(out)
}

fn hide_pairs(out: &mut String, pairs: &str) {
    for (index, pair) in pairs.split('&').enumerate() {
        if index > 0 {
            out.push('&');
        }
        match pair.split_once('=') {
            Some((name, _)) if is_sensitive_parameter(name) => {
                out.push_str(name);
                out.push('=');
                out.push_str(REDACTED);
            }
            _ => out.push_str(pair),
        }
    }
}

fn without_user_info(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else { return Cow::Borrowed(text) };
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    match authority.rfind('@') {
        Some(end) => Cow::Owned(format!("{scheme}://{REDACTED}{}", &rest[end..])),
        None => Cow::Borrowed(text),
    }
}
