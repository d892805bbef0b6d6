//! HPACK against blocks of another encoder, joined late, and against anything at all.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::{Decoder, Field, Malformed};

type List = Vec<(String, String)>;

/// Blocks of one connection, each with its headers.
type Story = Vec<(Vec<u8>, List)>;

const CAP: usize = 64 << 10;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<List, Malformed> {
    let mut found = Vec::new();
    decoder
        .block(block, CAP, &mut |field: Field<'_>| {
            found.push((field.name.to_owned(), field.value.to_owned()));
        })
        .map(|()| found)
}

fn header_list(json: &Json) -> List {
    let text = |json: &Json| json.as_str().expect("text").to_owned();
    json.as_array().expect("a list").iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

/// Blocks and headers as the encoder of the Python package `hpack` made them.
fn stories() -> Vec<Vec<(Vec<u8>, List)>> {
    let json: Json = serde_json::from_str(include_str!("stories.json")).expect("json");
    let block = |block: &Json| (hex(block["wire"].as_str().expect("hex")), header_list(&block["headers"]));
    json.as_array()
        .expect("stories")
        .iter()
        .map(|story| story.as_array().expect("blocks").iter().map(block).collect())
        .collect()
}

#[test]
fn the_requests_of_the_rfc_decode() {
    // RFC 7541 C.4: three requests on one connection with Huffman coding.
    let mut decoder = Decoder::new(false);
    let blocks = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    let last = blocks.map(|block| decode(&mut decoder, &hex(block)).expect("valid"))[2].clone();
    let last: Vec<_> = last.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        last,
        [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value")
        ]
    );
}

#[test]
fn the_responses_of_the_rfc_evict_as_it_says() {
    // RFC 7541 C.5: a table of 256 bytes.
    let mut decoder = Decoder::new(false);
    decode(&mut decoder, &[0x3f, 0xe1, 0x01]).expect("a size update");
    let blocks = [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ];
    let last = blocks.map(|block| decode(&mut decoder, &hex(block)).expect("valid"))[2].clone();
    assert_eq!(last[0], (":status".into(), "200".into()));
    assert_eq!(last[1], ("cache-control".into(), "private".into()));
    assert_eq!(last[3], ("location".into(), "https://www.example.com".into()));
    assert_eq!(last[5].1, "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
}

#[test]
fn blocks_of_other_encoders_decode() {
    for (number, story) in stories().iter().enumerate() {
        let mut decoder = Decoder::new(false);
        for (index, (block, headers)) in story.iter().enumerate() {
            assert_eq!(decode(&mut decoder, block).as_ref(), Ok(headers), "story {number}, block {index}");
        }
    }
}

/// Stories of http2jp/hpack-test-case (MIT, Jxck and others; taken from the crate httlib-hpack): 14 encoders, of
/// each four stories, 30 blocks of each.
fn interop_stories() -> Vec<(String, Story)> {
    let packed = include_bytes!("interop.json.zst");
    let plain = zstd::Decoder::new(&packed[..]).expect("zstd");
    let json: Json = serde_json::from_reader(plain).expect("json");
    let block = |block: &Json| (hex(block["wire"].as_str().expect("hex")), header_list(&block["headers"]));
    let stories = json.as_object().expect("stories").iter();
    stories
        .map(|(name, story)| (name.clone(), story.as_array().expect("blocks").iter().map(block).collect()))
        .collect()
}

/// All of hpack-test-case where `REMORA_HPACK_STORIES` names its folder; a build does not carry its 64 MiB.
fn all_interop_stories() -> Vec<(String, Story)> {
    let Some(root) = std::env::var_os("REMORA_HPACK_STORIES") else { return interop_stories() };
    let mut found = Vec::new();
    let below = |path: &std::path::Path| {
        std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path())
    };
    for file in below(root.as_ref())
        .filter(|path| path.is_dir())
        .flat_map(|folder| below(&folder).collect::<Vec<_>>())
    {
        let json: Json = serde_json::from_slice(&std::fs::read(&file).expect("a story")).expect("json");
        let header = |header: &Json| {
            let pair = header.as_object().and_then(|pair| pair.iter().next());
            pair.map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned()))
                .expect("a pair")
        };
        let block = |case: &Json| {
            let headers = case["headers"].as_array().expect("a list").iter().map(header).collect();
            (hex(case["wire"].as_str().expect("hex")), headers)
        };
        found.push((
            file.display().to_string(),
            json["cases"].as_array().expect("cases").iter().map(block).collect(),
        ));
    }
    found
}

