//! The live streams: `/api/ws` (base entries) and `/api/wsFull` (full entries).
//!
//! The contract is Kubeshark's: the first text frame is the filter, then each frame is one entry, until
//! either side closes. What is ours: `?q=` gives the filter at once, a further text frame replaces it,
//! a bad one is answered with close code 1008 whose reason holds position and error. The other
//! parameters are in `wanted` and docs/stream.md.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::SinkExt as _;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use super::feed::{Feed, FeedError, Start};
use super::wanted::{Format, StreamQuery, Wanted};
use super::{Api, Lifetime};
use crate::api::access::{Caller, hides_secrets};
use crate::api::control::{ControlError, History};
use crate::api::fault::Fault;
use crate::tap::{Item, Look, Shape};

/// Between pings, so that proxies and firewalls keep an idle stream open and dead peers are found.
const PING_EVERY: Duration = Duration::from_secs(25);

/// How long a client may take nothing at all before it is given up: long enough for a stopped
/// terminal, short enough for its memory to come back the same day.
const STALL: Duration = Duration::from_secs(600);

/// How long the close handshake may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of one frame from a client: a filter.
const MAX_FRAME: usize = 64 << 10;

/// Bytes written before the socket is flushed while more is ready.
const WRITE_BUFFER: usize = 64 << 10;

/// Bytes of a close reason (RFC 6455 section 5.5: 125 less the code).
const MAX_REASON: usize = 123;

pub(super) async fn base(
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
    query: Query<StreamQuery>,
    state: State<Arc<Api>>,
    caller: Extension<Caller>,
    lifetime: Extension<Lifetime>,
) -> Response {
    open(Shape::Base, upgrade, query.0, state.0, &caller.0, lifetime.0)
}

pub(super) async fn full(
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
    query: Query<StreamQuery>,
    state: State<Arc<Api>>,
    caller: Extension<Caller>,
    lifetime: Extension<Lifetime>,
) -> Response {
    open(Shape::Full, upgrade, query.0, state.0, &caller.0, lifetime.0)
}

fn open(
    shape: Shape,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
    query: StreamQuery,
    api: Arc<Api>,
    caller: &Caller,
    lifetime: Lifetime,
) -> Response {
    let Ok(upgrade) = upgrade else {
        let hint = "this is a websocket; try `wscat --connect ws://127.0.0.1:8899/api/wsFull`";
        return Fault::bad_request(hint).into_response();
    };
    let hide_secrets = hides_secrets(caller.role);
    let upgrade =
        upgrade.max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME).write_buffer_size(WRITE_BUFFER);
    upgrade.on_upgrade(move |socket| async move {
        let filter = query.filter().map(str::to_owned);
        let wanted = query.understand(shape, hide_secrets);
        let client = Client { socket, api, lifetime, pings: pings(), live: None };
        client.run(wanted, filter).await;
    })
}

