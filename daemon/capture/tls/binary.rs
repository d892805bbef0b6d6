//! Reads what is needed of an ELF file: identity, functions by name, code, texts.
//!
//! Executables have hundreds of megabytes: only headers are parsed, tables are gone through in blocks,
//! and nothing is kept but what was looked for.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use object::elf;

use super::placement::MAX_FUNCTION_BYTES;

/// Largest section that is read at once, for a moment: the line table of a large Go program.
const MAX_TABLE_BYTES: u64 = 64 << 20;
/// Largest section that is gone through; no table of names is larger.
const MAX_SCANNED_BYTES: u64 = 1 << 30;
/// What is read at a time of a section that is gone through.
const BLOCK_BYTES: usize = 1 << 20;
/// Longest text that is found where two blocks meet; longer than names of functions that are looked for.
const OVERLAP_BYTES: usize = 512;
/// Most program or section headers; files have some dozens.
const MAX_HEADERS: u64 = 16_384;
/// Longest table of the names of sections.
const MAX_SECTION_NAMES: u64 = 1 << 20;
/// `Elf64_Ehdr`, `Elf64_Phdr`, `Elf64_Shdr`, `Elf64_Sym`.
const FILE_HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const SECTION_HEADER_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;

/// Why a file cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub(super) enum BinaryError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no ELF file")]
    NotElf,
    #[error("its ELF headers make no sense: {0}")]
    Broken(&'static str),
    #[error("it is for another architecture ({0}); probes are for 64-bit programs of this host's own")]
    OtherArchitecture(String),
}

/// Which file this is, whatever path leads to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Nanoseconds of the last change: an inode number comes again, and a file can be written to.
    pub(super) modified: (i64, i64),
    pub(super) size: u64,
}

impl FileId {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let data = file.metadata()?;
        let modified = (data.mtime(), data.mtime_nsec());
        Ok(Self { device: data.dev(), inode: data.ino(), modified, size: data.len() })
    }
}

/// A function in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) address: u64,
    pub(super) size: u64,
}

/// An executable segment: addresses to file offsets.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    offset: u64,
    size: u64,
}

/// A section: what it is called, where it is loaded to, and where the file has it.
#[derive(Clone, Debug)]
struct Section {
    name: Vec<u8>,
    address: u64,
    offset: u64,
    /// Zero if the file has nothing of it.
    size: u64,
}

/// An open ELF file.
#[derive(Debug)]
pub(super) struct Binary {
    file: File,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    is_fixed: bool,
}

impl Binary {
    /// Takes over an open file.
    pub(super) fn new(file: File) -> Result<Self, BinaryError> {
        let mut header = [0; FILE_HEADER_BYTES];
        match file.read_exact_at(&mut header, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(BinaryError::NotElf),
            other => other?,
        }
        check_header(&header)?;
        let is_fixed = half_at(&header, 16) == u64::from(elf::ET_EXEC);
        let mut binary = Self { file, segments: Vec::new(), sections: Vec::new(), is_fixed };
        binary.segments = binary.read_segments(&header)?;
        binary.sections = binary.read_sections(&header)?;
        Ok(binary)
    }

