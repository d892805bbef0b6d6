//! Contents of records as zone files write them, and under the keys that Kubeshark's entries have.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use compact_str::{CompactString, ToCompactString, format_compact};

use super::names::type_name;
use super::reader::{Malformed, Reader, hex};
use crate::limits::dns as limits;
use crate::model::Map;

type Text = Result<CompactString, Malformed>;

/// Writes the content of a record of type `kind` into its tree: `data` always, and the key of its type.
pub(super) fn put(tree: &mut Map, kind: u16, mut data: Reader<'_>) -> Result<(), Malformed> {
    // An update names records without their content (RFC 2136 2.4).
    if data.left() == 0 {
        tree.put("data", CompactString::default());
        return Ok(());
    }
    let (key, text) = match kind {
        1 => ("ip", address4(&mut data)?),
        28 => ("ip", address6(&mut data)?),
        2 => ("ns", data.name()?),
        5 => ("cname", data.name()?),
        12 => ("ptr", data.name()?),
        39 => ("dname", data.name()?),
        6 => ("soa", soa(&mut data)?),
        15 => ("mx", format_compact!("{} {}", data.u16()?, data.name()?)),
        16 | 99 => ("txts", texts(&mut data)?),
        33 => ("srv", format_compact!("{} {} {} {}", data.u16()?, data.u16()?, data.u16()?, data.name()?)),
        256 => ("uri", format_compact!("{} {} {}", data.u16()?, data.u16()?, quoted(data.rest()))),
        _ => ("", other(kind, &mut data)?),
    };
    if data.left() > 0 {
        return Err("a record is longer than its content");
    }
    tree.put("data", text.clone());
    if !key.is_empty() {
        tree.put(key, text);
    }
    Ok(())
}

/// Types without a key of their own.
fn other(kind: u16, data: &mut Reader<'_>) -> Text {
    Ok(match kind {
        13 => format_compact!("{} {}", quoted(data.text()?), quoted(data.text()?)),
        17 => format_compact!("{} {}", data.name()?, data.name()?),
        18 | 36 => format_compact!("{} {}", data.u16()?, data.name()?),
        35 => naptr(data)?,
        43 | 59 => format_compact!("{} {} {} {}", data.u16()?, data.u8()?, data.u8()?, hex(data.rest())),
        44 => format_compact!("{} {} {}", data.u8()?, data.u8()?, hex(data.rest())),
        46 => rrsig(data)?,
        47 => format_compact!("{}{}", data.name()?, types(data)?),
        48 | 60 => format_compact!("{} {} {} {}", data.u16()?, data.u8()?, data.u8()?, base64(data.rest())),
        50 => nsec3(data)?,
        51 => format_compact!("{} {} {} {}", data.u8()?, data.u8()?, data.u16()?, salt(data)?),
        52 | 53 => format_compact!("{} {} {} {}", data.u8()?, data.u8()?, data.u8()?, hex(data.rest())),
        64 | 65 => service(data)?,
        250 => tsig(data)?,
        257 => format_compact!("{} {} {}", data.u8()?, plain(data.text()?), quoted(data.rest())),
        _ => {
            let bytes = data.rest();
            format_compact!("\\# {} {}", bytes.len(), hex(bytes))
        }
    })
}

fn address4(data: &mut Reader<'_>) -> Text {
    let bytes: [u8; 4] = data.take(4)?.try_into().map_err(|_| "an address is cut short")?;
    Ok(Ipv4Addr::from(bytes).to_compact_string())
}

fn address6(data: &mut Reader<'_>) -> Text {
    let bytes: [u8; 16] = data.take(16)?.try_into().map_err(|_| "an address is cut short")?;
    Ok(Ipv6Addr::from(bytes).to_compact_string())
}

fn soa(data: &mut Reader<'_>) -> Text {
    let (server, mailbox) = (data.name()?, data.name()?);
    let [serial, refresh, retry, expire, minimum] =
        [data.u32()?, data.u32()?, data.u32()?, data.u32()?, data.u32()?];
    Ok(format_compact!("{server} {mailbox} {serial} {refresh} {retry} {expire} {minimum}"))
}

fn naptr(data: &mut Reader<'_>) -> Text {
    let (order, preference) = (data.u16()?, data.u16()?);
    let [flags, services, pattern] = [data.text()?, data.text()?, data.text()?].map(quoted);
    Ok(format_compact!("{order} {preference} {flags} {services} {pattern} {}", data.name()?))
}

