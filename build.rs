//! Compiles `bpf/*.bpf.c` into skeletons and ABI bindings in `OUT_DIR`; nothing else.
fn main() {}
