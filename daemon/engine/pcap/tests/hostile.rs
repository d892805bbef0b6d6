//! No input panics, none makes the reader hold much.

use proptest::prelude::*;

use super::super::{PcapError, Reader, write_head, write_record};
use super::items;
use crate::model::{CaptureSource, Record, Timestamp};
use crate::testing::{from_file, ms, udp};

fn file() -> Vec<u8> {
    let head = super::super::Head {
        node: "n".into(),
        ip: [10, 0, 0, 1].into(),
        source: CaptureSource::Ebpf,
        at: Timestamp(1),
    };
    let mut file = Vec::new();
    write_head(&mut file, &head, "remora test");
    for n in 0..4 {
        let packet = from_file(ms(n), udp("10.0.0.1:1", "10.0.0.2:2", b"body"));
        write_record(&mut file, &Record::Packet(packet));
    }
    file
}

proptest! {
    #[test]
    fn changed_files_are_read_to_an_end(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20), step in 1..400_usize
    ) {
        let mut file = file();
        for (place, value) in changes {
            let place = place.index(file.len());
            file[place] = value;
        }
        let (found, _, _) = items(&file, step);
        prop_assert!(found.len() <= 5);
    }

    #[test]
    fn frames_of_noise_are_read_to_an_end(link in any::<u16>(), frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut file = 0xa1b2_3c4d_u32.to_le_bytes().to_vec();
        file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
        file.extend(u32::from(link % 300).to_le_bytes());
        file.extend([0; 8]);
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend(frame);
        let (found, tally, ended) = items(&file, 50);
        prop_assert_eq!(ended, Ok(()));
        let out = tally.packets + tally.unknown_link + tally.not_ip + tally.fragments;
        prop_assert_eq!((out, found.len() as u64), (1, tally.packets));
    }
}

#[test]
fn a_block_of_many_gigabytes_is_refused_at_once() {
    let mut file = file();
    let end = file.len() as u64;
    file.extend(6_u32.to_le_bytes());
    file.extend(0xffff_fff0_u32.to_le_bytes());
    let (found, _, ended) = items(&file, 4096);
    assert_eq!(found.len(), 5);
    assert!(matches!(ended, Err(PcapError::Oversized { offset, .. }) if offset == end));
}

#[test]
fn text_is_no_capture() {
    let mut reader = Reader::new();
    reader.feed(b"hello world");
    assert_eq!(reader.next_item(), Err(PcapError::NotACapture(0x6865_6c6c)));
}
