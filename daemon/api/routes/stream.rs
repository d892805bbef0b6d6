//! The live streams: `/api/ws` (base entries) and `/api/wsFull` (full entries).
//!
//! The contract is Kubeshark's: the first text frame is the filter, then each frame is one entry, until
//! either side closes. What is ours: `?q=` gives the filter at once, a further text frame replaces it,
//! a bad one is answered with close code 1008 whose reason holds position and error, `?notices=1` adds
//! notice frames, `?from=SEQ` leaves out entries numbered below.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::SinkExt as _;
use serde::Deserialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use super::{Api, Lifetime};
use crate::api::access::{Caller, hides_secrets};
use crate::api::fault::Fault;
use crate::tap::{Item, Look, Shape, Stream, Subscription, Tap};

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

/// The query of a stream.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Options {
    q: Option<String>,
    kfl: Option<String>,
    notices: Option<String>,
    from: Option<u64>,
}

pub(super) async fn base(
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
    query: Query<Options>,
    state: State<Arc<Api>>,
    caller: Extension<Caller>,
    lifetime: Extension<Lifetime>,
) -> Response {
    open(Shape::Base, upgrade, query.0, state.0, &caller.0, lifetime.0)
}

pub(super) async fn full(
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
    query: Query<Options>,
    state: State<Arc<Api>>,
    caller: Extension<Caller>,
    lifetime: Extension<Lifetime>,
) -> Response {
    open(Shape::Full, upgrade, query.0, state.0, &caller.0, lifetime.0)
}

fn open(
    shape: Shape,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
    options: Options,
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
        let notices = options.notices.as_deref().is_some_and(|value| value != "0" && value != "false");
        let client = Client {
            socket,
            api,
            lifetime,
            shape,
            hide_secrets,
            notices,
            from: options.from,
            pings: pings(),
            stream: None,
        };
        client.run(options.q.or(options.kfl)).await;
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
    shape: Shape,
    hide_secrets: bool,
    notices: bool,
    from: Option<u64>,
    pings: Interval,
    stream: Option<Live>,
}

/// A subscription and how its entries are written.
struct Live {
    stream: Stream,
    look: Look,
}

enum Event {
    Received(Option<Result<Message, axum::Error>>),
    Item(Option<Item>),
    Ping,
    Shutdown,
}

impl Client {
    async fn run(mut self, filter: Option<String>) {
        let ending = match filter {
            Some(text) => self.subscribe(&text).err(),
            None => None,
        };
        let ending = match ending {
            Some(ending) => ending,
            None => self.serve().await,
        };
        // No more entries: the queue's memory is free while the handshake lasts.
        self.stream = None;
        if let Ending::Close(code, reason) = ending {
            self.close(code, &reason).await;
        }
    }

    async fn serve(&mut self) -> Ending {
        loop {
            let event = tokio::select! {
                biased;
                () = self.lifetime.shutdown.wait() => Event::Shutdown,
                received = self.socket.recv() => Event::Received(received),
                _ = self.pings.tick() => Event::Ping,
                item = next(&mut self.stream) => Event::Item(item),
            };
            let done = match event {
                Event::Received(Some(Ok(message))) => self.received(message),
                Event::Received(_) => Err(Ending::Gone),
                Event::Ping => self.send(Message::Ping(bytes::Bytes::new())).await,
                Event::Shutdown => Err(Ending::Close(close_code::AWAY, "the daemon is stopping".to_owned())),
                Event::Item(Some(item)) => self.write(item).await,
                Event::Item(None) => {
                    Err(Ending::Close(close_code::NORMAL, "the filter's limit() is reached".to_owned()))
                }
            };
            if let Err(ending) = done {
                return ending;
            }
        }
    }

    fn received(&mut self, message: Message) -> Result<(), Ending> {
        match message {
            Message::Text(text) => self.subscribe(text.as_str()),
            Message::Binary(_) => {
                Err(Ending::Close(close_code::UNSUPPORTED, "send the filter as a text frame".to_owned()))
            }
            Message::Close(_) => Err(Ending::Gone),
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        }
    }

    /// Starts streaming what matches, or replaces the filter.
    fn subscribe(&mut self, text: &str) -> Result<(), Ending> {
        let policy = |reason: String| Ending::Close(close_code::POLICY, reason);
        let filter = self.api.parse(text).map_err(|error| policy(error.short()))?;
        let look = Look::new(self.shape, self.hide_secrets).redacting(&filter);
        let subscription =
            Subscription { filter, from_seq: self.from, notices: self.notices, max_bytes: None };
        let stream = subscribe(&self.api.tap, subscription)?;
        self.stream = Some(Live { stream, look });
        Ok(())
    }

    /// Writes an item and all that is ready after it, then flushes once.
    async fn write(&mut self, first: Item) -> Result<(), Ending> {
        let mut next = Some(first);
        while let Some(item) = next {
            let Some(live) = &mut self.stream else { break };
            let text = text_of(&item, &live.look)?;
            self.feed(Message::Text(text)).await?;
            next = self.stream.as_mut().and_then(|live| live.stream.try_next());
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

async fn next(live: &mut Option<Live>) -> Option<Item> {
    match live {
        Some(live) => live.stream.next().await,
        // No filter yet: wait as long as the client stays.
        None => std::future::pending().await,
    }
}

fn subscribe(tap: &Tap, subscription: Subscription) -> Result<Stream, Ending> {
    tap.subscribe(subscription).map_err(|error| Ending::Close(close_code::AGAIN, error.to_string()))
}

fn text_of(item: &Item, look: &Look) -> Result<Utf8Bytes, Ending> {
    match item {
        Item::Entry(observed) => Utf8Bytes::try_from(observed.frame(look)).map_err(|_| {
            Ending::Close(close_code::ERROR, "an entry could not be written as text".to_owned())
        }),
        Item::Notice(notice) => Ok(notice.json().into()),
    }
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