fn pings() -> Interval {
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

/// Why the server ends a stream.
enum Ending {
    /// Tell the client this.
    Close(u16, String),
    /// The client is gone or closed.
    Gone,
}

struct Client {
    socket: WebSocket,
    api: Arc<Api>,
    lifetime: Lifetime,
    pings: Interval,
    live: Option<Live>,
}

/// A subscription and how its entries are written.
struct Live {
    feed: Feed,
    look: Look,
    format: Format,
}

enum Event {
    Received(Option<Result<Message, axum::Error>>),
    Item(Result<Option<Item>, FeedError>),
    Ping,
    Shutdown,
}

impl Client {
    async fn run(mut self, wanted: Result<Wanted, String>, filter: Option<String>) {
        let started = match (&wanted, filter) {
            (Err(reason), _) => Err(policy(reason.clone())),
            (Ok(wanted), Some(text)) => self.subscribe(&text, wanted),
            (Ok(wanted), None) => self.frozen(wanted).map(drop),
        };
        let ending = match (started, wanted) {
            (Ok(()), Ok(wanted)) => self.serve(wanted).await,
            (Err(ending), _) => ending,
            (_, Err(reason)) => policy(reason),
        };
        // No more entries: the queue's memory is free while the handshake lasts.
        self.live = None;
        if let Ending::Close(code, reason) = ending {
            self.close(code, &reason).await;
        }
    }

    async fn serve(&mut self, mut wanted: Wanted) -> Ending {
        loop {
            let event = tokio::select! {
                biased;
                () = self.lifetime.shutdown.wait() => Event::Shutdown,
                received = self.socket.recv() => Event::Received(received),
                _ = self.pings.tick() => Event::Ping,
                item = next(&mut self.live) => Event::Item(item),
            };
            let done = match event {
                Event::Received(Some(Ok(message))) => self.received(message, &mut wanted),
                Event::Received(_) => Err(Ending::Gone),
                Event::Ping => self.send(Message::Ping(bytes::Bytes::new())).await,
                Event::Shutdown => Err(Ending::Close(close_code::AWAY, "the daemon is stopping".to_owned())),
                Event::Item(Ok(Some(item))) => self.write(item).await,
                Event::Item(Err(error)) => Err(failed(&error)),
                Event::Item(Ok(None)) => Err(Ending::Close(
                    close_code::NORMAL,
                    "that was all: the snapshot or the filter's limit() ends here".to_owned(),
                )),
            };
            if let Err(ending) = done {
                return ending;
            }
        }
    }

    fn received(&mut self, message: Message, wanted: &mut Wanted) -> Result<(), Ending> {
        match message {
            Message::Text(text) => {
                // The history was asked for once: a filter that replaces another one is about what
                // happens from then on.
                if self.live.is_some() {
                    wanted.start = Start::Now;
                }
                self.subscribe(text.as_str(), wanted)
            }
            Message::Binary(_) => {
                Err(Ending::Close(close_code::UNSUPPORTED, "send the filter as a text frame".to_owned()))
            }
            Message::Close(_) => Err(Ending::Gone),
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        }
    }

    /// The entries of the snapshot that was asked for, if one was.
    fn frozen(&self, wanted: &Wanted) -> Result<Option<Arc<dyn History>>, Ending> {
        let Some(name) = &wanted.snapshot else { return Ok(None) };
        self.api.history_of(Some(name)).map(Some).map_err(|fault| policy(fault.to_string()))
    }

    /// Starts streaming what matches, or replaces the filter.
    fn subscribe(&mut self, text: &str, wanted: &Wanted) -> Result<(), Ending> {
        let filter = self.api.parse(text).map_err(|error| policy(error.short()))?;
        let look = wanted.look(&filter);
        let frozen = self.frozen(wanted)?;
        let feed = Feed::open(Arc::clone(&self.api), filter, wanted.start, wanted.notices, frozen);
        let feed = feed.map_err(|error| failed(&error))?;
        self.live = Some(Live { feed, look, format: wanted.format });
        Ok(())
    }

    /// Writes an item and all that is ready after it, then flushes once.
    async fn write(&mut self, first: Item) -> Result<(), Ending> {
        let mut next = Some(first);
        while let Some(item) = next {
            let Some(live) = &mut self.live else { break };
            let message = live.message(item)?;
            self.feed(message).await?;
            next = self.live.as_mut().and_then(|live| live.feed.try_next());
        }
        self.flush().await
    }

    async fn feed(&mut self, message: Message) -> Result<(), Ending> {
        let fed = timeout(STALL, self.socket.feed(message));
        tokio::select! {
            fed = fed => settled(fed),
            () = self.lifetime.shutdown.wait() => Err(Ending::Gone),
        }
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        let flushed = timeout(STALL, self.socket.flush());
        tokio::select! {
            flushed = flushed => settled(flushed),
            () = self.lifetime.shutdown.wait() => Err(Ending::Gone),
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Ending> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Says why and waits for the client's own close frame: closing the socket with unread data in it
    /// would make the kernel reset the connection before the reason arrives.
    async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code, reason: cut(reason).into() };
        let handshake = async {
            if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                while let Some(Ok(_)) = self.socket.recv().await {}
            }
        };
        let _late = timeout(CLOSE_PATIENCE, handshake).await;
        drop(self.lifetime.alive);
    }
}

async fn next(live: &mut Option<Live>) -> Result<Option<Item>, FeedError> {
    match live {
        Some(live) => live.feed.next().await,
        // No filter yet: wait as long as the client stays.
        None => std::future::pending().await,
    }
}

impl Live {
    /// The frame of an item; of lines, of all that are ready and fit.
    fn message(&mut self, item: Item) -> Result<Message, Ending> {
        if self.format != Format::Lines {
            return message_of(&item, &self.look, self.format);
        }
        let mut text = String::new();
        let mut next = Some(item);
        while let Some(item) = next {
            match item {
                Item::Entry(observed) => text.push_str(as_text(&observed.frame(&self.look))?),
                Item::Notice(notice) => text.push_str(&notice.json()),
            }
            text.push('\n');
            next = if text.len() < WRITE_BUFFER { self.feed.try_next() } else { None };
        }
        Ok(Message::Text(text.into()))
    }
}

fn message_of(item: &Item, look: &Look, format: Format) -> Result<Message, Ending> {
    Ok(match (item, format) {
        (Item::Entry(observed), Format::MsgPack) => Message::Binary(observed.frame(look)),
        (Item::Entry(observed), _) => {
            Message::Text(Utf8Bytes::try_from(observed.frame(look)).map_err(|_| not_text())?)
        }
        (Item::Notice(notice), Format::MsgPack) => Message::Binary(notice.msgpack().into()),
        (Item::Notice(notice), _) => Message::Text(notice.json().into()),
    })
}

fn as_text(frame: &[u8]) -> Result<&str, Ending> {
    std::str::from_utf8(frame).map_err(|_| not_text())
}

fn not_text() -> Ending {
    Ending::Close(close_code::ERROR, "an entry could not be written as text".to_owned())
}

fn policy(reason: String) -> Ending {
    Ending::Close(close_code::POLICY, reason)
}

fn failed(error: &FeedError) -> Ending {
    let code = match error {
        FeedError::Tap(_) => close_code::AGAIN,
        FeedError::History(ControlError::Unavailable(_)) => close_code::POLICY,
        FeedError::History(_) => close_code::ERROR,
    };
    Ending::Close(code, error.to_string())
}

fn settled(result: Result<Result<(), axum::Error>, tokio::time::error::Elapsed>) -> Result<(), Ending> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Ending::Gone),
    }
}

fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}
