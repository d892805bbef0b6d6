//! Paths of the full entry as KFL1 names them, and the ends of a call. They compare loosely.

use compact_str::format_compact;

use super::common::backend_of;
use super::protocols::names;
use crate::model::{AddrPort, Field, FieldSource, FieldType, FieldValue, Peer, Process, fields, join};

fn translated(peer: &Peer) -> Option<AddrPort> {
    peer.translated
}

/// A fact about the process of an end, where there is a process.
fn process<'a>(peer: &'a Peer, get: fn(&'a Process) -> FieldValue<'a>) -> FieldValue<'a> {
    peer.process.as_deref().map_or(FieldValue::Missing, get)
}

macro_rules! peer {
    ($side:literal, $peer:ident, $who:literal; $($name:literal $ty:ident $doc:literal $example:literal => $get:expr;)*) => {
        [$(Field {
            name: concat!($side, ".", $name),
            ty: FieldType::$ty,
            source: FieldSource::Get(|entry| {
                let get: for<'a> fn(&'a Peer) -> FieldValue<'a> = $get;
                get(&entry.$peer)
            }),
            doc: concat!($doc, " ", $who),
            example: concat!($side, ".", $example),
        },)*]
    };
}

macro_rules! peers {
    ($($rows:tt)*) => {
        const SRC: [Field; ROWS] = peer!("src", src, "(who asked)"; $($rows)*);
        const DST: [Field; ROWS] = peer!("dst", dst, "(who was asked)"; $($rows)*);
    };
}

/// Rows per end.
const ROWS: usize = 27;

peers! {
    "ip" Str "Address." r#"ip.startsWith("192.168.")"# => |peer| FieldValue::Ip(peer.addr.ip);
    "port" Int "Port." "port == 443" => |peer| FieldValue::Int(i64::from(peer.addr.port));
    "translated.ip" Str "Address behind NAT that packets went to." r#"translated.ip == "10.0.0.7""#
        => |peer| translated(peer).map_or(FieldValue::Missing, |addr| FieldValue::Ip(addr.ip));
    "translated.port" Int "Port behind NAT that packets went to." "translated.port == 8080"
        => |peer| translated(peer).map_or(FieldValue::Missing, |addr| FieldValue::Int(i64::from(addr.port)));
    "name" Str "Best name: pod, service, DNS name, unit, process." r#"name.contains("payment")"#
        => |peer| FieldValue::Str(&peer.name);
    "dns" Str "DNS name seen for the address." r#"dns.endsWith(".internal")"# => |peer| FieldValue::Str(&peer.dns);
    "process.name" Str "Name of the process." r#"process.name == "nginx""#
        => |peer| process(peer, |process| FieldValue::Str(&process.name));
    "process.pid" Int "Process id." "process.pid == 4711"
        => |peer| process(peer, |process| FieldValue::Int(i64::from(process.pid)));
    "process.ppid" Int "Process id of the parent." "process.ppid == 1"
        => |peer| process(peer, |process| FieldValue::Int(i64::from(process.ppid)));
    "process.exe" Str "Path of the executable." r#"process.exe == "/usr/bin/curl""#
        => |peer| process(peer, |process| FieldValue::Str(&process.exe));
    "process.uid" Int "User id of the process; -1 where it is not known." "process.uid == 0"
        => |peer| process(peer, |process| FieldValue::Int(process.uid.map_or(-1, i64::from)));
    "process.cgroup" Str "Path of the cgroup." r#"process.cgroup.startsWith("/user.slice")"#
        => |peer| process(peer, |process| FieldValue::Str(&process.cgroup));
    "process.netns" Int "Network namespace (inode number)." "process.netns == 4026531840"
        => |peer| process(peer, |process| FieldValue::Int(i64::from(process.netns)));
    "container.id" Str "Container id." r#"container.id.startsWith("3f2a")"#
        => |peer| process(peer, |process| FieldValue::Str(&process.container_id));
    "unit" Str "systemd unit." r#"unit == "nginx.service""#
        => |peer| process(peer, |process| FieldValue::Str(&process.unit));
    "processName" Str "Same as `process.name`." r#"processName == "nginx""#
        => |peer| process(peer, |process| FieldValue::Str(&process.name));
    "processId" Int "Same as `process.pid`." "processId == 4711"
        => |peer| process(peer, |process| FieldValue::Int(i64::from(process.pid)));
    "parentProcessId" Int "Same as `process.ppid`." "parentProcessId == 1"
        => |peer| process(peer, |process| FieldValue::Int(i64::from(process.ppid)));
    "hostProcessId" Int "Same as `process.pid`." "hostProcessId == 4711"
        => |peer| process(peer, |process| FieldValue::Int(i64::from(process.pid)));
    "hostParentProcessId" Int "Same as `process.ppid`." "hostParentProcessId == 1"
        => |peer| process(peer, |process| FieldValue::Int(i64::from(process.ppid)));
    "processPath" Str "Same as `process.exe`." r#"processPath == "/usr/sbin/nginx""#
        => |peer| process(peer, |process| FieldValue::Str(&process.exe));
    "containerId" Str "Same as `container.id`." r#"containerId != """#
        => |peer| process(peer, |process| FieldValue::Str(&process.container_id));
    "cgroupId" Int "cgroup v2 id." "cgroupId == 4512"
        => |peer| process(peer, |process| FieldValue::Int(process.cgroup_id as i64));
    "socketId" Int "Socket cookie; 0 where the end is elsewhere." "socketId != 0"
        => |peer| FieldValue::Int(peer.socket.0 as i64);
    "uid" Int "Same as `process.uid`." "uid == 0"
        => |peer| process(peer, |process| FieldValue::Int(process.uid.map_or(-1, i64::from)));
    "netns" Int "Same as `process.netns`." "netns == 4026531840"
        => |peer| process(peer, |process| FieldValue::Int(i64::from(process.netns)));
    "cgroup" Str "Same as `process.cgroup`." r#"cgroup.contains("kubepods")"#
        => |peer| process(peer, |process| FieldValue::Str(&process.cgroup));
}

