//! Turns captured records into entries: wire parsing, flows, reassembly, dissection, KFL.
//!
//! Layers, each using only what stands to its right:
//! `present, kfl -> replay -> shard -> dissect -> reassembly -> flow -> wire, pcap -> model -> limits,
//! protobuf`.
//! Invariant: no I/O, no clock (time comes from the records), no privilege, no unsafe code; live
//! traffic, replayed segments and imported captures go through the very same code.

#![forbid(unsafe_code)]

#[cfg(test)]
mod captures;
pub mod dissect;
pub mod flow;
pub mod kfl;
pub mod limits;
pub mod model;
pub mod pcap;
pub mod present;
pub mod protobuf;
pub mod reassembly;
pub mod replay;
pub mod shard;
#[cfg(test)]
mod testing;
pub mod wire;
