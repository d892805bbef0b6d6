//! What code a process has mapped, from `/proc`; every file may vanish.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Longest list of mappings that is read. A browser's takes a fifth.
const MAX_MAPS_BYTES: u64 = 8 << 20;

/// A file whose code is mapped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MappedFile {
    /// As `/proc` writes it. On overlayfs it is not what stat says.
    pub(super) device: String,
    pub(super) inode: u64,
    /// As the process sees it; ends with ` (deleted)` if it is.
    pub(super) path: String,
}

/// A mapped file and one of its mappings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) file: MappedFile,
    /// `START-END`, hexadecimal.
    pub(super) range: String,
}

/// Everything that `pid` may execute, each file once.
pub(super) fn of(pid: u32) -> io::Result<Vec<Mapping>> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/maps"))?.take(MAX_MAPS_BYTES).read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

fn parse(maps: &str) -> Vec<Mapping> {
    let mut seen = BTreeSet::new();
    maps.lines().filter_map(mapping).filter(|mapping| seen.insert(mapping.file.clone())).collect()
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (range, permissions, _offset) = (fields.next()?, fields.next()?, fields.next()?);
    let (device, inode, path) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.trim_start());
    let is_code = permissions.as_bytes().get(2) == Some(&b'x');
    let is_file =
        inode != 0 && path.starts_with('/') && !path.starts_with("/dev/") && !path.starts_with("/memfd:");
    (is_code && is_file).then(|| Mapping {
        file: MappedFile { device: device.to_owned(), inode, path: path.to_owned() },
        range: range.to_owned(),
    })
}

/// Opens the mapped file itself, which works when it is deleted or in another mount namespace; or,
/// where that is forbidden, what its path leads to there, if it is the same file.
pub(super) fn open(pid: u32, mapping: &Mapping) -> io::Result<File> {
    // Only maps pads addresses, which shows with programs at low, fixed ones.
    let (start, end) = mapping.range.split_once('-').unwrap_or_default();
    let range = format!("{}-{}", start.trim_start_matches('0'), end.trim_start_matches('0'));
    let direct = File::open(format!("/proc/{pid}/map_files/{range}"));
    let file = direct.or_else(|_| {
        let path = Path::new(mapping.file.path.trim_start_matches('/'));
        File::open(Path::new(&format!("/proc/{pid}/root")).join(path))
    })?;
    let data = file.metadata()?;
    if data.ino() != mapping.file.inode || !data.is_file() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the path leads to another file by now"));
    }
    Ok(file)
}

/// Name of a process; empty if it is gone.
pub(super) fn name_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// What a process executes, as its mappings call it; empty if it is gone, or of the kernel.
pub(super) fn executable_of(pid: u32) -> String {
    let path = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    path.to_string_lossy().into_owned()
}

/// All processes.
pub(super) fn all() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55a0-55a2 r--p 00000000 fe:00 10                                         /usr/bin/my program
55a2-55a7 r-xp 00002000 fe:00 10                                         /usr/bin/my program
55b2-55b7 r-xp 00002000 fe:00 10                                         /usr/bin/my program
7f00-7f01 r-xp 00000000 fe:00 11                                         /usr/lib/libssl.so.3 (deleted)
7f02-7f03 r-xp 00000000 00:01 12                                         /memfd:jit (deleted)
7f04-7f05 r-xp 00000000 00:00 0
7ffe-7fff r-xp 00000000 00:00 0                                          [vdso]
rubbish";

    #[test]
    fn code_is_listed_once_for_each_file() {
        let files: Vec<_> =
            parse(MAPS).into_iter().map(|mapping| (mapping.file.path, mapping.range)).collect();
        let wanted = [("/usr/bin/my program", "55a2-55a7"), ("/usr/lib/libssl.so.3 (deleted)", "7f00-7f01")];
        assert_eq!(files, wanted.map(|(path, range)| (path.to_owned(), range.to_owned())));
    }

    #[test]
    fn files_of_this_process_are_opened() {
        let pid = std::process::id();
        let mappings = of(pid).expect("own maps");
        let own =
            mappings.iter().find(|mapping| mapping.file.path.contains("remora")).expect("the executable");
        assert_eq!(open(pid, own).expect("opens").metadata().expect("open").ino(), own.file.inode);
        let wrong = Mapping { file: MappedFile { inode: 1, ..own.file.clone() }, ..own.clone() };
        assert!(open(pid, &wrong).is_err());
        assert!(all().contains(&pid) && !name_of(pid).is_empty());
    }
}
