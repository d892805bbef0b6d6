//! Round trips, foreign files and hostile ones.

mod foreign;
mod hostile;
mod round_trip;

use super::{Item, PcapError, Reader, Tally};

/// All items of a file that comes in pieces of `step` bytes.
fn items(file: &[u8], step: usize) -> (Vec<Item>, Tally, Result<(), PcapError>) {
    let mut reader = Reader::new();
    let mut found = Vec::new();
    for piece in file.chunks(step.max(1)) {
        reader.feed(piece);
        loop {
            match reader.next_item() {
                Ok(Some(item)) => found.push(item),
                Ok(None) => break,
                Err(error) => return (found, reader.tally(), Err(error)),
            }
        }
    }
    let ended = reader.finish();
    (found, reader.tally(), ended)
}
