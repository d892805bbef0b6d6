//! The objects that all forms share: protocol, node, endpoint, capture, error.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::dissect::tls::{suite_name, version_name};
use crate::dissect::{ProtocolInfo, registry};
use crate::model::{
    AddrPort, CaptureSource, Entry, NodeInfo, Peer, ProtocolKey, TlsInfo, TlsLibrary, TlsWitness,
};

/// The common protocol object.
pub(super) struct ProtocolObject<'a>(pub(super) &'a ProtocolKey);

/// A port as text, written without an allocation.
struct Port(u16);

/// Ports as texts.
struct Ports(&'static [u16]);

/// Anything that prints itself, as JSON text.
pub(super) struct Text<T>(pub(super) T);

/// The node object.
pub(super) struct Node<'a>(pub(super) &'a NodeInfo);

/// The capture object.
pub(super) struct Capture<'a>(pub(super) &'a Entry);

/// What is known about the TLS of a decrypted call.
pub(super) struct Tls<'a>(pub(super) &'a TlsInfo);

/// `null`, or type and message.
pub(super) struct Failure<'a>(pub(super) &'a Entry);

/// One end. `whole`: with the keys that list rows leave out.
pub(super) struct Resolution<'a> {
    pub(super) peer: &'a Peer,
    pub(super) whole: bool,
}

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().copied().map(Port))
    }
}

const UNKNOWN: ProtocolInfo = ProtocolInfo {
    key: "",
    name: "",
    version: "",
    abbr: "",
    long_name: "",
    macro_name: "",
    background: "#606060",
    foreground: "#ffffff",
    font_size: 12,
    reference: "",
    ports: &[],
    layer4: crate::model::L4::TCP,
    priority: u8::MAX,
};

impl Serialize for ProtocolObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A stored entry may name a protocol that this build no longer has: its key is still shown.
        let known = registry::info(self.0);
        let key = self.0.as_str();
        let info = known.unwrap_or(&UNKNOWN);
        let or_key = |text: &'static str| if known.is_some() { text } else { key };
        let mut out = serializer.serialize_map(Some(13))?;
        out.serialize_entry("name", or_key(info.name))?;
        out.serialize_entry("version", info.version)?;
        out.serialize_entry("abbr", or_key(info.abbr))?;
        out.serialize_entry("longName", or_key(info.long_name))?;
        out.serialize_entry("macro", or_key(info.macro_name))?;
        out.serialize_entry("backgroundColor", info.background)?;
        out.serialize_entry("foregroundColor", info.foreground)?;
        out.serialize_entry("fontSize", &info.font_size)?;
        out.serialize_entry("referenceLink", info.reference)?;
        out.serialize_entry("ports", &Ports(info.ports))?;
        out.serialize_entry("layer3", "ip")?;
        out.serialize_entry("layer4", info.layer4.name())?;
        out.serialize_entry("priority", &info.priority)?;
        out.end()
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(2))?;
        out.serialize_entry("ip", &Text(self.0.ip))?;
        out.serialize_entry("name", &*self.0.name)?;
        out.end()
    }
}

impl Serialize for Capture<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let capture = &self.0.capture;
        let witness = self.0.tls_info.as_ref().and_then(|info| info.witness);
        let mut out = serializer.serialize_map(Some(6))?;
        out.serialize_entry("backend", backend(capture.source))?;
        out.serialize_entry("source", capture.source.name())?;
        out.serialize_entry("proxy", &())?;
        out.serialize_entry("vlan", &())?;
        out.serialize_entry("seenAt", &*capture.seen_at)?;
        out.serialize_entry("witness", witness.map_or("", TlsWitness::name))?;
        out.end()
    }
}

impl Serialize for Tls<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (info, handshake) = (self.0, &self.0.handshake);
        let suite = handshake.cipher_suite.map(suite_name).unwrap_or_default();
        let mut out = serializer.serialize_map(Some(8))?;
        out.serialize_entry("sni", &*handshake.sni)?;
        out.serialize_entry("version", &*version_name(handshake.version))?;
        out.serialize_entry("versionCode", &handshake.version)?;
        out.serialize_entry("cipherSuite", &*suite)?;
        out.serialize_entry("cipherSuiteCode", &handshake.cipher_suite)?;
        out.serialize_entry("alpn", &*info.alpn)?;
        out.serialize_entry("ja4", &*handshake.ja4)?;
        out.serialize_entry("library", info.library.map_or("", TlsLibrary::name))?;
        out.end()
    }
}