#[test]
fn public_interop_stories_decode() {
    let stories = all_interop_stories();
    assert!(stories.len() >= 50);
    for (name, story) in &stories {
        let mut decoder = Decoder::new(false);
        for (index, (block, headers)) in story.iter().enumerate() {
            assert_eq!(decode(&mut decoder, block).as_ref(), Ok(headers), "{name}, block {index}");
        }
    }
}

#[test]
fn public_interop_stories_joined_late_are_right_or_unknown() {
    for (_, story) in interop_stories() {
        for from in [1, story.len() / 2] {
            assert_right_or_unknown(&story[from.min(story.len())..], &mut Decoder::new(true));
        }
    }
}

/// Where a decoder differs from the truth, it shows a placeholder; it never shows a wrong text.
fn assert_right_or_unknown(story: &[(Vec<u8>, List)], decoder: &mut Decoder) -> usize {
    let mut unknown = 0;
    for (block, headers) in story {
        let found = decode(decoder, block).expect("valid");
        assert_eq!(found.len(), headers.len());
        for ((name, value), (real_name, real_value)) in found.iter().zip(headers) {
            let placeholder = |text: &str| text.starts_with("[unknown");
            unknown += usize::from(placeholder(name));
            assert!(name == real_name || placeholder(name), "{name} is not {real_name}");
            assert!(value == real_value || placeholder(value), "{value} is not {real_value}");
        }
    }
    unknown
}

#[test]
fn joining_late_shows_placeholders_and_recovers() {
    for story in stories() {
        for from in 1..story.len() {
            let mut decoder = Decoder::new(true);
            assert_right_or_unknown(&story[from..], &mut decoder);
        }
        let mut decoder = Decoder::new(true);
        let (early, late) = story[1..].split_at(story.len() / 2);
        let unknown = [early, late].map(|half| assert_right_or_unknown(half, &mut decoder));
        assert!(unknown[0] > 0 && unknown[1] < unknown[0], "{unknown:?}");
    }
}

#[test]
fn a_missed_block_never_shifts_what_follows() {
    for story in stories() {
        for missed in 0..story.len() - 1 {
            let mut decoder = Decoder::new(false);
            assert_eq!(assert_right_or_unknown(&story[..missed], &mut decoder), 0);
            decoder.lose();
            assert_right_or_unknown(&story[missed + 1..], &mut decoder);
        }
    }
}

#[test]
fn a_table_larger_than_the_cap_forgets_its_oldest() {
    for story in stories() {
        let mut decoder = Decoder::new(false);
        for (block, headers) in &story {
            let mut found = Vec::new();
            let mut each = |field: Field<'_>| found.push((field.name.to_owned(), field.value.to_owned()));
            decoder.block(block, 512, &mut each).expect("valid");
            for ((name, value), (real_name, real_value)) in found.iter().zip(headers) {
                assert!(name == real_name || name.starts_with("[unknown"));
                assert!(value == real_value || value.starts_with("[unknown"));
            }
        }
    }
}

#[test]
fn an_emptied_table_is_known_again() {
    let mut decoder = Decoder::new(true);
    decode(&mut decoder, &[0x20]).expect("a size update to 0");
    decode(&mut decoder, &[0x3f, 0xe1, 0x1f]).expect("a size update to 4096");
    let found = decode(&mut decoder, &[0xbe]).expect("an index");
    assert_eq!(found[0].0, "[unknown]", "nothing is there, so it is a fault and has no number");
}

#[test]
fn unseen_entries_keep_their_numbers() {
    let mut decoder = Decoder::new(true);
    assert_eq!(decode(&mut decoder, &[0xbe]).expect("index 62")[0].0, "[unknown 1]");
    decode(&mut decoder, b"\x40\x01a\x01b").expect("one more entry on top");
    assert_eq!(decode(&mut decoder, &[0xbf]).expect("index 63")[0].0, "[unknown 1]");
    assert_eq!(decode(&mut decoder, &[0xbe]).expect("index 62")[0], ("a".into(), "b".into()));
}

#[test]
fn malformed_blocks_are_refused() {
    let bad: [&[u8]; 6] = [
        b"\x80",                             // index 0
        b"\x40\x05ab",                       // a name beyond the block
        b"\xff\xff\xff\xff\xff\xff\xff\x01", // an endless number
        b"\x00\x81\x00\x00",                 // zeros as padding
        b"\x00",
        b"\x3f",
    ];
    for block in bad {
        assert_eq!(decode(&mut Decoder::new(false), block), Err(Malformed), "{block:?}");
    }
}

proptest! {
    #[test]
    fn any_blocks_are_survived_within_the_cap(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let mut decoder = Decoder::new(false);
        for block in blocks {
            let mut count = 0;
            let _ = decoder.block(&block, 256, &mut |_| count += 1);
            prop_assert!(count <= block.len());
            prop_assert!(decoder.table.size() <= 256);
        }
    }
}
