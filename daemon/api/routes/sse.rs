//! `GET /api/v1/stream`: the stream as server-sent events, for `curl` and `EventSource`.
//!
//! Each entry is an event whose `id` is its `seq`; a client that comes back with `Last-Event-ID` goes on
//! behind it. Notices are events of type `notice`; a reached `limit(n)` and a failure are told as `end`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::feed::{Feed, FeedError, Start};
use super::wanted::{Format, StreamQuery};
use super::{Api, Lifetime, blocking};
use crate::api::access::{Caller, hides_secrets};
use crate::api::fault::Fault;
use crate::tap::{Item, Look};

/// Silence after which a comment is sent, as pings are on websockets.
const COMMENT_EVERY: Duration = Duration::from_secs(25);

/// How long a client may take nothing at all before it is given up.
const STALL: Duration = Duration::from_secs(600);

/// Bytes gathered before they are handed over while more is ready.
const CHUNK: usize = 64 << 10;

/// Chunks between the stream and the connection: one is written while the next is gathered.
const CHUNKS: usize = 1;

pub(super) async fn stream(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(lifetime): Extension<Lifetime>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let shape = query.shape().map_err(Fault::bad_request)?;
    let wanted = query.understand(shape, hides_secrets(caller.role)).map_err(Fault::bad_request)?;
    if wanted.format != Format::Json {
        return Err(Fault::bad_request("server-sent events hold JSON; other formats are on /api/wsFull"));
    }
    let filter = api.parse(query.filter().unwrap_or_default());
    let filter = filter.map_err(|error| Fault::bad_request(error.to_string()))?;
    let look = wanted.look(&filter);
    let start = last_event(&headers)?.map_or(wanted.start, |last| Start::Seq(last.saturating_add(1)));
    let frozen = match wanted.snapshot.clone() {
        Some(name) => {
            let api = Arc::clone(&api);
            Some(blocking(move || api.history_of(Some(&name))).await??)
        }
        None => None,
    };
    let feed =
        Feed::open(Arc::clone(&api), filter, start, wanted.notices, frozen).map_err(|error| match error {
            FeedError::History(error) => Fault::from(error),
            FeedError::Tap(error) => Fault::unavailable(error.to_string()),
        })?;
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::spawn(Sending { feed, look, sender, lifetime }.run());
    let chunks = futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<Bytes>| async {
        receiver.recv().await.map(|chunk| (Ok::<_, std::convert::Infallible>(chunk), receiver))
    });
    let head = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies of nginx's kind would gather the events otherwise.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((head, Body::from_stream(chunks)).into_response())
}

/// The number of the last event that the client has, which wins over `from`: browsers repeat the first
/// URL when they come back.
fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || Fault::bad_request("Last-Event-ID is the id of an event of this stream: a number");
    text.parse().map(Some).map_err(|_| wrong())
}

/// Writes events until either side ends.
struct Sending {
    feed: Feed,
    look: Look,
    sender: mpsc::Sender<Bytes>,
    lifetime: Lifetime,
}

impl Sending {
    async fn run(mut self) {
        // At once, so that the client sees the head before the first call happens.
        let mut chunk = String::from(": entries follow\n\n");
        loop {
            if !self.hand_over(std::mem::take(&mut chunk)).await {
                return;
            }
            let item = tokio::select! {
                () = self.lifetime.shutdown.wait() => return,
                () = self.sender.closed() => return,
                item = timeout(COMMENT_EVERY, self.feed.next()) => item,
            };
            match item {
                Err(_) => chunk.push_str(": still here\n\n"),
                Ok(Ok(Some(item))) => self.gather(item, &mut chunk),
                Ok(Ok(None)) => {
                    return self.end("that was all: the snapshot or the filter's limit() ends here").await;
                }
                Ok(Err(error)) => return self.end(&error.to_string()).await,
            }
        }
    }

    /// An item and all that is ready after it and fits.
    fn gather(&mut self, first: Item, chunk: &mut String) {
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Item::Entry(observed) => {
                    let frame = observed.frame(&self.look);
                    let text = std::str::from_utf8(&frame).unwrap_or("{}");
                    // Writing into a String cannot fail. JSON on one line needs no escaping here.
                    let _ok = write!(chunk, "id: {}\ndata: {text}\n\n", observed.entry().seq);
                }
                Item::Notice(notice) => {
                    let _ok = write!(chunk, "event: notice\ndata: {}\n\n", notice.json());
                }
            }
            next = if chunk.len() < CHUNK { self.feed.try_next() } else { None };
        }
    }

    async fn end(&mut self, reason: &str) {
        let reason = serde_json::json!({ "reason": reason });
        self.hand_over(format!("event: end\ndata: {reason}\n\n")).await;
    }

    /// Whether the client took it.
    async fn hand_over(&mut self, chunk: String) -> bool {
        let sent = timeout(STALL, self.sender.send(chunk.into()));
        tokio::select! {
            sent = sent => matches!(sent, Ok(Ok(()))),
            () = self.lifetime.shutdown.wait() => false,
        }
    }
}
