//! Reads the folder of protobuf descriptor sets, which give the fields of gRPC messages their names.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::engine::limits::protobuf as limits;
use crate::engine::protobuf::{DescriptorError, DescriptorSet};

/// Files that are read of one folder; the rest is named and left out.
const MAX_FILES: usize = 1024;

/// Why a folder of descriptor sets, or a file in it, is not read.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorsError {
    /// The file system says no.
    #[error("{} with protobuf descriptors cannot be read: {source}; create it, or name another folder", path.display())]
    Unreadable {
        /// Folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not taken.
    #[error("{} is left out: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DescriptorError,
    },
    /// There are too many.
    #[error("{} holds more than {MAX_FILES} files; put the descriptors of several services into one", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
}

/// Reads all files of a folder, in the order of their names, but for hidden ones. Files that are no descriptor
/// sets are left out, each with its reason.
pub fn read(folder: &Path) -> Result<(DescriptorSet, Vec<DescriptorsError>), DescriptorsError> {
    let mut set = DescriptorSet::default();
    let mut left_out = Vec::new();
    for path in files(folder)? {
        match content(&path) {
            Ok(bytes) => {
                if let Err(source) = set.add(&bytes) {
                    left_out.push(DescriptorsError::File { path, source });
                }
            }
            Err(source) => left_out.push(DescriptorsError::Unreadable { path, source }),
        }
    }
    Ok((set, left_out))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, DescriptorsError> {
    let unreadable = |source| DescriptorsError::Unreadable { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        // Links are followed: Kubernetes mounts files as such.
        if entry.file_name().as_encoded_bytes().starts_with(b".") || !path.is_file() {
            continue;
        }
        if found.len() == MAX_FILES {
            return Err(DescriptorsError::TooMany { path: folder.to_owned() });
        }
        found.push(path);
    }
    found.sort();
    Ok(found)
}

/// The bytes of a file, and no more than it takes to see that it is too long.
fn content(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limits::FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
