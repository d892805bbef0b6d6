//! Protobuf: its wire format, and what descriptor sets say about the messages of services.
//!
//! Files are read by who calls; here are only their bytes. Invariant: any bytes, however hostile, cost time
//! and memory in proportion to their length, and `limits::protobuf` bounds both.

mod descriptor;
mod reader;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod wire;

use std::sync::{Arc, PoisonError, RwLock};

pub use self::descriptor::DescriptorSet;
pub(crate) use self::descriptor::{Field, Kind, MessageType};
pub use self::reader::DescriptorError;

/// The descriptors in force; all who hold a clone see what one of them replaces.
#[derive(Clone, Debug, Default)]
pub struct Schemas(Arc<RwLock<Arc<DescriptorSet>>>);

impl Schemas {
    /// What is in force now.
    pub fn get(&self) -> Arc<DescriptorSet> {
        // Sets are replaced whole, so a panic elsewhere leaves nothing half made.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another set into force, for calls that end from now on.
    pub fn replace(&self, set: DescriptorSet) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }
}

impl PartialEq for Schemas {
    /// Whether both are the same place, whatever is in it.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Schemas {}
