//! The wire format of protobuf: fields off the front of a message, as they stand there.

/// The value of one field, not yet interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64([u8; 8]),
    /// Wire type 2: text, bytes, a message, a packed list.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32([u8; 4]),
}

/// Takes one field off the front: its number and value. `None`: it is none, or a group, which nobody
/// writes any more.
pub(crate) fn field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Wire<'a>)> {
    let tag = varint(rest)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number))?;
    let wire = match tag & 7 {
        0 => Wire::Varint(varint(rest)?),
        1 => Wire::Fixed64(chunk(rest)?),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (bytes, more) = rest.split_at_checked(length)?;
            *rest = more;
            Wire::Bytes(bytes)
        }
        5 => Wire::Fixed32(chunk(rest)?),
        _ => return None,
    };
    Some((number, wire))
}

/// Takes an array off the front of a slice.
pub(crate) fn chunk<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, more) = rest.split_first_chunk()?;
    *rest = more;
    Some(*chunk)
}

/// Takes a number of variable length off the front of a slice.
pub(crate) fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, more) = rest.split_first()?;
        *rest = more;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