    /// Whether it is loaded at the addresses that it has in the file.
    pub(super) fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// The file itself, for whoever attaches to it.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    fn read_segments(&self, header: &[u8]) -> Result<Vec<Segment>, BinaryError> {
        if half_at(header, 54) != PROGRAM_HEADER_BYTES as u64 {
            return Err(BinaryError::Broken("size of a program header"));
        }
        let size = half_at(header, 56).min(MAX_HEADERS) * PROGRAM_HEADER_BYTES as u64;
        let table = self.read(xword_at(header, 32), size)?;
        let is_code = |one: &&[u8; PROGRAM_HEADER_BYTES]| {
            word_at(&one[..], 0) == elf::PT_LOAD && word_at(&one[..], 4) & elf::PF_X != 0
        };
        let code = table.as_chunks::<PROGRAM_HEADER_BYTES>().0.iter().filter(is_code);
        let segment = |one: &[u8; PROGRAM_HEADER_BYTES]| Segment {
            offset: xword_at(one, 8),
            address: xword_at(one, 16),
            size: xword_at(one, 32),
        };
        Ok(code.map(segment).collect())
    }

    /// None, if the file has no section headers: they may be stripped.
    fn read_sections(&self, header: &[u8]) -> Result<Vec<Section>, BinaryError> {
        let (at, count) = (xword_at(header, 40), half_at(header, 60).min(MAX_HEADERS));
        if at == 0 || count == 0 {
            return Ok(Vec::new());
        }
        if half_at(header, 58) != SECTION_HEADER_BYTES as u64 {
            return Err(BinaryError::Broken("size of a section header"));
        }
        let table = self.read(at, count * SECTION_HEADER_BYTES as u64)?;
        let table = table.as_chunks::<SECTION_HEADER_BYTES>().0;
        let names = usize::try_from(half_at(header, 62)).ok().and_then(|index| table.get(index));
        let names = names.ok_or(BinaryError::Broken("names of sections"))?;
        let names = self.read(xword_at(names, 24), xword_at(names, 32).min(MAX_SECTION_NAMES))?;
        let section = |one: &[u8; SECTION_HEADER_BYTES]| {
            let name = names.get(word_at(one, 0) as usize..).unwrap_or_default();
            let has_bytes = word_at(one, 4) != elf::SHT_NOBITS;
            Section {
                name: name[..memchr::memchr(0, name).unwrap_or(name.len())].to_vec(),
                address: xword_at(one, 16),
                offset: xword_at(one, 24),
                size: if has_bytes { xword_at(one, 32) } else { 0 },
            }
        };
        Ok(table.iter().map(section).collect())
    }

    fn find_section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name.as_bytes())
    }

    /// Those of the wanted functions that the file defines, dynamic symbols first. None, if not one of
    /// `keys` is among the names: most files are done with then.
    pub(super) fn functions(&self, keys: &[&str], wanted: &[&str]) -> Result<Vec<Function>, BinaryError> {
        let mut found = Vec::new();
        for (symbols, names) in [(".dynsym", ".dynstr"), (".symtab", ".strtab")] {
            let (Some(symbols), Some(names)) = (self.find_section(symbols), self.find_section(names)) else {
                continue;
            };
            if !self.has_any(names, keys)? {
                continue;
            }
            let places = self.places(names, wanted)?;
            self.scan(symbols, 0, |_, block| add_functions(&mut found, block, &places))?;
        }
        Ok(found)
    }

    /// All functions whose symbols are among those wanted, by what `which` calls them. Symbols wanted
    /// have `key` inside.
    pub(super) fn functions_like(
        &self,
        key: &str,
        which: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Vec<Function>, BinaryError> {
        let mut found = Vec::new();
        let (Some(symbols), Some(names)) = (self.find_section(".symtab"), self.find_section(".strtab"))
        else {
            return Ok(found);
        };
        let mut places = HashMap::new();
        self.scan(names, OVERLAP_BYTES, |at, block| {
            let mut next = 0;
            for hit in memchr::memmem::find_iter(block, key.as_bytes()) {
                if hit < next {
                    continue;
                }
                // Names that a block cuts are whole in the one before or after, but for very long ones.
                let start = memchr::memrchr(0, &block[next..hit]).map_or(next, |end| next + end + 1);
                let Some(len) = memchr::memchr(0, &block[start..]) else { break };
                let name = std::str::from_utf8(&block[start..start + len]).ok().and_then(&which);
                places.extend(name.map(|name| (at + start as u64, name)));
                next = start + len + 1;
            }
        })?;
        if places.is_empty() {
            return Ok(found);
        }
        self.scan(symbols, 0, |_, block| add_all_functions(&mut found, block, &places))?;
        found.sort_by_key(|function: &Function| (function.address, function.name.clone()));
        found.dedup();
        Ok(found)
    }

    fn has_any(&self, section: &Section, texts: &[&str]) -> io::Result<bool> {
        let mut has = false;
        self.scan(section, OVERLAP_BYTES, |_, block| {
            has = has || texts.iter().any(|text| memchr::memmem::find(block, text.as_bytes()).is_some());
        })?;
        Ok(has)
    }

    /// Where in a table of names the wanted ones begin. Names may share their ends.
    fn places<'a>(&self, names: &Section, wanted: &[&'a str]) -> io::Result<HashMap<u64, &'a str>> {
        let mut places = HashMap::new();
        self.scan(names, OVERLAP_BYTES, |at, block| {
            for name in wanted {
                for hit in memchr::memmem::find_iter(block, name.as_bytes()) {
                    if matches!(block.get(hit + name.len()), Some(0 | b'@')) {
                        places.insert(at + hit as u64, *name);
                    }
                }
            }
        })?;
        Ok(places)
    }

    /// Goes through a section in blocks: position and bytes of each. Blocks share `overlap` bytes.
    fn scan(&self, section: &Section, overlap: usize, look: impl FnMut(u64, &[u8])) -> io::Result<()> {
        self.scan_range(section.offset, section.size, overlap, look)
    }

    /// Goes through read-only data in blocks: address and bytes of each. Blocks overlap.
    pub(super) fn scan_read_only(&self, mut look: impl FnMut(u64, &[u8])) -> io::Result<()> {
        let Some(section) = self.find_section(".rodata") else { return Ok(()) };
        self.scan(section, OVERLAP_BYTES, |at, block| look(section.address.wrapping_add(at), block))
    }

    /// Goes through all code in blocks: address and bytes of each. Blocks overlap.
    pub(super) fn scan_code(&self, mut look: impl FnMut(u64, &[u8])) -> io::Result<()> {
        for segment in &self.segments {
            self.scan_range(segment.offset, segment.size, OVERLAP_BYTES, |at, block| {
                look(segment.address.wrapping_add(at), block);
            })?;
        }
        Ok(())
    }

    fn scan_range(
        &self,
        offset: u64,
        size: u64,
        overlap: usize,
        mut look: impl FnMut(u64, &[u8]),
    ) -> io::Result<()> {
        let size = if size > MAX_SCANNED_BYTES { 0 } else { size };
        let mut at = 0;
        while at < size {
            // A multiple of the size of a symbol, which must not be cut.
            let step = (BLOCK_BYTES - BLOCK_BYTES % SYMBOL_BYTES) as u64;
            let bytes = self.read(offset.saturating_add(at), (size - at).min(step + overlap as u64))?;
            if bytes.is_empty() {
                break;
            }
            look(at, &bytes);
            at += step;
        }
        Ok(())
    }

    /// Address and bytes of a section; empty if there is none, or it is too large.
    pub(super) fn section(&self, name: &str) -> Result<(u64, Vec<u8>), BinaryError> {
        let section = self.find_section(name).filter(|section| section.size <= MAX_TABLE_BYTES);
        let Some(section) = section else { return Ok((0, Vec::new())) };
        Ok((section.address, self.read(section.offset, section.size)?))
    }

    /// What the file has of a range: less, if it ends before.
    fn read(&self, offset: u64, size: u64) -> io::Result<Vec<u8>> {
        let size = size.min(self.file.metadata()?.len().saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Address of a section; `None` if there is none.
    pub(super) fn section_address(&self, name: &str) -> Option<u64> {
        self.find_section(name).map(|section| section.address)
    }

    /// Which of the texts are in the file's read-only data.
    pub(super) fn texts(&self, wanted: &[&str]) -> io::Result<Vec<bool>> {
        let mut found = vec![false; wanted.len()];
        let Some(section) = self.find_section(".rodata") else { return Ok(found) };
        self.scan(section, OVERLAP_BYTES, |_, block| {
            for (text, found) in wanted.iter().zip(&mut found) {
                *found = *found || memchr::memmem::find(block, text.as_bytes()).is_some();
            }
        })?;
        Ok(found)
    }

    /// Where in the file an address of code is.
    pub(super) fn file_offset(&self, address: u64) -> Option<u64> {
        let segment = self
            .segments
            .iter()
            .find(|segment| address >= segment.address && address - segment.address < segment.size)?;
        segment.offset.checked_add(address - segment.address)
    }

    /// The code of a function; of one without a size, what may be its code.
    pub(super) fn code(&self, function: &Function) -> Result<Vec<u8>, BinaryError> {
        let offset = self
            .file_offset(function.address)
            .ok_or(BinaryError::Broken("a function outside of the code"))?;
        Ok(self.read(offset, function.size.min(MAX_FUNCTION_BYTES))?)
    }

    /// The text after `marker` in read-only data, up to the first blank or NUL, if it starts with a
    /// digit: how libraries carry their versions.
    pub(super) fn version_after(&self, marker: &str) -> Option<String> {
        let mut version = None;
        self.scan(self.find_section(".rodata")?, OVERLAP_BYTES, |_, block| {
            if version.is_none() {
                version = version_in(block, marker);
            }
        })
        .ok()?;
        version
    }
}

fn version_in(data: &[u8], marker: &str) -> Option<String> {
    memchr::memmem::find_iter(data, marker.as_bytes()).find_map(|at| {
        let text = &data[at + marker.len()..data.len().min(at + marker.len() + 24)];
        let is_part = |byte: &u8| byte.is_ascii_graphic() && *byte != b'/';
        let end = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
        let text = std::str::from_utf8(&text[..end]).ok()?;
        (text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('.')).then(|| text.to_owned())
    })
}

fn check_header(header: &[u8; FILE_HEADER_BYTES]) -> Result<(), BinaryError> {
    if !header.starts_with(&elf::ELFMAG) {
        return Err(BinaryError::NotElf);
    }
    let machine = half_at(header, 18);
    if header[4] != elf::ELFCLASS64 || header[5] != elf::ELFDATA2LSB || machine != NATIVE_MACHINE {
        let bits = if header[4] == elf::ELFCLASS64 { 64 } else { 32 };
        return Err(BinaryError::OtherArchitecture(format!("{bits} bits, ELF machine {machine}")));
    }
    Ok(())
}

/// A little-endian number at a place, if it is there.
pub(super) fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// See [`u32_at`].
pub(super) fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    data.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Numbers of headers by their names in the ELF specification; 0 where a header is cut short.
fn half_at(header: &[u8], at: usize) -> u64 {
    header.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_le_bytes(*bytes).into())
}

