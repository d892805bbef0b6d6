//! The kernel side of capture: `load`, `attach` and `uprobe` call libbpf, `links` detaches, `ring` reads, `abi` decodes.

mod abi;
mod attach;
mod links;
mod load;
mod ring;
mod tls_abi;
mod uprobe;

pub(super) use abi::{
    PacketCounts, PacketDecoder, packet_counts, scope_bits, scope_network_key, socket_counts, socket_record,
};
pub(super) use attach::{Attached, attach_all};
pub(super) use links::Links;
pub(super) use load::{LoadOptions, Loaded, load_packet, load_socket, load_tls};
pub(super) use ring::{Batch, ReaderHandle, RingSource, spawn_reader};
pub use ring::{ReaderMark, ReaderWatch};
pub(super) use tls_abi::{TlsCounts, TlsDecoder, scope_executable_key, tls_counts};
pub(super) use uprobe::{UprobeMethod, attach_uprobes};

/// Types that the build generates out of `bpf/abi/*.h` (through the objects' BTF).
#[allow(
    dead_code,
    unsafe_code,
    unreachable_pub,
    unused_imports,
    missing_debug_implementations,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    reason = "generated"
)]
mod generated {
    pub(super) mod packet {
        include!(concat!(env!("OUT_DIR"), "/packet.skel.rs"));
    }
    pub(super) mod socket {
        include!(concat!(env!("OUT_DIR"), "/socket.skel.rs"));
    }
    pub(super) mod tls {
        include!(concat!(env!("OUT_DIR"), "/tls.skel.rs"));
    }
}
