//! Descriptor sets: what protoc writes, and what nobody should.

use proptest::prelude::*;

use super::*;
use crate::limits::protobuf as limits;

/// The set of `tests/pcaps/grpc/shop.proto`.
pub(crate) const SHOP: &[u8] = include_bytes!("../../../tests/pcaps/grpc/descriptors/shop.binpb");

/// A field of wire type 2.
fn part(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 127 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

/// A set of one file with these parts.
fn set_of(parts: &[Vec<u8>]) -> Vec<u8> {
    part(1, &[&part(1, b"a.proto")[..], &parts.concat()].concat())
}

fn read(bytes: &[u8]) -> Result<DescriptorSet, DescriptorError> {
    let mut set = DescriptorSet::default();
    set.add(bytes).map(|()| set)
}

#[test]
fn methods_lead_to_messages_and_fields() {
    let set = read(SHOP).unwrap();
    assert_eq!(set.methods(), 2);
    let [cart, receipt] = set.method("/remora.test.Shop/Order").map(Option::unwrap);
    assert_eq!((cart.name.as_str(), receipt.name.as_str()), ("remora.test.Cart", "remora.test.Receipt"));
    let items = cart.field(3).unwrap();
    assert_eq!((items.name.as_str(), items.is_repeated), ("items", true));
    assert_eq!(items.kind, Kind::Message("remora.test.Item".into()));
    assert_eq!(set.value_name("remora.test.Currency", 2).unwrap(), "USD");
    assert!(set.message("remora.test.Cart.StockEntry").unwrap().is_map_entry);
    assert!(set.message("google.protobuf.Timestamp").is_some(), "imports are in the set");
}

#[test]
fn a_prefix_of_the_path_does_not_matter_and_unknown_methods_are_unknown() {
    let set = read(SHOP).unwrap();
    assert!(set.method("/api/v1/remora.test.Shop/Order")[0].is_some());
    for path in ["/remora.test.Shop/Other", "/Order", "/", "", "//", "/x/"] {
        assert!(set.method(path)[0].is_none(), "{path}");
    }
}

#[test]
fn the_first_of_two_types_with_one_name_counts() {
    let message = |field: &[u8]| {
        part(4, &[part(1, b"M"), part(2, &[part(1, field), vec![0x18, 1, 0x28, 9]].concat())].concat())
    };
    let mut set = read(&set_of(&[message(b"one")])).unwrap();
    set.add(&set_of(&[message(b"two")])).unwrap();
    assert_eq!(set.message("M").unwrap().field(1).unwrap().name, "one");
}

#[test]
fn what_is_no_descriptor_set_is_refused_and_changes_nothing() {
    let mut set = read(SHOP).unwrap();
    let cut = &SHOP[..SHOP.len() - 7];
    for bytes in [&b""[..], b"hello", b"\x0a\x00", cut, &part(1, b"\xff"), &part(2, b"x")] {
        assert_eq!(set.add(bytes), Err(DescriptorError::NotDescriptors), "{bytes:?}");
    }
    assert_eq!(set.methods(), 2);
}

#[test]
fn hostile_sets_end_at_the_limits() {
    let mut deep = part(1, b"M");
    for _ in 0..limits::NESTING + 5 {
        deep = [part(1, b"M"), part(3, &deep)].concat();
    }
    assert_eq!(
        read(&set_of(&[part(4, &deep)])).unwrap_err(),
        DescriptorError::TooDeep { limit: limits::NESTING }
    );

    let long = set_of(&[part(4, &part(1, &vec![b'M'; limits::NAME + 1]))]);
    assert_eq!(read(&long).unwrap_err(), DescriptorError::NameTooLong { limit: limits::NAME });

    let many = part(4, b"").repeat(limits::TYPES + 1);
    assert_eq!(
        read(&set_of(&[many])).unwrap_err(),
        DescriptorError::TooMany { what: "types", limit: limits::TYPES }
    );
    let fields = part(4, &part(2, b"").repeat(limits::FIELDS + 1));
    assert_eq!(
        read(&set_of(&[fields])).unwrap_err(),
        DescriptorError::TooMany { what: "fields", limit: limits::FIELDS }
    );
    assert_eq!(
        read(&vec![0; limits::FILE + 1]).unwrap_err(),
        DescriptorError::TooLarge { limit: limits::FILE }
    );
}

#[test]
fn many_files_share_one_limit() {
    let half = part(4, &[part(1, b"N"), part(2, b"").repeat(1)].concat());
    let mut set = DescriptorSet::default();
    let values = |name: &[u8]| {
        let value = |n: usize| {
            part(
                2,
                &[
                    &part(1, b"V")[..],
                    &[0x10, (n & 0x7f) as u8 | 0x80, (n >> 7 & 0x7f) as u8 | 0x80, (n >> 14) as u8],
                ]
                .concat(),
            )
        };
        let all: Vec<u8> = (0..=limits::FIELDS / 2).flat_map(value).collect();
        set_of(&[part(5, &[part(1, name), all].concat()), half.clone()])
    };
    set.add(&values(b"A")).unwrap();
    let refused = set.add(&values(b"B")).unwrap_err();
    assert_eq!(refused, DescriptorError::TooMany { what: "fields", limit: limits::FIELDS });
    assert!(set.value_name("B", 1).is_none(), "nothing of a refused file stays");
}

#[test]
fn what_is_replaced_is_seen_by_every_holder() {
    let schemas = Schemas::default();
    let holder = schemas.clone();
    assert!(holder.get().is_empty());
    schemas.replace(read(SHOP).unwrap());
    assert_eq!(holder.get().methods(), 2);
}

proptest! {
    #[test]
    fn damaged_sets_are_survived(at in 0..SHOP.len(), byte: u8, cut in 0..SHOP.len()) {
        let mut bytes = SHOP.to_vec();
        bytes[at] = byte;
        let _any = read(&bytes);
        let _any = read(&bytes[..cut]);
    }
}
