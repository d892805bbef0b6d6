//! Any bytes as records of the kernel's rings: no panic, and nothing is read beyond the record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remora::capture::fuzzing;

fuzz_target!(|data: &[u8]| {
    if let Some(packet) = fuzzing::packet(data) {
        assert!(packet.data.len() < data.len());
        assert!(data.ends_with(&packet.data) || data.windows(packet.data.len().max(1)).any(|part| part == &packet.data[..]));
    }
    // The iterator delivers events one after the other.
    let mut rest = data;
    while let Some((_, size)) = fuzzing::socket_event(rest) {
        assert!(size > 0 && size <= rest.len(), "{size} of {} bytes", rest.len());
        rest = &rest[size..];
    }
});
