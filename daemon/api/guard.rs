//! Lets requests through: Host and Origin first, then identity and role.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;

use super::access::{Access, Caller, Role};
use super::fault::Fault;
use super::peer::{Peer, Transport};
use super::routes::Api;
use super::throttle;
use crate::telemetry::Metric;

/// Longest bearer token looked at. Ours have about 50 characters.
const MAX_TOKEN: usize = 512;

/// Checks that a browser was not lured here: the Host must be one of this daemon's names (DNS
/// rebinding), the Origin the same or a configured one. Requests over the unix socket never come from
/// a browser.
pub(super) async fn check_site(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Fault> {
    api.metrics.add(Metric::ApiRequests, 1);
    if let Transport::Tcp { local, tls, .. } = peer.transport {
        let checked = site_of(request.headers(), request.uri().authority().map(Authority::as_str))
            .and_then(|host| check(&api.access, request.headers(), &host, local.ip().to_canonical(), tls));
        if let Err(fault) = checked {
            api.metrics.add(Metric::ApiDenied, 1);
            return Err(fault);
        }
    }
    Ok(next.run(request).await)
}

/// The request's Host, in lower case, with its port.
fn site_of(headers: &HeaderMap, authority: Option<&str>) -> Result<String, Fault> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).or(authority);
    if hosts.next().is_some() {
        return Err(Fault::bad_request("more than one Host header"));
    }
    host.map(str::to_ascii_lowercase)
        .ok_or_else(|| Fault::bad_request("the Host header is missing or not text"))
}

fn check(access: &Access, headers: &HeaderMap, host: &str, own: IpAddr, tls: bool) -> Result<(), Fault> {
    let name = without_port(host);
    if !is_own_name(access, name, own) {
        return Err(Fault::forbidden(format!(
            "{name:?} is not a name of this daemon; use its address, or add the name to listen.allowed-hosts"
        )));
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    if let Some(origin) = origins.next() {
        let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        let scheme = if tls { "https" } else { "http" };
        if origins.next().is_some()
            || (origin != format!("{scheme}://{host}") && !access.knows_origin(&origin))
        {
            return Err(Fault::forbidden(format!(
                "pages of {origin:?} may not call; add it to listen.allowed-origins to allow it"
            )));
        }
        return Ok(());
    }
    // Requests that a foreign page makes without Origin (images, scripts) say where they come from.
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let foreign = matches!(text("sec-fetch-site"), "cross-site" | "same-site");
    if foreign && text("sec-fetch-mode") != "navigate" {
        return Err(Fault::forbidden("pages of other sites may not call"));
    }
    Ok(())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // An IPv6 address ends in `]` when no port follows.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_own_name(access: &Access, name: &str, own: IpAddr) -> bool {
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if let Ok(ip) = literal.parse::<IpAddr>() {
        let ip = ip.to_canonical();
        return ip.is_loopback() || ip == own || access.knows_host(literal);
    }
    // RFC 6761: localhost and what ends in it never leave the host.
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost") || access.knows_host(name)
}

/// Answers only callers that have `least` or a higher role; others learn why and what to do.
pub(super) async fn require(
    State((api, least)): State<(Arc<Api>, Role)>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Result<Response, Fault> {
    let token = token_of(&request);
    match identify(&api, &peer, token).await.and_then(|caller| allow(caller, least)) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            Ok(next.run(request).await)
        }
        Err(fault) => {
            api.metrics.add(Metric::ApiDenied, 1);
            Err(fault)
        }
    }
}

fn allow(caller: Caller, least: Role) -> Result<Caller, Fault> {
    if caller.role >= least {
        return Ok(caller);
    }
    Err(Fault::forbidden(format!("{} is {}; this needs the role {least}", caller.name, caller.role)))
}

async fn identify(
    api: &Arc<Api>,
    peer: &Peer,
    token: Result<Option<String>, Fault>,
) -> Result<Caller, Fault> {
    match token? {
        Some(token) => by_token(api, peer, token).await,
        None => peer.local.clone().ok_or_else(|| nobody(peer)),
    }
}

