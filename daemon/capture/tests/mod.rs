//! Kernel tests: they need root, and fail, not skip, where the kernel lacks something.

mod exclusion;
mod owners;
mod packets;
mod support;
mod tls;
mod tls_files;
