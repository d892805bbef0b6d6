//! Reads and writes capture files: pcapng and classic pcap in, pcapng and classic pcap out.
//!
//! What Remora writes are ordinary pcapng files: packets as raw IP, TLS plaintext as exported PDUs. What
//! pcapng has no place for (socket cookies, owners of sockets, processes, losses) stands in options and
//! blocks of the numbers that the format leaves to local use, which other readers pass over.
//! Invariants: total and bounded, no input panics or makes it hold more than [`limits::BLOCK`] and the
//! fragments under way; a record that was written is read back equal.
//!
//! [`limits::BLOCK`]: crate::limits::pcap::BLOCK

mod classic;
mod cursor;
mod event;
mod fragments;
mod framing;
mod link;
mod options;
mod reader;
mod section;
mod unwrap;
mod writer;

pub use classic::{write_head as write_classic_head, write_packet as write_classic_packet};
pub use event::Head;
pub use reader::{Item, Reader, Tally};
pub use writer::{
    Direction, Statistics, write_event, write_exported, write_head, write_names, write_packet, write_record,
    write_secret, write_statistics,
};

use thiserror::Error;

/// Why a file cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PcapError {
    /// The first bytes belong to neither format.
    #[error("this is no capture file: it begins with {0:#010x}; pcap and pcapng files are read")]
    NotACapture(u32),
    /// A block or packet that claims more than any real one has.
    #[error(
        "at byte {offset}: a block of {len} bytes is longer than the {limit} that are read; the file is damaged"
    )]
    Oversized {
        /// Where it begins.
        offset: u64,
        /// What it claims.
        len: u64,
        /// What is read at most.
        limit: usize,
    },
    /// Lengths that contradict each other.
    #[error("at byte {offset}: {what}; what stands before it was read")]
    Broken {
        /// Where.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The input ended inside of a block.
    #[error("at byte {offset}: the file ends inside of a block; what stands before it was read")]
    Truncated {
        /// Where the block begins.
        offset: u64,
    },
}

/// Block and option numbers, link types (draft-ietf-opsawg-pcapng, tcpdump.org/linktypes.html).
mod number {
    pub(super) const SECTION: u32 = 0x0a0d_0d0a;
    pub(super) const BYTE_ORDER: u32 = 0x1a2b_3c4d;
    pub(super) const INTERFACE: u32 = 1;
    pub(super) const PACKET: u32 = 2;
    pub(super) const SIMPLE_PACKET: u32 = 3;
    pub(super) const NAMES: u32 = 4;
    pub(super) const STATISTICS: u32 = 5;
    pub(super) const ENHANCED_PACKET: u32 = 6;
    pub(super) const SECRETS: u32 = 10;
    /// Kind of secrets: an NSS key log. "TLSK" in ASCII.
    pub(super) const KEY_LOG: u32 = 0x544c_534b;
    /// Remora's events: block numbers with the highest bit set are for local use. "REM" in ASCII.
    pub(super) const REMORA_EVENT: u32 = 0x8052_454d;

    pub(super) const COMMENT: u16 = 1;
    /// Remora's description of a packet: option numbers with the highest bit set are for local use.
    pub(super) const REMORA_PACKET: u16 = 0x8001;
    /// Remora's description of a piece of TLS plaintext.
    pub(super) const REMORA_TLS: u16 = 0x8002;
    /// When a secret was seen.
    pub(super) const REMORA_SECRET: u16 = 0x8003;

    pub(super) const RAW_IP: u16 = 101;
    /// Exported PDUs (`LINKTYPE_WIRESHARK_UPPER_PDU`).
    pub(super) const UPPER_PDU: u16 = 252;
}

#[cfg(test)]
mod tests;
