//! A capture file as a sequence of items: pcap or pcapng, as it is or compressed with gzip or zstd.

use std::fs::File;
use std::io::{self, Chain, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::engine::pcap::{Item, PcapError, Reader, Tally};

/// Bytes read at a time. Packets share the memory of their piece, so a held packet holds as much.
const PIECE: usize = 256 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot read {path}: {error}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The content is wrong.
    #[error("{path}: {error}", path = path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: PcapError,
    },
}

/// An open file.
pub struct CaptureFile {
    path: PathBuf,
    from: Box<dyn Read + Send>,
    reader: Reader,
    piece: Vec<u8>,
    is_over: bool,
}

impl std::fmt::Debug for CaptureFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl CaptureFile {
    /// Opens a file; `-` is the standard input.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |error| FileError::Io { path: path.to_path_buf(), error };
        let from: Box<dyn Read + Send> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path).map_err(failed)?)
        };
        Self::read_from(path, from)
    }

    /// Reads what comes out of `from`; `path` is its name in errors.
    pub fn read_from(path: &Path, from: Box<dyn Read + Send>) -> Result<Self, FileError> {
        let from = decompressed(from).map_err(|error| FileError::Io { path: path.to_path_buf(), error })?;
        Ok(Self {
            path: path.to_path_buf(),
            from,
            reader: Reader::new(),
            piece: vec![0; PIECE],
            is_over: false,
        })
    }

    /// The next item; `None` at the end. After an error only the end follows.
    pub fn next_item(&mut self) -> Result<Option<Item>, FileError> {
        while !self.is_over {
            match self.reader.next_item() {
                Ok(Some(item)) => return Ok(Some(item)),
                Ok(None) => self.fill()?,
                Err(error) => return Err(self.over(error)),
            }
        }
        Ok(None)
    }

    /// What was read and what was left out so far.
    pub fn tally(&self) -> Tally {
        self.reader.tally()
    }

    fn fill(&mut self) -> Result<(), FileError> {
        let len = loop {
            match self.from.read(&mut self.piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.is_over = true;
                    return Err(FileError::Io { path: self.path.clone(), error });
                }
                Ok(len) => break len,
            }
        };
        if len > 0 {
            self.reader.feed(self.piece.get(..len).unwrap_or_default());
            return Ok(());
        }
        self.is_over = true;
        self.reader.finish().map_err(|error| self.over(error))
    }

    fn over(&mut self, error: PcapError) -> FileError {
        self.is_over = true;
        FileError::Content { path: self.path.clone(), error }
    }
}

fn decompressed(mut from: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut start = Vec::with_capacity(ZSTD.len());
    from.by_ref().take(ZSTD.len() as u64).read_to_end(&mut start)?;
    let is = |magic: &[u8]| start.starts_with(magic);
    let (gzip, zstd) = (is(&GZIP), is(&ZSTD));
    let whole: Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>> = Cursor::new(start).chain(from);
    Ok(if gzip {
        Box::new(flate2::read::MultiGzDecoder::new(whole))
    } else if zstd {
        Box::new(zstd::Decoder::new(whole)?)
    } else {
        Box::new(whole)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::engine::model::{DropReason, Loss, Record, Timestamp};
    use crate::engine::pcap::{Head, write_head, write_record};

    fn file() -> Vec<u8> {
        let head = Head {
            node: "alpha".into(),
            ip: [127, 0, 0, 1].into(),
            source: crate::engine::model::CaptureSource::Ebpf,
            at: Timestamp(1),
        };
        let mut file = Vec::new();
        write_head(&mut file, &head, "test");
        for count in 0..1000 {
            let loss = Loss { at: Timestamp(count), reason: DropReason::RingFull, count };
            write_record(&mut file, &Record::Loss(loss));
        }
        file
    }

    fn items(content: Vec<u8>) -> (usize, Option<FileError>) {
        let mut file = CaptureFile::read_from(Path::new("test"), Box::new(Cursor::new(content))).unwrap();
        let mut count = 0;
        loop {
            match file.next_item() {
                Ok(Some(_)) => count += 1,
                Ok(None) => return (count, None),
                Err(error) => {
                    assert!(matches!(file.next_item(), Ok(None)), "nothing follows an error");
                    return (count, Some(error));
                }
            }
        }
    }

    #[test]
    fn compressed_files_are_read_like_plain_ones() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&file()).unwrap();
        let zstd = zstd::encode_all(&*file(), 1).unwrap();
        for content in [file(), gzip.finish().unwrap(), zstd] {
            let (count, error) = items(content);
            assert!(error.is_none(), "{error:?}");
            assert_eq!(count, 1001);
        }
    }

    #[test]
    fn a_file_that_ends_early_gives_what_it_has_and_an_error() {
        let mut content = file();
        content.truncate(content.len() - 1);
        let (count, error) = items(content);
        assert_eq!(count, 1000);
        assert!(matches!(error, Some(FileError::Content { error: PcapError::Truncated { .. }, .. })));
        assert_eq!(items(Vec::new()).0, 0);
    }
}
