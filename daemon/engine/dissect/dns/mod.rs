//! DNS over UDP and TCP (RFC 1035 and its successors), multicast DNS (RFC 6762) and LLMNR (RFC 4795).
//!
//! Invariant: an answer meets the query of its own id and question on its own flow, or none; names cost
//! at most 255 octets each, whatever pointers a message holds.

mod dissector;
mod edns;
mod entry;
mod facts;
mod fields;
mod matcher;
mod message;
mod names;
mod rdata;
mod reader;

#[cfg(test)]
pub(crate) mod tests;

use super::{
    Carrier, Columns, Dissector, Opening, Peek, Protocol, ProtocolInfo, Section, SectionContent, Verdict,
};
use crate::model::{Direction, L4};

const DNS: ProtocolInfo = ProtocolInfo {
    key: "dns",
    name: "dns",
    version: "0",
    abbr: "DNS",
    long_name: "Domain Name System",
    macro_name: "dns",
    background: "#606060",
    foreground: "#ffffff",
    font_size: 12,
    reference: "https://datatracker.ietf.org/doc/html/rfc1035",
    ports: &[53],
    layer4: L4::UDP,
    priority: 4,
};

const MDNS: ProtocolInfo = ProtocolInfo {
    key: "mdns",
    abbr: "mDNS",
    long_name: "Multicast DNS",
    reference: "https://datatracker.ietf.org/doc/html/rfc6762",
    ports: &[MDNS_PORT],
    ..DNS
};

const LLMNR: ProtocolInfo = ProtocolInfo {
    key: "llmnr",
    abbr: "LLMNR",
    long_name: "Link-Local Multicast Name Resolution",
    reference: "https://datatracker.ietf.org/doc/html/rfc4795",
    ports: &[LLMNR_PORT],
    ..DNS
};

/// Multicast DNS.
const MDNS_PORT: u16 = 5353;
/// LLMNR.
const LLMNR_PORT: u16 = 5355;
/// DNS.
const DNS_PORT: u16 = 53;
/// NetBIOS names: messages that look like DNS and are not.
const NETBIOS_PORT: u16 = 137;

/// Longer messages are not waited for to know a stream by them; clients' first questions are short.
const LONGEST_AWAITED: usize = 4000;

/// DNS in the registry.
pub static PROTOCOL: Protocol = Protocol {
    infos: &[DNS, MDNS, LLMNR],
    over: &[Carrier::Datagram, Carrier::Stream],
    probe,
    open,
    fields: fields::FIELDS,
    columns: Columns { method: "dns_opcode", summary: "dns_name", status: "status_code" },
    payloads: &[],
    sections: SECTIONS,
    names: Some(facts::names),
};

const SECTIONS: &[Section] = &[
    Section {
        title: "Details",
        side: Direction::ToServer,
        content: SectionContent::Details(&[
            ("Operation", "request.opCode"),
            ("Id", "request.id"),
            ("Transport", "request.transport"),
            ("Recursion Desired", "request.recursionDesired"),
            ("Checking Disabled", "request.checkingDisabled"),
            ("Sent Before", "request.retries"),
        ]),
    },
    Section {
        title: "Questions",
        side: Direction::ToServer,
        content: SectionContent::Table("request.questions"),
    },
    Section { title: "EDNS", side: Direction::ToServer, content: SectionContent::Table("request.edns") },
    Section {
        title: "Details",
        side: Direction::ToClient,
        content: SectionContent::Details(&[
            ("Code", "response.code"),
            ("Mnemonic", "response.rcode"),
            ("Authoritative", "response.authoritative"),
            ("Truncated", "response.truncated"),
            ("Recursion Available", "response.recursionAvailable"),
            ("Authentic Data", "response.authenticData"),
        ]),
    },
    Section {
        title: "Questions",
        side: Direction::ToClient,
        content: SectionContent::Table("response.questions"),
    },
    Section {
        title: "Answers",
        side: Direction::ToClient,
        content: SectionContent::Table("response.answers"),
    },
    Section {
        title: "Authorities",
        side: Direction::ToClient,
        content: SectionContent::Table("response.authorities"),
    },
    Section {
        title: "Additionals",
        side: Direction::ToClient,
        content: SectionContent::Table("response.additionals"),
    },
    Section { title: "EDNS", side: Direction::ToClient, content: SectionContent::Table("response.edns") },
];

fn open(opening: &Opening<'_>) -> Box<dyn Dissector> {
    Box::new(dissector::Dns::new(opening))
}

/// A message that makes sense as a whole; on the usual ports less is asked of it.
fn probe(peek: &Peek<'_>) -> Verdict {
    if peek.server_port == NETBIOS_PORT {
        return Verdict::No;
    }
    if peek.carrier == Carrier::Datagram { probe_datagram(peek) } else { probe_stream(peek) }
}

fn probe_datagram(peek: &Peek<'_>) -> Verdict {
    let expected = matches!(peek.server_port, DNS_PORT | MDNS_PORT | LLMNR_PORT);
    let from_client = !peek.to_server.is_empty();
    let bytes = if from_client { peek.to_server } else { peek.to_client };
    if !message::is_message(bytes, expected) {
        return Verdict::No;
    }
    let is_response = message::Header::read(bytes).is_some_and(message::Header::is_response);
    // Announcements come unasked from the service's own port.
    if is_response == from_client && peek.server_port != MDNS_PORT {
        Verdict::YesSwapped
    } else {
        Verdict::Yes
    }
}

fn probe_stream(peek: &Peek<'_>) -> Verdict {
    let mut verdict = Verdict::No;
    for (bytes, from_client) in [(peek.to_server, true), (peek.to_client, false)] {
        let Some((prefix, body)) = bytes.split_first_chunk::<2>() else {
            // Servers do not speak first, so the client's bytes decide.
            if !bytes.is_empty() || from_client && peek.from_start && peek.to_client.is_empty() {
                verdict = Verdict::NeedMore;
            }
            continue;
        };
        let len = usize::from(u16::from_be_bytes(*prefix));
        if len < message::HEADER || !message::may_begin(body) {
            continue;
        }
        match body.get(..len) {
            Some(whole) if message::is_message(whole, false) => {
                let is_response = message::Header::read(whole).is_some_and(message::Header::is_response);
                return if is_response == from_client { Verdict::YesSwapped } else { Verdict::Yes };
            }
            Some(_) => {}
            None if len <= LONGEST_AWAITED => verdict = Verdict::NeedMore,
            // Detection will never see all of it.
            None => {}
        }
    }
    verdict
}
