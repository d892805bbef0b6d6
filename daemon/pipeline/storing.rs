//! The store thread: the single writer of entries.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use remora_engine::model::Entry;

use crate::runtime::{self, Capacity, Popped, Probe, Receiver, Sender};
use crate::store::Writer;

/// Entries taken at once.
const BATCH: usize = 1024;

/// Longest time between two looks at the clock of the writer: it seals and trims by time.
const TICK: Duration = Duration::from_millis(250);

/// Starts the thread.
pub(super) fn spawn(
    writer: Writer,
    capacity: Capacity,
    threads: &mut Vec<JoinHandle<()>>,
    queues: &mut Vec<Probe>,
) -> std::io::Result<Sender<Arc<Entry>>> {
    let (sender, inbox) = runtime::queue("store", capacity);
    queues.push(sender.probe());
    threads.push(runtime::spawn_thread("store", move || run(writer, &inbox))?);
    Ok(sender)
}

fn run(mut writer: Writer, inbox: &Receiver<Arc<Entry>>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let popped = inbox.pop_batch(&mut batch, BATCH, TICK);
        let result = if batch.is_empty() { writer.tick() } else { writer.append(&batch) };
        if let Err(error) = result {
            // What could not be kept was counted by the writer, which goes on trying.
            tracing::error!("storing entries failed: {error}");
        }
        batch.clear();
        if matches!(popped, Popped::Closed) {
            break;
        }
    }
    if let Err(error) = writer.finish() {
        tracing::error!("closing the store failed: {error}");
    }
}
