//! Fields that every entry has, under the names of KFL2 and new ones of its style.

use super::protocols::names;
use crate::model::{CaptureSource, Entry, EntryEvent, Field, FieldValue, Peer, fields};

fn local(entry: &Entry) -> &Peer {
    if entry.outgoing { &entry.src } else { &entry.dst }
}

fn remote(entry: &Entry) -> &Peer {
    if entry.outgoing { &entry.dst } else { &entry.src }
}

fn process_name(peer: &Peer) -> FieldValue<'_> {
    peer.process.as_ref().map_or(FieldValue::Missing, |process| FieldValue::Str(&process.name))
}

fn node_of(peer: &Peer, entry: &Entry) -> bool {
    std::ptr::eq(peer, local(entry)) || peer.process.is_some() || peer.socket.is_known()
}

fn backend(source: CaptureSource) -> &'static str {
    match source {
        CaptureSource::AfPacket => "af_packet",
        CaptureSource::Ebpf | CaptureSource::EbpfTls => "ebpf",
        CaptureSource::File => "file",
        CaptureSource::Unspecified => "",
    }
}

pub(super) fn backend_of(entry: &Entry) -> &'static str {
    backend(entry.capture.source)
}

fn has_event(entry: &Entry, test: fn(&EntryEvent) -> bool) -> FieldValue<'_> {
    FieldValue::Bool(entry.events.iter().any(test))
}

/// Rows common to all entries.
pub(super) const FIELDS: &[Field] = fields! {
    "protocol" Str "Short name of the protocol: `HTTP`, `HTTP/2`, `gRPC`, `REDIS`." r#"protocol == "HTTP""#
        => |entry| FieldValue::Str(names(entry).abbr);
    "timestamp" Timestamp "First byte of the request, or of the answer where no request was seen. Beside a number: milliseconds since 1970." r#"timestamp > now() - duration("5m")"#
        => |entry| FieldValue::Timestamp(entry.timing.began());
    "elapsed_time" Int "First byte of the request to last byte of the answer, in microseconds; 0 without an answer." "elapsed_time > 2000000"
        => |entry| FieldValue::Int((entry.timing.elapsed() / 1000) as i64);
    "seq" Int "Number of the entry on its node; grows by one." "seq > 100000"
        => |entry| FieldValue::Int(entry.seq as i64);
    "index" Int "Number of the entry in its stream, from 0." "index == 0"
        => |entry| FieldValue::Int(entry.id.index as i64);
    "stream" Str "Id of the stream." r#"stream == "1f-3""#
        => |entry| FieldValue::Str(&entry.id.stream);
    "worker" Str "Name of the node that saw the entry." r#"worker == "web-1""#
        => |entry| FieldValue::Str(&entry.id.node);
    "node_id" Str "Name of the node that saw the entry." r#"node_id == "web-1""#
        => |entry| FieldValue::Str(&entry.id.node);
    "node_name" Str "Name of the node that saw the entry." r#"node_name == "web-1""#
        => |entry| FieldValue::Str(&entry.node.name);
    "node_ip" Str "Main address of that node." r#"node_ip == "10.0.25.170""#
        => |entry| FieldValue::Ip(entry.node.ip);
    "local_node_name" Str "Name of the node of the end that is on this node." r#"local_node_name == "web-1""#
        => |entry| FieldValue::Str(&entry.node.name);
    "remote_node_name" Str "Name of the node of the other end, where it is this node as well." r#"remote_node_name == "web-1""#
        => |entry| if node_of(remote(entry), entry) { FieldValue::Str(&entry.node.name) } else { FieldValue::Missing };
    "conn_id" Int "The connection that the entry belongs to." "conn_id == 42"
        => |entry| FieldValue::Int(entry.connection.0 as i64);
    "flow_id" Int "The flow that the entry belongs to; the same number as `conn_id`." "flow_id == 42"
        => |entry| FieldValue::Int(entry.connection.0 as i64);
    "capture_source" Str "Where the bytes were read: `af_packet`, `ebpf`, `ebpf_tls`, `file`, `unspecified`." r#"capture_source == "ebpf_tls""#
        => |entry| FieldValue::Str(entry.capture.source.name());
    "capture_backend" Str "`af_packet`, `ebpf` or `file`." r#"capture_backend == "ebpf""#
        => |entry| FieldValue::Str(backend_of(entry));
    "capture_source_code" Int "0 unspecified, 1 af_packet, 2 ebpf, 3 ebpf_tls, 4 file." "capture_source_code == 3"
        => |entry| FieldValue::Int(entry.capture.source as i64);
    "outgoing" Bool "The client runs on this node." "outgoing"
        => |entry| FieldValue::Bool(entry.outgoing);
    "request_size" Int "Bytes of the request on the wire." "request_size > 1000"
        => |entry| FieldValue::Int(entry.request_size as i64);
    "response_size" Int "Bytes of the answer on the wire." "response_size > 1000000"
        => |entry| FieldValue::Int(entry.response_size as i64);
    "error_type" Str "`dissection`, `connection`, `timeout`, `pair-not-found`; empty without an error." r#"error_type == "timeout""#
        => |entry| entry.error.as_ref().map_or(FieldValue::Missing, |error| FieldValue::Str(error.kind.name()));
    "error_message" Str "What went wrong, for a person." r#"error_message.contains("reset")"#
        => |entry| entry.error.as_ref().map_or(FieldValue::Missing, |error| FieldValue::Str(&error.message));
    "has_gap" Bool "Bytes of a body were not captured." "has_gap"
        => |entry| has_event(entry, |event| matches!(event, EntryEvent::GapInRequest { .. } | EntryEvent::GapInResponse { .. }));
    "truncated" Bool "A body is longer than the limit and was cut." "truncated"
        => |entry| has_event(entry, |event| matches!(event, EntryEvent::RequestTruncated { .. } | EntryEvent::ResponseTruncated { .. }));
    "mid_stream" Bool "The connection was under way when capture began." "mid_stream"
        => |entry| has_event(entry, |event| matches!(event, EntryEvent::MidStream));
    "state" Str "`open` while the call goes on (its entry comes again when it is over), else `ended`." r#"state == "open""#
        => |entry| FieldValue::Str(if entry.is_open() { "open" } else { "ended" });
    "summary" Str "One line that tells calls apart: path, key, question." r#"summary.contains("users")"#
        => |entry| FieldValue::Str(&entry.summary);
    "local_process_name" Str "Process of the end on this node (the client's if both are)." r#"local_process_name == "nginx""#
        => |entry| process_name(local(entry));
    "remote_process_name" Str "Process of the other end." r#"remote_process_name.contains("postgres")"#
        => |entry| process_name(remote(entry));
    "dns_resolutions" StrList "DNS names seen for both addresses." r#""db.example.com" in dns_resolutions"#
        => |entry| FieldValue::Pair(&entry.src.dns, &entry.dst.dns);
};
