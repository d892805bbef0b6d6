//! Items of capture files in, named entries out.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use crate::engine::limits::Limits;
use crate::engine::model::{CaptureSource, DropReason, Entry, NodeInfo, Record, Timestamp};
use crate::engine::pcap::Item;
use crate::engine::replay::Replay;
use crate::engine::shard::{ShardContext, Sink};
use crate::resolve::Directory;

/// How long an entry waits for the owner of its sockets, in the time of the records: live, socket events
/// travel apart from packets, so they may stand a little behind them.
const OWNER_PATIENCE: Duration = Duration::from_millis(50);

/// Entries that wait for that; beyond it the oldest goes as it is.
const MAX_WAITING: usize = 4096;

/// Bytes of them: entries hold bodies.
const MAX_WAITING_BYTES: usize = 32 << 20;

/// Who made entries that come out of a file. `run` is the prefix of their stream ids.
pub fn file_context(run: CompactString) -> ShardContext {
    let node = Arc::new(NodeInfo { name: "file".into(), ip: [0, 0, 0, 0].into() });
    ShardContext { node, run, source: CaptureSource::File }
}

/// How often what was forgotten live is forgotten here.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// What was lost, by reason.
pub type Losses = BTreeMap<DropReason, u64>;

/// Dissects a sequence of items.
#[derive(Debug)]
pub struct Dissector {
    limits: Arc<Limits>,
    context: ShardContext,
    /// Made with the first item: a file may say which node it is from.
    replay: Option<Replay>,
    directory: Directory,
    collected: Collected,
    expire_at: Timestamp,
    most_held: usize,
}

#[derive(Debug, Default)]
struct Collected {
    now: Timestamp,
    waiting: VecDeque<(Timestamp, Entry)>,
    waiting_bytes: usize,
    losses: Losses,
}

impl Sink for Collected {
    fn entry(&mut self, entry: Entry) {
        self.waiting_bytes += entry.weight();
        self.waiting.push_back((self.now, entry));
    }

    fn loss(&mut self, reason: DropReason, count: u64) {
        *self.losses.entry(reason).or_default() += count;
    }
}

impl Dissector {
    /// A dissector; `context` is what entries carry if the items do not say where they are from.
    pub fn new(limits: Arc<Limits>, context: ShardContext) -> Self {
        Self {
            limits,
            context,
            replay: None,
            directory: Directory::recorded(),
            collected: Collected::default(),
            expire_at: Timestamp::ZERO,
            most_held: 0,
        }
    }

    /// Takes an item; entries that are ready go to `out`, in the order in which they were complete.
    pub fn item(&mut self, item: Item, out: &mut dyn FnMut(Entry)) {
        match item {
            Item::Head(head) if self.replay.is_none() => {
                self.context.node = Arc::new(NodeInfo { name: head.node, ip: head.ip });
                self.context.source = head.source;
            }
            Item::Head(_) => {}
            Item::Record(record) => self.record(record, out),
        }
    }

    fn record(&mut self, record: Record, out: &mut dyn FnMut(Entry)) {
        // Nobody asks for descriptions here: they are in the file.
        let _described = self.directory.apply(&record);
        let replay =
            self.replay.get_or_insert_with(|| Replay::new(Arc::clone(&self.limits), self.context.clone()));
        self.collected.now = self.collected.now.max(record.at());
        replay.record(record, &mut self.collected);
        self.most_held = self.most_held.max(replay.held());
        let now = self.collected.now;
        if now >= self.expire_at {
            self.directory.expire(now);
            self.expire_at = now.plus(EXPIRY_INTERVAL);
        }
        while let Some((since, entry)) = self.collected.waiting.front() {
            let is_due = now >= since.plus(OWNER_PATIENCE)
                || self.collected.waiting.len() > MAX_WAITING
                || self.collected.waiting_bytes > MAX_WAITING_BYTES;
            if !is_due && !self.is_settled(entry) {
                return;
            }
            self.emit_first(out);
        }
    }

    fn is_settled(&self, entry: &Entry) -> bool {
        let settled = |socket| self.directory.is_settled(socket);
        [entry.src.socket, entry.dst.socket].iter().all(|socket| !socket.is_known() || settled(*socket))
    }

    fn emit_first(&mut self, out: &mut dyn FnMut(Entry)) {
        if let Some((_, mut entry)) = self.collected.waiting.pop_front() {
            self.collected.waiting_bytes = self.collected.waiting_bytes.saturating_sub(entry.weight());
            self.directory.name_entry(&mut entry);
            out(entry);
        }
    }

    /// Nothing more comes: what is unfinished goes to `out` as such.
    pub fn finish(&mut self, out: &mut dyn FnMut(Entry)) {
        if let Some(replay) = &mut self.replay {
            replay.finish(&mut self.collected);
        }
        while !self.collected.waiting.is_empty() {
            self.emit_first(out);
        }
    }

    /// What was lost so far: before the files were written, and here.
    pub fn losses(&self) -> &Losses {
        &self.collected.losses
    }

    /// Most bytes that connections and calls under way held; zero without a bound.
    pub fn most_held(&self) -> usize {
        self.most_held
    }

    /// What answers so far call an address; empty when they do not.
    pub fn dns_name(&self, ip: IpAddr, at: Timestamp) -> CompactString {
        self.directory.dns_name(ip, at)
    }

    /// The moment that is reached.
    pub fn now(&self) -> Timestamp {
        self.collected.now
    }
}
