//! The few choices that are made while running and survive a restart.

use super::database::SETTINGS;
use super::{Store, StoreError};

/// A persisted choice. Its name is stored, so never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// Whether dissection is paused: `true` or `false`.
    DissectionPaused,
    /// The capture scope set at run time, as its API wrote it.
    CaptureScope,
    /// Whether raw capture is on: `true` or `false`.
    RawCapture,
    /// Windows that were captured and not dissected, as JSON.
    Undissected,
}

impl Setting {
    const fn name(self) -> &'static str {
        match self {
            Self::DissectionPaused => "dissection-paused",
            Self::CaptureScope => "capture-scope",
            Self::RawCapture => "raw-capture",
            Self::Undissected => "undissected",
        }
    }
}

impl Store {
    /// The stored value; `None` when it was never set.
    pub fn setting(&self, setting: Setting) -> Result<Option<String>, StoreError> {
        let txn = self.shared.begin_read()?;
        let table = txn.open_table(SETTINGS).map_err(StoreError::failed("read a setting"))?;
        let value = table.get(setting.name()).map_err(StoreError::failed("read a setting"))?;
        Ok(value.map(|value| value.value().to_owned()))
    }

    /// Stores a value, durable on return; `None` forgets it.
    pub fn set_setting(&self, setting: Setting, value: Option<&str>) -> Result<(), StoreError> {
        let txn = self.shared.begin_write()?;
        {
            let mut table = txn.open_table(SETTINGS).map_err(StoreError::failed("write a setting"))?;
            match value {
                Some(value) => table.insert(setting.name(), value).map(drop),
                None => table.remove(setting.name()).map(drop),
            }
            .map_err(StoreError::failed("write a setting"))?;
        }
        txn.commit().map_err(StoreError::failed("write a setting"))
    }
}