/// The bearer token: in the Authorization header, or, for websockets, which browsers cannot give a
/// header, in the query.
fn token_of(request: &Request) -> Result<Option<String>, Fault> {
    let token = match request.headers().get(header::AUTHORIZATION) {
        Some(value) => {
            let text = value.to_str().unwrap_or_default();
            let Some((scheme, token)) = text.split_once(' ') else {
                return Err(Fault::unauthorized("the Authorization header must be `Bearer TOKEN`"));
            };
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(Fault::unauthorized("the Authorization header must be `Bearer TOKEN`"));
            }
            Some(token.trim().to_owned())
        }
        None if is_websocket(request) => {
            let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(request.uri());
            let pairs = pairs.map(|query| query.0).unwrap_or_default();
            pairs.into_iter().find(|(key, _)| key == "token").map(|(_, token)| token)
        }
        None => None,
    };
    match token {
        Some(token) if token.len() > MAX_TOKEN => Err(Fault::unauthorized("that is no token")),
        token => Ok(token),
    }
}

fn is_websocket(request: &Request) -> bool {
    let upgrade =
        request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    request.method() == Method::GET && upgrade.eq_ignore_ascii_case("websocket")
}

async fn by_token(api: &Arc<Api>, peer: &Peer, token: String) -> Result<Caller, Fault> {
    if !peer.tokens {
        return Err(Fault::forbidden("tokens are accepted over TLS or from this host only"));
    }
    if !api.throttle.allows(peer.address()) {
        return Err(Fault::too_many("too many wrong tokens from this address; try again in a minute"));
    }
    let tokens = Arc::clone(&api.tokens);
    let verified = tokio::task::spawn_blocking(move || tokens.verify(&token)).await;
    let verified =
        verified.map_err(|error| Fault::internal(format!("the token could not be checked: {error}")))?;
    if let Some(caller) = verified {
        return Ok(caller);
    }
    api.throttle.failed(peer.address());
    tokio::time::sleep(throttle::DELAY).await;
    Err(Fault::unauthorized("the token is not known; `remora token list` shows those that are"))
}

/// Why a connection without token and without a local user's role gets nothing.
fn nobody(peer: &Peer) -> Fault {
    match peer.uid {
        Some(uid) => Fault::forbidden(format!(
            "uid {uid} has no role; join group remora (`usermod -aG remora USER`), run as root, or send a token"
        )),
        None => Fault::unauthorized(
            "a token is needed: `remora token create NAME --role viewer` as root on that host",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AccessConfig;

    fn checked(headers: &[(&'static str, &'static str)]) -> Result<(), Fault> {
        let hosts = vec!["Remora.example".to_owned()];
        let origins = vec!["https://dash.example".to_owned()];
        let access = Access::new(AccessConfig { hosts, origins, ..AccessConfig::default() });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let host = site_of(&map, None)?;
        check(&access, &map, &host, "192.0.2.7".parse().unwrap(), false)
    }

    #[test]
    fn own_names_and_addresses_are_accepted() {
        for host in [
            "localhost",
            "LOCALHOST:8899",
            "a.localhost",
            "127.0.0.1:8899",
            "127.9.9.9",
            "[::1]:8899",
            "[::1]",
            "192.0.2.7:1",
            "remora.example:443",
        ] {
            assert!(checked(&[("host", host)]).is_ok(), "{host}");
        }
    }

    #[test]
    fn foreign_names_are_refused_as_rebinding() {
        for host in
            ["evil.example", "localhost.evil.example", "192.0.2.8", "127.0.0.1.evil.example", "", "[::2]:1"]
        {
            assert!(checked(&[("host", host)]).is_err(), "{host}");
        }
        assert!(checked(&[]).is_err());
        assert!(checked(&[("host", "localhost"), ("host", "localhost")]).is_err());
    }

    #[test]
    fn only_own_and_configured_origins_may_call() {
        let host = ("host", "127.0.0.1:8899");
        for origin in ["http://127.0.0.1:8899", "https://dash.example"] {
            assert!(checked(&[host, ("origin", origin)]).is_ok(), "{origin}");
        }
        for origin in ["null", "", "http://localhost:8899", "https://127.0.0.1:8899", "http://127.0.0.1:80"] {
            assert!(checked(&[host, ("origin", origin)]).is_err(), "{origin}");
        }
        assert!(checked(&[host, ("origin", "https://dash.example"), ("origin", "null")]).is_err());
    }

    #[test]
    fn pages_of_other_sites_may_link_here_but_not_load_from_here() {
        let host = ("host", "127.0.0.1:8899");
        assert!(checked(&[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]).is_err());
        assert!(checked(&[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]).is_ok());
        assert!(checked(&[host, ("sec-fetch-site", "none")]).is_ok());
    }
}
