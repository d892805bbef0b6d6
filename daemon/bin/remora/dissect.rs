//! `remora dissect`: entries from a capture file, without a daemon.

use std::io::{BufWriter, Write as _};
use std::sync::Arc;

use remora::config::descriptors;
use remora::engine::kfl::{Context, Filter};
use remora::engine::limits::Limits;
use remora::engine::model::Entry;
use remora::engine::pcap::Tally;
use remora::engine::present::{View, full_json};
use remora::runtime::clock;
use remora::snapshot::{CaptureFile, Dissector, Losses, file_context};

use crate::command::DissectOptions;
use crate::failure::Failure;
use crate::line::render;
use crate::paint::Paint;

pub(crate) fn run(options: &DissectOptions, json: bool, paint: Paint) -> Result<(), Failure> {
    let text = options.filter.as_deref().unwrap_or_default();
    let context = Context::new(clock::now());
    let filter = Filter::parse(text, &context).map_err(|error| Failure::Filter(error.to_string()))?;
    let mut file = CaptureFile::open(&options.file)?;
    let mut shown = Printer {
        filter,
        json,
        paint,
        limit: options.limit,
        seen: 0,
        shown: 0,
        out: BufWriter::new(std::io::stdout()),
        failed: None,
    };
    let limits = Limits::default();
    if let Some(folder) = &options.descriptors {
        let (set, left_out) = descriptors::read(folder)?;
        left_out.iter().for_each(|problem| eprintln!("{problem}"));
        limits.schemas.replace(set);
    }
    let mut dissector = Dissector::new(Arc::new(limits), file_context("file".into()));
    let mut ended = Ok(());
    while !shown.is_over() {
        match file.next_item() {
            Ok(Some(item)) => dissector.item(item, &mut |entry| shown.entry(entry)),
            Ok(None) => break,
            Err(error) => {
                ended = Err(Failure::from(error));
                break;
            }
        }
    }
    dissector.finish(&mut |entry| shown.entry(entry));
    shown.finish()?;
    say(shown.seen, shown.shown, file.tally(), dissector.losses());
    ended
}

struct Printer {
    filter: Filter,
    json: bool,
    paint: Paint,
    limit: Option<u64>,
    seen: u64,
    shown: u64,
    out: BufWriter<std::io::Stdout>,
    failed: Option<std::io::Error>,
}

impl Printer {
    fn is_over(&self) -> bool {
        self.failed.is_some() || self.limit.is_some_and(|limit| self.shown >= limit)
    }

    fn entry(&mut self, mut entry: Entry) {
        self.seen += 1;
        entry.seq = self.seen;
        if self.is_over() || !self.filter.matches(&entry) {
            return;
        }
        self.shown += 1;
        let text = full_json(&entry, &View::default());
        let text = if self.json {
            text
        } else {
            let json = serde_json::from_str(&text).unwrap_or_default();
            render(&json, self.paint)
        };
        self.failed = writeln!(self.out, "{text}").err();
    }

    fn finish(&mut self) -> Result<(), Failure> {
        if let Some(error) = self.failed.take() {
            return Err(error.into());
        }
        Ok(self.out.flush()?)
    }
}

/// What was in the file, on stderr: the calls may go elsewhere.
fn say(seen: u64, shown: u64, tally: Tally, losses: &Losses) {
    let shown = if shown == seen { String::new() } else { format!(", {shown} shown") };
    eprintln!("{} packets, {seen} calls{shown}", tally.packets);
    let left_out = [
        (tally.unknown_link, "frames of a link type that is not understood"),
        (tally.not_ip, "frames that are not IP"),
        (tally.malformed, "blocks that are damaged"),
        (tally.fragments, "fragments of packets that are not whole"),
    ];
    for (count, what) in left_out.into_iter().filter(|(count, _)| *count > 0) {
        eprintln!("left out: {count} {what}");
    }
    for (reason, count) in losses.iter().filter(|(_, count)| **count > 0) {
        eprintln!("lost: {count} {}", reason.describe());
    }
}
