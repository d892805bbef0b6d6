//! Packets and socket events from BPF through one `Source` trait; the only user of libbpf-rs.
