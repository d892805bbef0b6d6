//! Finds Go's TLS functions: by symbols, or in stripped executables by the line table that Go's own
//! stack traces need.

use super::binary::{Binary, BinaryError, Function, u32_at, u64_at};

/// What is hooked of `crypto/tls`.
pub(super) const READ: &str = "crypto/tls.(*Conn).Read";
pub(super) const WRITE: &str = "crypto/tls.(*Conn).Write";
pub(super) const CLOSE: &str = "crypto/tls.(*Conn).Close";
pub(super) const HANDSHAKES: [&str; 2] =
    ["crypto/tls.(*Conn).clientHandshake", "crypto/tls.(*Conn).serverHandshake"];
const WANTED: [&str; 5] = [READ, WRITE, CLOSE, HANDSHAKES[0], HANDSHAKES[1]];

/// First Go whose functions take arguments in registers and whose build information is readable.
const OLDEST: (u32, u32) = (1, 18);

/// Sections that may hold the line table.
const LINE_TABLES: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];

/// Longest name that is compared.
const MAX_NAME_BYTES: usize = 64;

/// Go's TLS in an executable.
#[derive(Debug)]
pub(super) struct GoTls {
    pub(super) version: String,
    pub(super) functions: Vec<Function>,
    /// The executable has no symbols.
    pub(super) is_stripped: bool,
}

/// What a Go executable is good for.
#[derive(Debug)]
pub(super) enum GoProgram {
    /// Not built by Go.
    No,
    /// Built by Go, without `crypto/tls`.
    WithoutTls,
    /// Built by a Go that is not covered.
    Unsupported(String),
    /// With TLS.
    Tls(GoTls),
}

/// Looks into an executable.
pub(super) fn examine(binary: &Binary) -> Result<GoProgram, BinaryError> {
    let (_, info) = binary.section(".go.buildinfo")?;
    if info.is_empty() {
        return Ok(GoProgram::No);
    }
    let Some(version) = inline_version(&info) else {
        return Ok(GoProgram::Unsupported("built by a Go before 1.18, or by none that says so".to_owned()));
    };
    if release(&version) < OLDEST {
        return Ok(GoProgram::Unsupported(format!(
            "{version} passes arguments on the stack; rebuild with Go 1.18 or newer"
        )));
    }
    let mut functions = binary.functions(&[READ], &WANTED)?;
    let is_stripped = functions.is_empty();
    if is_stripped {
        functions = from_line_table(binary, &WANTED)?;
    }
    let has = |name: &str| functions.iter().any(|function| function.name == name);
    if !has(READ) || !has(WRITE) {
        return Ok(GoProgram::WithoutTls);
    }
    Ok(GoProgram::Tls(GoTls { version, functions, is_stripped }))
}

/// The version in `.go.buildinfo` as Go 1.18 and later write it.
fn inline_version(info: &[u8]) -> Option<String> {
    const INLINE: u8 = 2;
    if !info.starts_with(b"\xff Go buildinf:") || info.get(15)? & INLINE == 0 {
        return None;
    }
    // A version is shorter than 128 bytes, so that its length is one byte.
    let len = usize::from(*info.get(32)?);
    let text = std::str::from_utf8(info.get(33..33 + len)?).ok()?;
    text.starts_with("go").then(|| text.split(' ').next().unwrap_or_default().to_owned())
}

/// `go1.22.3` -> (1, 22); zeros for what is no number.
fn release(version: &str) -> (u32, u32) {
    let mut parts = version.trim_start_matches("go").split(|c: char| !c.is_ascii_digit());
    let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    (number(), number())
}

/// What `crypto/tls` tells each new secret; it does so whether or not the program wants a log of them.
pub(super) fn key_log_writer(binary: &Binary) -> Result<Option<Function>, BinaryError> {
    const WRITER: [&str; 1] = ["crypto/tls.(*Config).writeKeyLog"];
    let mut found = binary.functions(&WRITER, &WRITER)?;
    if found.is_empty() {
        found = from_line_table(binary, &WRITER)?;
    }
    Ok(found.into_iter().next())
}

