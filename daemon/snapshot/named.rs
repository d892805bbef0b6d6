//! Names of addresses in an export: what DNS answers among the packets said, written before the first packet.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

use super::Dissector;
use super::dissector::file_context;
use crate::engine::limits::Limits;
use crate::engine::model::{Packet, Record, SocketCookie};
use crate::engine::pcap::{Item, write_names};
use crate::engine::wire::Headers;

/// Port of name servers (RFC 1035 section 4.2).
const DNS: u16 = 53;
/// Addresses whose names are written down; more stay without.
const MAX_NAMED: usize = 65_536;

/// The names that are known and those that were written.
#[derive(Debug)]
pub(super) struct Named {
    dissector: Dissector,
    written: HashMap<IpAddr, CompactString>,
    knows_any: bool,
}

impl Named {
    pub(super) fn new(limits: &Arc<Limits>) -> Self {
        let dissector = Dissector::new(Arc::clone(limits), file_context("names".into()));
        Self { dissector, written: HashMap::new(), knows_any: false }
    }

    /// Reads a packet if it may be a name server's.
    pub(super) fn learn(&mut self, packet: &Packet) {
        let Ok(headers) = Headers::of(packet) else { return };
        if headers.tuple.src.port == DNS || headers.tuple.dst.port == DNS {
            let knows_any = &mut self.knows_any;
            // Nobody asks who asked, so there is no owner to wait for.
            let packet = Packet { cookie: SocketCookie::default(), ..packet.clone() };
            self.dissector.item(Item::Record(Record::Packet(packet)), &mut |_| *knows_any = true);
        }
    }

    /// Writes the names of a packet's addresses that are new.
    pub(super) fn write_new(&mut self, packet: &Packet, out: &mut Vec<u8>) {
        if !self.knows_any || self.written.len() >= MAX_NAMED {
            return;
        }
        let Ok(headers) = Headers::of(packet) else { return };
        for ip in [headers.tuple.src.ip, headers.tuple.dst.ip] {
            let name = self.dissector.dns_name(ip, packet.at);
            if !name.is_empty() && self.written.get(&ip) != Some(&name) {
                write_names(out, [(ip, name.as_str())]);
                self.written.insert(ip, name);
            }
        }
    }
}
