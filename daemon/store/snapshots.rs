//! The manifest of snapshots: one document each, written by the snapshot library and opaque here.

use redb::ReadableTable as _;

use super::database::SNAPSHOTS;
use super::{Store, StoreError};

impl Store {
    /// All documents by their id, ascending.
    pub fn snapshots(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let txn = self.shared.begin_read()?;
        let table = match txn.open_table(SNAPSHOTS) {
            Ok(table) => table,
            // The file is from before there were snapshots.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::failed("read the snapshots")(error)),
        };
        let rows = table.iter().map_err(StoreError::failed("read the snapshots"))?;
        rows.map(|row| {
            let (id, document) = row.map_err(StoreError::failed("read the snapshots"))?;
            Ok((id.value(), document.value().to_vec()))
        })
        .collect()
    }

    /// Writes a document, durable on return; `None` removes it.
    pub fn set_snapshot(&self, id: u64, document: Option<&[u8]>) -> Result<(), StoreError> {
        let txn = self.shared.begin_write()?;
        {
            let mut table = txn.open_table(SNAPSHOTS).map_err(StoreError::failed("write a snapshot"))?;
            match document {
                Some(document) => table.insert(id, document).map(drop),
                None => table.remove(id).map(drop),
            }
            .map_err(StoreError::failed("write a snapshot"))?;
        }
        txn.commit().map_err(StoreError::failed("write a snapshot"))
    }
}
