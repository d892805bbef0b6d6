//! Compiles `bpf/*.bpf.c` into skeletons and ABI bindings in `OUT_DIR`; nothing else.

use std::{env, error::Error, path::PathBuf};

use libbpf_cargo::SkeletonBuilder;

/// One object per job, so that a kernel that refuses one still runs the others.
const OBJECTS: [&str; 3] = ["packet", "socket", "tls"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=bpf");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for name in OBJECTS {
        SkeletonBuilder::new()
            .source(format!("bpf/{name}.bpf.c"))
            .obj(out.join(format!("{name}.bpf.o")))
            .clang_args(["-Wall", "-Werror", "-mcpu=v3"])
            .build_and_generate(out.join(format!("{name}.skel.rs")))
            .map_err(|error| format!("bpf/{name}.bpf.c: {error:#}"))?;
    }
    Ok(())
}
