//! Drives flows, reassembly and dissectors for one share of the connections and emits entries.
