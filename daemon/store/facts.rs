//! What a block's summary and its texts say of a filter.

use std::cell::OnceCell;

use memchr::memmem;

use super::ZoneMap;
use super::bytes::Dictionary;
use crate::engine::kfl::{Facts, Place};
use crate::engine::model::ProtocolKey;

/// Facts of a summary alone.
#[derive(Debug)]
pub(super) struct ZoneFacts<'a>(pub(super) &'a ZoneMap);

impl Facts for ZoneFacts<'_> {
    fn protocols(&self) -> Option<&[ProtocolKey]> {
        Some(&self.0.protocols)
    }

    fn flag(&self, field: &str) -> Option<bool> {
        let (count, all) = match field {
            "tls" => (self.0.decrypted, self.0.entries),
            "error" => (self.0.errors, self.0.entries),
            _ => return None,
        };
        if count == 0 {
            return Some(false);
        }
        (count == all).then_some(true)
    }

    fn range(&self, field: &str) -> Option<(i64, i64)> {
        let zone = self.0;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Some(match field {
            "seq" => (number(zone.first_seq), number(zone.last_seq)),
            "timestamp" | "startTime" => (number(zone.min_start.nanos()), number(zone.max_start.nanos())),
            "status" | "status_code" => (zone.min_status, zone.max_status),
            "dst.port" => (zone.min_port.into(), zone.max_port.into()),
            "elapsed_time" => (0, number(zone.max_elapsed / 1000)),
            "elapsedTime" | "latency" => (0, number(zone.max_elapsed / 1_000_000)),
            _ => return None,
        })
    }

    fn may_contain(&self, place: Place<'_>, needle: &[u8]) -> bool {
        match (place, &self.0.methods) {
            (Place::Field("method"), Some(methods)) => {
                methods.iter().any(|method| memmem::find(method.as_bytes(), needle).is_some())
            }
            _ => true,
        }
    }
}

/// Facts of a summary and the block's texts; bodies are read when they are asked for.
pub(super) struct TextFacts<'a> {
    pub(super) zone: ZoneFacts<'a>,
    pub(super) texts: &'a Dictionary,
    pub(super) bodies: &'a OnceCell<Vec<u8>>,
    pub(super) read_bodies: &'a dyn Fn() -> Vec<u8>,
}

impl Facts for TextFacts<'_> {
    fn protocols(&self) -> Option<&[ProtocolKey]> {
        self.zone.protocols()
    }

    fn flag(&self, field: &str) -> Option<bool> {
        self.zone.flag(field)
    }

    fn range(&self, field: &str) -> Option<(i64, i64)> {
        self.zone.range(field)
    }

    fn may_contain(&self, place: Place<'_>, needle: &[u8]) -> bool {
        let stored = match place {
            Place::Field(name) => is_stored_text(name),
            Place::Message => true,
        };
        if !stored || memmem::find(self.texts.all(), needle).is_some() {
            return true;
        }
        place == Place::Message && memmem::find(self.bodies.get_or_init(self.read_bodies), needle).is_some()
    }
}

/// Whether the field's text is in a block's dictionary as it is: not an address, not a number, not put
/// together, not a name that the registry gives.
fn is_stored_text(field: &str) -> bool {
    let of_peer = field.strip_prefix("src.").or_else(|| field.strip_prefix("dst."));
    match of_peer {
        Some(field) => matches!(
            field,
            "name"
                | "dns"
                | "process.name"
                | "process.exe"
                | "process.cgroup"
                | "container.id"
                | "unit"
                | "processName"
                | "processPath"
                | "containerId"
                | "cgroup"
        ),
        None => matches!(
            field,
            "summary"
                | "method"
                | "stream"
                | "worker"
                | "node_id"
                | "node_name"
                | "node.name"
                | "error_message"
                | "error.msg"
                | "local_process_name"
                | "remote_process_name"
                | "dns_resolutions"
        ),
    }
}