/// Rows of both ends.
pub(super) const PEERS: &[Field] = &join::<{ ROWS * 2 }, _>(&SRC, &DST);

const ID: Field = Field {
    name: "id",
    ty: FieldType::Str,
    source: FieldSource::Text(|entry| format_compact!("{}", entry.id)),
    doc: "Id of the entry: node, stream and index. Its number on the node is `seq`.",
    example: r#"id == "web-1/1f-3-0""#,
};

/// Rows of the full entry beside the ends.
pub(super) const FIELDS: &[Field] = &join::<{ PATHS.len() + 1 }, _>(&[ID], PATHS);

const PATHS: &[Field] = fields! {
    "node.name" Str "Name of the node that saw the entry; also `node[\"name\"]`." r#"node.name == "web-1""#
        => |entry| FieldValue::Str(&entry.node.name);
    "node.ip" Str "Main address of that node; also `node[\"ip\"]`." r#"node.ip == "10.0.25.170""#
        => |entry| FieldValue::Ip(entry.node.ip);
    "protocol.name" Str "Family: `http` for all versions of it." r#"protocol.name == "http""#
        => |entry| FieldValue::Str(names(entry).name);
    "protocol.abbr" Str "Short name: `HTTP`, `HTTP/2`." r#"protocol.abbr == "HTTP""#
        => |entry| FieldValue::Str(names(entry).abbr);
    "protocol.version" Str "Version of the protocol, as far as its dissector tells them apart." r#"protocol.version == "1.1""#
        => |entry| FieldValue::Str(names(entry).version);
    "protocol.longName" Str "Full name." r#"protocol.longName == r"Hypertext.*""#
        => |entry| FieldValue::Str(names(entry).long_name);
    "protocol.macro" Str "The flag of the protocol." r#"protocol.macro == "http""#
        => |entry| FieldValue::Str(names(entry).macro_name);
    "protocol.layer4" Str "`tcp`, `udp`, ..." r#"protocol.layer4 == "tcp""#
        => |entry| FieldValue::Str(names(entry).layer4);
    "protocol.layer3" Str "`ip`." r#"protocol.layer3 == "ip""#
        => |_| FieldValue::Str("ip");
    "startTime" Timestamp "First byte of the request, or of the answer where no request was seen; also beside a text such as `2026-03-14T22:00:00Z`." r#"startTime > "2026-03-14T22:00:00Z""#
        => |entry| FieldValue::Timestamp(entry.timing.began());
    "elapsedTime" Int "First byte of the request to last byte of the answer, in milliseconds." "elapsedTime > 500"
        => |entry| FieldValue::Int((entry.timing.elapsed() / 1_000_000) as i64);
    "latency" Int "Same as `elapsedTime`." "latency > 500"
        => |entry| FieldValue::Int((entry.timing.elapsed() / 1_000_000) as i64);
    "requestSize" Int "Same as `request_size`." "requestSize > 1000"
        => |entry| FieldValue::Int(entry.request_size as i64);
    "responseSize" Int "Same as `response_size`." "responseSize > 1000"
        => |entry| FieldValue::Int(entry.response_size as i64);
    "size" Int "Bytes of both halves." "size > 10000"
        => |entry| FieldValue::Int(entry.request_size.saturating_add(entry.response_size) as i64);
    "error.type" Str "Same as `error_type`." r#"error.type == "connection""#
        => |entry| entry.error.as_ref().map_or(FieldValue::Missing, |error| FieldValue::Str(error.kind.name()));
    "error.msg" Str "Same as `error_message`." r#"error.msg.contains("reset")"#
        => |entry| entry.error.as_ref().map_or(FieldValue::Missing, |error| FieldValue::Str(&error.message));
    "capture.source" Str "Same as `capture_source`; also `capture[\"source\"]`." r#"capture.source == "ebpf""#
        => |entry| FieldValue::Str(entry.capture.source.name());
    "capture.backend" Str "Same as `capture_backend`; also `capture[\"backend\"]`." r#"capture.backend == "ebpf""#
        => |entry| FieldValue::Str(backend_of(entry));
    "capture.seenAt" Str "Whose sockets were seen: `client`, `server`, `both`." r#"capture.seenAt == "both""#
        => |entry| FieldValue::Str(&entry.capture.seen_at);
    "status" Int "Status code of any protocol that has one; 0 otherwise." "status >= 500"
        => |entry| FieldValue::Int(entry.status);
};
