//! Finds where functions begin and end without symbols: by the table that exceptions and stack traces
//! need, `.eh_frame`, which stripping leaves in place.

use super::binary::{Binary, BinaryError, u32_at};

const SECTION: &str = ".eh_frame";
/// Pointers as 32-bit distances from where they stand: what compilers write for x86-64.
const NEAR: u8 = 0x1b;
/// The position of whom a distance is to its table is not known in a record of this length: 64-bit DWARF.
const LONG: u32 = 0xffff_ffff;

/// Those functions, as start and size in order of their starts, that have one of the addresses inside.
/// `addresses` must be sorted.
pub(super) fn functions_around(binary: &Binary, addresses: &[u64]) -> Result<Vec<(u64, u64)>, BinaryError> {
    let (base, data) = binary.section(SECTION)?;
    let mut found = functions_in(&data, base, addresses);
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn functions_in(data: &[u8], base: u64, addresses: &[u64]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    // Where the last description that functions share stands, and whether its pointers are near.
    let mut shared = (usize::MAX, false);
    let mut at = 0;
    while let Some(len) = u32_at(data, at).filter(|len| *len != LONG) {
        let body = at + 4;
        let next = body + len as usize;
        if len == 0 {
            // Objects that are linked together may each bring an end mark.
            at = body;
            continue;
        }
        let Some(distance) = u32_at(data, body).filter(|_| next <= data.len()) else { break };
        // Zero marks a shared description; a function says how far back its own is.
        if let Some(description) = body.checked_sub(distance as usize).filter(|_| distance != 0) {
            if shared.0 != description {
                shared = (description, is_near(data, description));
            }
            let function = shared.1.then(|| function_at(data, base, body + 4)).flatten();
            found.extend(function.filter(|(start, size)| has_any(addresses, *start, *size)));
        }
        at = next;
    }
    found
}

fn function_at(data: &[u8], base: u64, at: usize) -> Option<(u64, u64)> {
    let distance = u32_at(data, at)? as i32;
    let size = u32_at(data, at + 4)?;
    Some((base.checked_add(at as u64)?.checked_add_signed(distance.into())?, size.into()))
}

fn has_any(addresses: &[u64], start: u64, size: u64) -> bool {
    let first = addresses.partition_point(|address| *address < start);
    addresses.get(first).is_some_and(|address| address - start < size)
}

/// Whether functions that share this description (a CIE) are told by near pointers.
fn is_near(data: &[u8], at: usize) -> bool {
    encoding(data.get(at..).unwrap_or_default()) == Some(NEAR)
}

fn encoding(record: &[u8]) -> Option<u8> {
    // Length, zero, version 1.
    let rest = record.get(8..)?.strip_prefix(&[1])?;
    let end = memchr::memchr(0, rest)?;
    let letters = rest[..end].strip_prefix(b"z")?;
    let mut rest = &rest[end + 1..];
    // Units of code and data, register of the return address, length of what follows.
    for _ in 0..4 {
        rest = after_number(rest)?;
    }
    for letter in letters {
        match letter {
            b'R' => return rest.first().copied(),
            // A handler: how it is encoded, and it.
            b'P' => rest = rest.get(1 + bytes_of(*rest.first()?)?..)?,
            b'L' => rest = rest.get(1..)?,
            b'S' => {}
            _ => return None,
        }
    }
    None
}

/// Bytes of a pointer of an encoding; none, if they vary.
fn bytes_of(encoding: u8) -> Option<usize> {
    match encoding & 0x0f {
        0 | 4 | 12 => Some(8),
        3 | 11 => Some(4),
        2 | 10 => Some(2),
        _ => None,
    }
}

/// What is behind a LEB128 number.
fn after_number(data: &[u8]) -> Option<&[u8]> {
    let last = data.iter().position(|byte| byte & 0x80 == 0)?;
    data.get(last + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shared description with a handler, and two functions at 0x500 and 0x600.
    fn table() -> Vec<u8> {
        let shared = [1, b'z', b'P', b'L', b'R', 0, 1, 0x78, 16, 7, 0x1b, 0, 0, 0, 0, 0x1b, 0x1b, 0, 0, 0];
        let mut data = Vec::new();
        data.extend(24_u32.to_le_bytes());
        data.extend(0_u32.to_le_bytes());
        data.extend(shared);
        for (start, size) in [(0x500_u32, 0x80_u32), (0x600, 0x10)] {
            data.extend(16_u32.to_le_bytes());
            data.extend((data.len() as u32).to_le_bytes());
            data.extend((start.wrapping_sub(0x1000 + data.len() as u32)).to_le_bytes());
            data.extend(size.to_le_bytes());
            data.extend([0; 4]);
        }
        data.extend([0; 4]);
        data
    }

    #[test]
    fn functions_are_found_by_what_is_inside() {
        let data = table();
        assert_eq!(functions_in(&data, 0x1000, &[0x57f, 0x580]), [(0x500, 0x80)]);
        assert_eq!(functions_in(&data, 0x1000, &[0x500, 0x600]), [(0x500, 0x80), (0x600, 0x10)]);
        assert_eq!(functions_in(&data, 0x1000, &[0x4ff, 0x610]), []);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_gone_through(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), at in 0_usize..100) {
            let mut data = table();
            data.splice(at.min(data.len()).., bytes.iter().copied());
            let _ = functions_in(&data, u64::MAX - 40, &[0x500, 0x57f, u64::MAX]);
            let _ = functions_in(&bytes, 0, &[0x500]);
        }
    }
}