fn word_at(header: &[u8], at: usize) -> u32 {
    u32_at(header, at).unwrap_or(0)
}

fn xword_at(header: &[u8], at: usize) -> u64 {
    u64_at(header, at).unwrap_or(0)
}

/// Takes the functions out of a block of symbols whose names begin at one of `places`, the first of each.
fn add_functions(found: &mut Vec<Function>, symbols: &[u8], places: &HashMap<u64, &str>) {
    let mut all = Vec::new();
    add_all_functions(&mut all, symbols, places);
    for function in all {
        if !found.iter().any(|one| one.name == function.name) {
            found.push(function);
        }
    }
}

fn add_all_functions(found: &mut Vec<Function>, symbols: &[u8], places: &HashMap<u64, &str>) {
    for symbol in symbols.as_chunks::<SYMBOL_BYTES>().0 {
        // `Elf64_Sym`: name (4), info (1), other (1), section (2), value (8), size (8).
        let Some(name) = places.get(&u64::from(word_at(symbol, 0))) else { continue };
        let (address, size) = (xword_at(symbol, 8), xword_at(symbol, 16));
        let is_defined = address != 0 && half_at(symbol, 6) != u64::from(elf::SHN_UNDEF);
        if is_defined {
            found.push(Function { name: (*name).to_owned(), address, size });
        }
    }
}

/// The architecture whose code this daemon can place probes in.
#[cfg(target_arch = "x86_64")]
const NATIVE_MACHINE: u64 = elf::EM_X86_64 as u64;
/// Elsewhere no file is taken.
#[cfg(not(target_arch = "x86_64"))]
const NATIVE_MACHINE: u64 = elf::EM_NONE as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_this_executable_are_found_with_their_code() {
        let binary = Binary::new(File::open("/proc/self/exe").expect("opens")).expect("an ELF file");
        let found = binary.functions(&["main"], &["main"]).expect("symbols");
        assert_eq!(found.len(), 1);
        let code = binary.code(&found[0]).expect("code");
        assert_eq!(code.len() as u64, found[0].size.min(MAX_FUNCTION_BYTES));
        assert!(binary.file_offset(found[0].address).is_some());
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        assert!(Binary::new(File::open("/proc/self/status").expect("opens")).is_err());
        let mut broken = tempfile::tempfile().expect("file");
        std::io::Write::write_all(&mut broken, b"\x7fELF\x02\x01\x01rubbish").expect("writes");
        assert!(Binary::new(broken).is_err());
    }
}
