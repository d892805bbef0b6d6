//! The few things that raw capture does to a disk; tests put a failing one in its place.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// Bytes after which the kernel is asked to begin writing: what is left when a segment is sealed takes
/// little time, in which records wait.
const WRITE_BEHIND: u64 = 4 << 20;

/// A directory with at most one file that is written to.
pub(super) trait Disk: Send {
    /// Names and lengths of all files.
    fn list(&mut self) -> io::Result<Vec<(String, u64)>>;
    /// Makes a new file and writes to it from now on.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Writes all of it to the end of the file.
    fn append(&mut self, data: &[u8]) -> io::Result<()>;
    /// Makes what was written survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;
    /// Syncs and closes the file, and gives it another name, for good.
    fn seal(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Cuts a file.
    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()>;
    /// Opens a file for reading.
    fn read(&mut self, name: &str) -> io::Result<Box<dyn Read>>;
    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Bytes that may still be written to this disk, and its size.
    fn free(&mut self) -> io::Result<(u64, u64)>;
}

/// A directory of the file system.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    file: Option<File>,
    /// Bytes of the file, and how many of them the kernel was asked to write.
    written: u64,
    asked: u64,
}

impl Folder {
    /// Makes the directory, for the daemon alone, if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self { path: path.to_path_buf(), file: None, written: 0, asked: 0 })
    }

    fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| io::Error::other("no segment is open"))
    }

    /// Begins writing what was appended, and lets go of what is on the disk: nobody reads it soon, and the
    /// memory is better used by the host's workloads.
    fn write_behind(&mut self) {
        if self.written - self.asked < WRITE_BEHIND {
            return;
        }
        // The part before has most likely been written by now.
        let from = self.asked.saturating_sub(WRITE_BEHIND);
        let range = (i64::try_from(from), i64::try_from(self.written - from));
        if let (Some(file), (Ok(from), Ok(len))) = (&self.file, range) {
            // Advice: what it fails at, syncing does and reports.
            let _advised = posix_fadvise(file, from, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
        self.asked = self.written;
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Disk for Folder {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                found.push((name, metadata.len()));
            }
        }
        Ok(found)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let path = self.path.join(name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        self.file = Some(file);
        (self.written, self.asked) = (0, 0);
        Ok(())
    }

    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.file()?.write_all(data)?;
        self.written += data.len() as u64;
        self.write_behind();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    fn seal(&mut self, from: &str, to: &str) -> io::Result<()> {
        // A name that is final promises content that is: the data goes first.
        match self.file.take() {
            Some(file) => file.sync_all()?,
            None => File::open(self.path.join(from))?.sync_all()?,
        }
        std::fs::rename(self.path.join(from), self.path.join(to))?;
        self.sync_names()
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        match &mut self.file {
            Some(file) => {
                file.set_len(len)?;
                (self.written, self.asked) = (len, self.asked.min(len));
                file.seek(SeekFrom::Start(len)).map(drop)
            }
            None => OpenOptions::new().write(true).open(self.path.join(name))?.set_len(len),
        }
    }

    fn read(&mut self, name: &str) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(self.path.join(name))?))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn free(&mut self) -> io::Result<(u64, u64)> {
        let stat = nix::sys::statvfs::statvfs(&self.path)?;
        let unit = stat.fragment_size();
        Ok((stat.blocks_available().saturating_mul(unit), stat.blocks().saturating_mul(unit)))
    }
}
