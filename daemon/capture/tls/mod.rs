//! TLS in clear text: finds the libraries in processes (`discovery`, `process_maps`), reads them
//! (`binary`, `golang`, `rustls`, `signatures`,
//! `boringssl`, `frames`), decides where probes go (`recipe`, `placement`),
//! attaches (`attachments`) and keeps what came of it (`census`).
//!
//! Invariant: whatever fails here fails for a file or a process, is counted and has a reason; it never
//! harms the process. Key material is only looked for (`keylog`) where the configuration asks for it.

mod attachments;
mod binary;
mod boringssl;
mod census;
mod discovery;
mod frames;
mod golang;
mod keylog;
mod placement;
mod process_maps;
mod recipe;
mod rustls;
mod signatures;

pub(super) use census::Census;
pub use census::{TlsProcess, TlsSeen, TlsUse};
pub(super) use discovery::{DiscoveryHandle, Noticing, spawn};
