//! Any bytes as a capture file: no panic, and what is read is written and read again equal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_engine::limits::pcap::PACKET;
use remora_engine::model::{CaptureSource, Record, Timestamp, TlsEvent};
use remora_engine::pcap::{Head, Item, Reader, write_head, write_record};

fn head() -> Head {
    Head { node: "fuzz".into(), ip: [127, 0, 0, 1].into(), source: CaptureSource::File, at: Timestamp(1) }
}

fn begun() -> Vec<u8> {
    let mut file = Vec::new();
    write_head(&mut file, &head(), "fuzz");
    file
}

fn check(item: Item) {
    let Item::Record(record) = item else { return };
    // Longer pieces are written as several.
    if matches!(&record, Record::Tls(TlsEvent::Data(chunk)) if chunk.data.len() > PACKET / 2) {
        return;
    }
    let mut file = begun();
    write_record(&mut file, &record);
    let mut reader = Reader::new();
    reader.feed(&file);
    while let Ok(Some(again)) = reader.next_item() {
        if let Item::Record(again) = again {
            assert_eq!(again, record);
        }
    }
    assert!(reader.finish().is_ok());
}

// The first byte says how the file begins and in what pieces it comes.
fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let mut file = if first & 1 == 0 { begun() } else { Vec::new() };
    file.extend_from_slice(rest);
    let mut reader = Reader::new();
    for piece in file.chunks(usize::from(first >> 1) * 8 + 1) {
        reader.feed(piece);
        loop {
            match reader.next_item() {
                Ok(Some(item)) => check(item),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    // A file may end anywhere; that is said and nothing more.
    let _end = reader.finish();
});
