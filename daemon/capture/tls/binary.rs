//! Reads what is needed of an ELF file: identity, functions by name, code, version strings.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, ReadCache, elf};

use super::placement::MAX_FUNCTION_BYTES;

/// Largest table or read-only data that is read, for a moment: a browser's has some ten megabytes.
const MAX_TABLE_BYTES: u64 = 64 << 20;
/// Longest name of a function that is compared.
const MAX_NAME_BYTES: usize = 64;

/// Why a file cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub(super) enum BinaryError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no ELF file of this architecture: {0}")]
    NotElf(String),
}

/// Which file this is, whatever path leads to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Seconds of the last change: an inode number comes again, and a file can be written to.
    pub(super) modified: i64,
    pub(super) size: u64,
}

impl FileId {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let data = file.metadata()?;
        Ok(Self { device: data.dev(), inode: data.ino(), modified: data.mtime(), size: data.len() })
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

/// An open ELF file.
#[derive(Debug)]
pub(super) struct Binary {
    file: File,
    segments: Vec<Segment>,
}

/// The parts of a file that a search may need.
type Elf<'a> = ElfFile64<'a, Endianness, &'a ReadCache<File>>;

impl Binary {
    /// Takes over an open file.
    pub(super) fn new(file: File) -> Result<Self, BinaryError> {
        let mut binary = Self { file, segments: Vec::new() };
        binary.segments = binary.with(|elf| {
            let endian = elf.endian();
            let headers = elf.elf_header().program_headers(endian, elf.data()).unwrap_or_default();
            headers
                .iter()
                .filter(|header| {
                    header.p_type(endian) == elf::PT_LOAD && header.p_flags(endian) & elf::PF_X != 0
                })
                .map(|header| Segment {
                    address: header.p_vaddr(endian),
                    offset: header.p_offset(endian),
                    size: header.p_filesz(endian),
                })
                .collect()
        })?;
        Ok(binary)
    }

    /// The file itself, for whoever attaches to it.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    fn with<T>(&self, look: impl FnOnce(&Elf<'_>) -> T) -> Result<T, BinaryError> {
        let cache = ReadCache::new(self.file.try_clone()?);
        let elf = Elf::parse(&cache).map_err(|error| BinaryError::NotElf(error.to_string()))?;
        let machine = elf.elf_header().e_machine(elf.endian());
        if machine != NATIVE_MACHINE {
            return Err(BinaryError::NotElf(format!("machine {machine}")));
        }
        Ok(look(&elf))
    }

    /// Those of the wanted functions that the file defines, dynamic symbols first.
    pub(super) fn functions(&self, wanted: &[&str]) -> Result<Vec<Function>, BinaryError> {
        let wanted: HashMap<&[u8], &str> = wanted.iter().map(|name| (name.as_bytes(), *name)).collect();
        let mut found = Vec::new();
        for (symbols, names) in [(".dynsym", ".dynstr"), (".symtab", ".strtab")] {
            let (_, symbols) = self.section(symbols)?;
            let (_, names) = if symbols.is_empty() { (0, Vec::new()) } else { self.section(names)? };
            add_functions(&mut found, &symbols, &names, &wanted);
        }
        Ok(found)
    }

    /// Address and bytes of a section; empty if there is none, or it is too large.
    pub(super) fn section(&self, name: &str) -> Result<(u64, Vec<u8>), BinaryError> {
        let place = self.with(|elf| {
            let section = elf.section_by_name(name)?;
            Some((section.address(), section.file_range()?))
        })?;
        let Some((address, (offset, size))) = place.filter(|(_, (_, size))| *size <= MAX_TABLE_BYTES) else {
            return Ok((0, Vec::new()));
        };
        Ok((address, self.read(offset, size)?))
    }

    /// What the file has of a range: less, if it ends before.
    fn read(&self, offset: u64, size: u64) -> io::Result<Vec<u8>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(size).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Address of a section; `None` if there is none.
    pub(super) fn section_address(&self, name: &str) -> Option<u64> {
        self.with(|elf| elf.section_by_name(name).map(|section| section.address())).ok().flatten()
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
            .ok_or_else(|| BinaryError::NotElf("a function outside of the code".to_owned()))?;
        Ok(self.read(offset, function.size.min(MAX_FUNCTION_BYTES))?)
    }

    /// The text after `marker` in read-only data, up to the first blank or NUL, if it starts with a
    /// digit: how libraries carry their versions.
    pub(super) fn version_after(&self, marker: &str) -> Option<String> {
        let (_, data) = self.section(".rodata").ok()?;
        memchr::memmem::find_iter(&data, marker.as_bytes()).find_map(|at| {
            let text = &data[at + marker.len()..data.len().min(at + marker.len() + 24)];
            let end = text.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(text.len());
            let text = std::str::from_utf8(&text[..end]).ok()?;
            (text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('.')).then(|| text.to_owned())
        })
    }
}

/// Reads a whole symbol table at once: asking for each name by itself takes seconds with large ones.
fn add_functions(found: &mut Vec<Function>, symbols: &[u8], names: &[u8], wanted: &HashMap<&[u8], &str>) {
    /// `Elf64_Sym`: name (4), info (1), other (1), section (2), value (8), size (8).
    const SYMBOL_BYTES: usize = 24;
    for symbol in symbols.as_chunks::<SYMBOL_BYTES>().0 {
        let [n0, n1, n2, n3, _, _, s0, s1, rest @ ..] = *symbol;
        let (address, size) = rest.split_at(8);
        let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let (address, size) = (number(address), number(size));
        if address == 0 || u16::from_le_bytes([s0, s1]) == elf::SHN_UNDEF {
            continue;
        }
        let Some(name) = names.get(u32::from_le_bytes([n0, n1, n2, n3]) as usize..) else { continue };
        let name = &name[..name.len().min(MAX_NAME_BYTES)];
        let name = &name[..memchr::memchr2(0, b'@', name).unwrap_or(name.len())];
        if let Some(name) = wanted.get(name)
            && !found.iter().any(|one| one.name == *name)
        {
            found.push(Function { name: (*name).to_owned(), address, size });
        }
    }
}

/// The architecture whose code this daemon can place probes in.
#[cfg(target_arch = "x86_64")]
const NATIVE_MACHINE: u16 = elf::EM_X86_64;
/// Elsewhere no file is taken.
#[cfg(not(target_arch = "x86_64"))]
const NATIVE_MACHINE: u16 = elf::EM_NONE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_this_executable_are_found_with_their_code() {
        let binary = Binary::new(File::open("/proc/self/exe").expect("opens")).expect("an ELF file");
        let found = binary.functions(&["main"]).expect("symbols");
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