fn from_line_table(binary: &Binary, wanted: &[&str]) -> Result<Vec<Function>, BinaryError> {
    for name in LINE_TABLES {
        let (_, data) = binary.section(name)?;
        if let Some(table) = LineTable::new(&data) {
            let text = match table.text_start {
                0 => binary.section_address(".text").unwrap_or(0),
                start => start,
            };
            return Ok(table.find(wanted, text));
        }
    }
    Ok(Vec::new())
}

/// The function table of Go 1.18 and later.
#[derive(Debug)]
struct LineTable<'a> {
    functions: usize,
    text_start: u64,
    names: &'a [u8],
    /// Pairs of entry and position in `table`, and behind them what those positions lead to.
    table: &'a [u8],
}

impl<'a> LineTable<'a> {
    /// Go 1.18 and 1.19; Go 1.20 and later.
    const MAGICS: [u32; 2] = [0xffff_fff0, 0xffff_fff1];

    fn new(data: &'a [u8]) -> Option<Self> {
        const POINTER_BYTES: u8 = 8;
        if !Self::MAGICS.contains(&u32_at(data, 0)?) || *data.get(7)? != POINTER_BYTES {
            return None;
        }
        let word = |index: usize| u64_at(data, 8 + 8 * index);
        Some(Self {
            functions: usize::try_from(word(0)?).ok()?,
            text_start: word(2)?,
            names: data.get(usize::try_from(word(3)?).ok()?..)?,
            table: data.get(usize::try_from(word(7)?).ok()?..)?,
        })
    }

    fn find(&self, wanted: &[&str], text: u64) -> Vec<Function> {
        let mut found = Vec::new();
        // The table has room for as many, whatever its head says.
        for index in 0..self.functions.min(self.table.len() / 8) {
            let Some(function) = self.function(index, wanted, text) else { continue };
            found.push(function);
            if found.len() == wanted.len() {
                break;
            }
        }
        found
    }

    fn function(&self, index: usize, wanted: &[&str], text: u64) -> Option<Function> {
        let entry = u32_at(self.table, index * 8)?;
        let next = u32_at(self.table, index * 8 + 8)?;
        let position = u32_at(self.table, index * 8 + 4)? as usize;
        let name_at = u32_at(self.table, position.checked_add(4)?)? as usize;
        let name = self.names.get(name_at..)?;
        let name = &name[..name.len().min(MAX_NAME_BYTES)];
        let name = &name[..memchr::memchr(0, name)?];
        let name = wanted.iter().find(|wanted| wanted.as_bytes() == name)?;
        Some(Function {
            name: (*name).to_owned(),
            address: text.checked_add(u64::from(entry))?,
            size: u64::from(next.checked_sub(entry)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<u8> {
        let mut data = 0xffff_fff1_u32.to_le_bytes().to_vec();
        data.extend([0, 0, 1, 8]);
        // Functions, files, text, names, units, files, tables, function table.
        for word in [2_u64, 0, 0x40_1000, 72, 0, 0, 0, 128] {
            data.extend(word.to_le_bytes());
        }
        data.extend(b"main.main\0crypto/tls.(*Conn).Read\0");
        data.resize(128, 0);
        // Entries and positions; the end of the last; then entry and name of each.
        for word in [0_u32, 20, 0x100, 28, 0x180, 0, 0, 0x100, 10] {
            data.extend(word.to_le_bytes());
        }
        data
    }

    #[test]
    fn functions_are_found_in_the_line_table() {
        let data = table();
        let found = LineTable::new(&data).expect("a table").find(&WANTED, 0x40_1000);
        assert_eq!(found, [Function { name: READ.to_owned(), address: 0x40_1100, size: 0x80 }]);
    }

    #[test]
    fn versions_are_read_and_compared() {
        let mut info = b"\xff Go buildinf:\x08\x02".to_vec();
        info.resize(32, 0);
        info.extend(b"\x08go1.22.3\x00");
        assert_eq!(inline_version(&info).as_deref(), Some("go1.22.3"));
        assert!(release("go1.22.3") > release("go1.9") && release("devel") == (0, 0));
        assert_eq!(inline_version(b"\xff Go buildinf:\x08\x00"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_table_or_not(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), at in 0_usize..400) {
            let mut data = table();
            data.splice(at.min(data.len()).max(8).., bytes.iter().copied());
            if let Some(table) = LineTable::new(&data) {
                let _ = table.find(&WANTED, 0);
            }
            let _ = inline_version(&bytes);
        }
    }
}