const fn backend(source: CaptureSource) -> &'static str {
    match source {
        CaptureSource::Unspecified => "",
        CaptureSource::AfPacket => "af_packet",
        CaptureSource::Ebpf | CaptureSource::EbpfTls => "ebpf",
        CaptureSource::File => "file",
    }
}

/// The number of `captureSource`.
pub(super) const fn source_code(source: CaptureSource) -> u8 {
    match source {
        CaptureSource::Unspecified | CaptureSource::File => 0,
        CaptureSource::AfPacket => 1,
        CaptureSource::Ebpf => 2,
        CaptureSource::EbpfTls => 3,
    }
}

impl Serialize for Failure<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(error) = &self.0.error else { return serializer.serialize_unit() };
        let mut out = serializer.serialize_map(Some(2))?;
        out.serialize_entry("type", error.kind.name())?;
        out.serialize_entry("msg", &*error.message)?;
        out.end()
    }
}

struct Endpoint(AddrPort);

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(2))?;
        out.serialize_entry("ip", &Text(self.0.ip))?;
        out.serialize_entry("port", &Port(self.0.port))?;
        out.end()
    }
}

impl Serialize for Resolution<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let peer = self.peer;
        let process = peer.process.as_deref();
        let mut out = serializer.serialize_map(None)?;
        out.serialize_entry("ip", &Text(peer.addr.ip))?;
        out.serialize_entry("port", &Port(peer.addr.port))?;
        out.serialize_entry("name", &*peer.name)?;
        out.serialize_entry("namespace", "")?;
        out.serialize_entry("pod", &())?;
        out.serialize_entry("endpointSlice", &())?;
        out.serialize_entry("service", &())?;
        out.serialize_entry("cgroupId", &process.map_or(0, |process| process.cgroup_id))?;
        out.serialize_entry("containerId", process.map_or("", |process| &process.container_id))?;
        out.serialize_entry("socketId", &peer.socket.0)?;
        for key in ["processId", "hostProcessId"] {
            out.serialize_entry(key, &process.map_or(0, |process| process.pid))?;
        }
        for key in ["parentProcessId", "hostParentProcessId"] {
            out.serialize_entry(key, &process.map_or(0, |process| process.ppid))?;
        }
        out.serialize_entry("processName", process.map_or("", |process| &process.name))?;
        out.serialize_entry("resolutionMechanism", mechanism(peer))?;
        out.serialize_entry("unit", process.map_or("", |process| &process.unit))?;
        out.serialize_entry("uid", &process.and_then(|process| process.uid))?;
        out.serialize_entry("cgroup", process.map_or("", |process| &process.cgroup))?;
        out.serialize_entry("netns", &process.map_or(0, |process| process.netns))?;
        out.serialize_entry("dns", &*peer.dns)?;
        out.serialize_entry("translated", &peer.translated.map(Endpoint))?;
        if self.whole {
            out.serialize_entry("processPath", process.map_or("", |process| &process.exe))?;
            out.serialize_entry("cpuUsage", &0)?;
            out.serialize_entry("memoryUsage", &0)?;
        }
        out.end()
    }
}

fn mechanism(peer: &Peer) -> &'static str {
    match peer {
        Peer { process: Some(_), .. } => "syscall",
        Peer { dns, .. } if !dns.is_empty() => "dns",
        Peer { name, .. } if !name.is_empty() => "ip",
        _ => "none",
    }
}

/// Milliseconds, rounded.
pub(super) fn elapsed_ms(entry: &Entry) -> u64 {
    (entry.timing.elapsed() + 500_000) / 1_000_000
}

/// Whether the call is over.
pub(super) fn state(entry: &Entry) -> &'static str {
    if entry.is_open() { "open" } else { "ended" }
}
