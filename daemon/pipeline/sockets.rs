//! The sink of the socket reader thread: keeps the directory of sockets and processes current.

use std::sync::Arc;

use remora_engine::model::{Record, SocketEvent, Timestamp};

use crate::archive::Feed;
use crate::capture;
use crate::resolve::Directory;
use crate::runtime::{Sender, Shutdown};
use crate::telemetry::Drops;

/// Bytes that a socket event costs in the router's queue.
const EVENT_WEIGHT: usize = 128;

/// Receives socket and process events on their reader thread.
#[derive(Debug)]
pub struct SocketSink {
    directory: Arc<Directory>,
    router: Sender<SocketEvent>,
    raw: Option<Feed>,
    drops: Arc<Drops>,
    shutdown: Shutdown,
}

impl SocketSink {
    pub(super) fn new(
        directory: Arc<Directory>,
        router: Sender<SocketEvent>,
        raw: Option<Feed>,
        drops: Arc<Drops>,
        shutdown: Shutdown,
    ) -> Self {
        Self { directory, router, raw, drops, shutdown }
    }
}

impl capture::Sink for SocketSink {
    fn record(&mut self, record: Record) {
        if self.shutdown.is_triggered() {
            return;
        }
        let described = self.directory.apply(&record);
        if let Some(raw) = &mut self.raw {
            raw.record(&record);
            // Nobody can ask the host later.
            described.into_iter().for_each(|event| raw.record(&Record::Process(event)));
        }
        match record {
            Record::Socket(event @ (SocketEvent::State { .. } | SocketEvent::Destroyed { .. })) => {
                // The router works without: it only guesses roles and frees memory sooner with them.
                let _ = self.router.push(event, EVENT_WEIGHT);
            }
            Record::Loss(loss) => self.drops.count(loss.reason, loss.count),
            _ => {}
        }
    }

    fn flush(&mut self, now: Timestamp) {
        if let Some(raw) = &mut self.raw {
            raw.flush();
        }
        self.directory.expire(now);
    }
}
