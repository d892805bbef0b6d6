//! EDNS (RFC 6891): the OPT record and its options.

use std::net::{Ipv4Addr, Ipv6Addr};

use compact_str::{CompactString, format_compact};

use super::names::extended_name;
use super::rdata::plain;
use super::reader::{Malformed, Reader, hex};
use crate::model::{Map, Value};

/// What an OPT record says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Edns {
    /// Upper bits of the response code.
    pub(super) extended_code: u8,
    /// As it stands in the entry.
    pub(super) tree: Map,
}

impl Edns {
    /// Reads an OPT record: its class is a size, its TTL are flags.
    pub(super) fn read(size: u16, flags: u32, mut data: Reader<'_>) -> Result<Self, Malformed> {
        let [extended_code, version, high, _] = flags.to_be_bytes();
        let mut tree = Map::with_capacity(6);
        tree.put("version", Value::Int(i64::from(version)));
        tree.put("udpSize", Value::Int(i64::from(size)));
        tree.put("dnssecOk", high & 0x80 != 0);
        let (mut errors, mut options) = (Vec::new(), Vec::new());
        while data.left() > 0 {
            let (code, len) = (data.u16()?, data.u16()?);
            let value = data.part(usize::from(len))?;
            match code {
                8 => tree.put("clientSubnet", subnet(value)?),
                15 => errors.push(extended_error(value)?),
                _ => options.push(option(code, value)),
            }
        }
        if !errors.is_empty() {
            tree.put("extendedErrors", Value::List(errors));
        }
        if !options.is_empty() {
            tree.put("options", Value::List(options));
        }
        Ok(Self { extended_code, tree })
    }
}

/// Client subnet (RFC 7871): `192.0.2.0/24/0`, address, source and scope prefix length.
fn subnet(mut value: Reader<'_>) -> Result<CompactString, Malformed> {
    let (family, source, scope) = (value.u16()?, value.u8()?, value.u8()?);
    let mut octets = [0; 16];
    for (octet, byte) in octets.iter_mut().zip(value.rest()) {
        *octet = *byte;
    }
    Ok(match family {
        1 => {
            let [a, b, c, d, ..] = octets;
            format_compact!("{}/{source}/{scope}", Ipv4Addr::new(a, b, c, d))
        }
        2 => format_compact!("{}/{source}/{scope}", Ipv6Addr::from(octets)),
        other => format_compact!("family {other}/{source}/{scope}"),
    })
}

fn extended_error(mut value: Reader<'_>) -> Result<Value, Malformed> {
    let code = value.u16()?;
    let mut tree = Map::with_capacity(3);
    tree.put("code", Value::Int(i64::from(code)));
    tree.put("name", Value::from(extended_name(code)));
    tree.put("text", plain(value.rest()));
    Ok(Value::Map(tree))
}

fn option(code: u16, mut value: Reader<'_>) -> Value {
    let name = match code {
        3 => "NSID",
        9 => "EXPIRE",
        10 => "COOKIE",
        11 => "TCP-KEEPALIVE",
        12 => "PADDING",
        13 => "CHAIN",
        14 => "KEY-TAG",
        _ => "",
    };
    let bytes = value.rest();
    let mut tree = Map::with_capacity(2);
    tree.put("name", if name.is_empty() { format_compact!("OPT{code}") } else { name.into() });
    tree.put("value", if code == 12 { format_compact!("{} bytes", bytes.len()) } else { hex(bytes) });
    Value::Map(tree)
}