fn rrsig(data: &mut Reader<'_>) -> Text {
    let (covered, algorithm, labels) = (type_name(data.u16()?), data.u8()?, data.u8()?);
    let [ttl, until, from] = [data.u32()?, data.u32()?, data.u32()?];
    let (tag, signer) = (data.u16()?, data.name()?);
    let signature = base64(data.rest());
    Ok(format_compact!("{covered} {algorithm} {labels} {ttl} {until} {from} {tag} {signer} {signature}"))
}

fn salt(data: &mut Reader<'_>) -> Text {
    let salt = data.text()?;
    Ok(if salt.is_empty() { "-".into() } else { hex(salt) })
}

fn nsec3(data: &mut Reader<'_>) -> Text {
    let (algorithm, flags, rounds) = (data.u8()?, data.u8()?, data.u16()?);
    let salt = salt(data)?;
    let next = base32(data.text()?);
    Ok(format_compact!("{algorithm} {flags} {rounds} {salt} {next}{}", types(data)?))
}

fn tsig(data: &mut Reader<'_>) -> Text {
    let algorithm = data.name()?;
    // The signature proves something to the server only.
    data.rest();
    Ok(algorithm)
}

/// The bit map of types of NSEC and its kin (RFC 4034 4.1.2), each with a space in front.
fn types(data: &mut Reader<'_>) -> Text {
    let mut text = CompactString::default();
    while data.left() > 0 {
        let window = data.u8()?;
        for (index, byte) in data.text()?.iter().enumerate() {
            for bit in (0..8).filter(|bit| byte & (0x80 >> bit) != 0) {
                let kind = u16::from(window) << 8 | (index as u16 * 8 + bit);
                if text.len() < limits::TEXT {
                    text.push_str(&format_compact!(" {}", type_name(kind)));
                }
            }
        }
    }
    Ok(text)
}

/// SVCB and HTTPS (RFC 9460).
fn service(data: &mut Reader<'_>) -> Text {
    let mut text = format_compact!("{} {}", data.u16()?, data.name()?);
    while data.left() > 0 {
        let (key, len) = (data.u16()?, data.u16()?);
        let value = data.part(usize::from(len))?;
        if text.len() < limits::TEXT {
            parameter(&mut text, key, value)?;
        }
    }
    Ok(text)
}

fn parameter(text: &mut CompactString, key: u16, mut value: Reader<'_>) -> Result<(), Malformed> {
    let name = match key {
        0 => "mandatory",
        1 => "alpn",
        2 => "no-default-alpn",
        3 => "port",
        4 => "ipv4hint",
        5 => "ech",
        6 => "ipv6hint",
        7 => "dohpath",
        _ => "",
    };
    text.push(' ');
    text.push_str(&if name.is_empty() { format_compact!("key{key}") } else { name.into() });
    let mut separator = '=';
    while value.left() > 0 {
        text.push(separator);
        separator = ',';
        match key {
            0 => text.push_str(&format_compact!("key{}", value.u16()?)),
            1 => text.push_str(&plain(value.text()?)),
            3 => text.push_str(&format_compact!("{}", value.u16()?)),
            4 => text.push_str(&address4(&mut value)?),
            5 => text.push_str(&base64(value.rest())),
            6 => text.push_str(&address6(&mut value)?),
            7 => text.push_str(&plain(value.rest())),
            _ => text.push_str(&hex(value.rest())),
        }
    }
    Ok(())
}

fn texts(data: &mut Reader<'_>) -> Text {
    let mut text = CompactString::default();
    while data.left() > 0 {
        let part = data.text()?;
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&quoted(part));
    }
    Ok(text)
}

/// Bytes between quotes, escaped.
fn quoted(bytes: &[u8]) -> CompactString {
    format_compact!("\"{}\"", plain(bytes))
}

/// Text as it is, with what cannot stand in a text escaped.
pub(super) fn plain(bytes: &[u8]) -> CompactString {
    let mut text = CompactString::default();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => {
                    text.push('\\');
                    text.push(character);
                }
                character if character.is_control() => {
                    text.push_str(&format_compact!("\\{:03}", u32::from(character)));
                }
                character => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format_compact!("\\{byte:03}"));
        }
    }
    text
}

fn base64(bytes: &[u8]) -> CompactString {
    STANDARD.encode(bytes).into()
}

/// base32hex without padding, as NSEC3 owners are written (RFC 5155 1.3).
fn base32(bytes: &[u8]) -> CompactString {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let mut text = CompactString::default();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(*DIGITS.get((bits >> count) as usize & 31).unwrap_or(&b'0')));
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        text.push(char::from(*DIGITS.get((bits << (5 - count)) as usize & 31).unwrap_or(&b'0')));
    }
    text
}
