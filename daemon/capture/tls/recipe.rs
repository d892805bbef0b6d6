//! Which programs go on which instructions of a file that has TLS in it.

use super::binary::{Binary, BinaryError, Function};
use super::boringssl;
use super::golang::{self, GoProgram, GoTls};
use super::placement::{self, Convention, Exit, Placement};
use super::rustls::{self, Rustls};
use super::signatures::{self, Signatures};
use crate::engine::model::TlsLibrary;

/// A program of `bpf/tls.bpf.c` at an instruction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hook {
    pub(super) program: &'static str,
    /// The probe fires when the function that has just been entered here returns.
    pub(super) at_return: bool,
    /// Where in the file.
    pub(super) offset: u64,
}

/// All that is attached to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recipe {
    pub(super) library: TlsLibrary,
    /// As the file says it; empty if it does not.
    pub(super) version: String,
    /// `symbols`, `line_table`, `signatures`.
    pub(super) found_by: &'static str,
    pub(super) hooks: Vec<Hook>,
    /// What programs can ask for; zero for nothing.
    pub(super) cookie: u64,
    /// Functions with hooks.
    pub(super) functions: Vec<String>,
    /// Functions without, and why.
    pub(super) skipped: Vec<String>,
    /// Some probes are on instructions that the kernel has to single-step.
    pub(super) is_costly: bool,
}

/// What a file is to TLS.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing.
    Nothing,
    /// It has TLS, of which nothing can be seen, because of this.
    Unsupported(TlsLibrary, String),
    /// It has TLS of a library that is not covered.
    Uncovered(&'static str),
    /// It has TLS.
    Tls(Recipe),
}

/// What a hooked C function does: its names, program at entry, and how its return is treated.
struct Call {
    name: &'static str,
    program: &'static str,
    leave: Option<&'static str>,
}

const fn call(name: &'static str, program: &'static str, leave: &'static str) -> Call {
    Call { name, program, leave: Some(leave) }
}

const fn entry(name: &'static str, program: &'static str) -> Call {
    Call { name, program, leave: None }
}

/// Empty program: nothing at entry.
const NONE: &str = "";

/// Functions of OpenSSL that call what the `_ex` ones call, or move plaintext by themselves. Early data
/// goes through `SSL_read_ex` and `SSL_write_ex`.
const OPENSSL: [Call; 8] = [
    call("SSL_read_ex", "openssl_read_ex", "tls_leave"),
    call("SSL_write_ex", "openssl_write_ex", "tls_leave"),
    call("SSL_read", "openssl_read", "tls_leave"),
    call("SSL_write", "openssl_write", "tls_leave"),
    call("SSL_new", NONE, "openssl_opened"),
    entry("SSL_free", "tls_close"),
    entry("SSL_clear", "openssl_cleared"),
    entry("SSL_set_fd", "openssl_descriptor"),
];

const GNUTLS: [Call; 6] = [
    call("gnutls_record_recv", "gnutls_read", "tls_leave"),
    call("gnutls_record_send", "gnutls_write", "tls_leave"),
    call("gnutls_record_send2", "gnutls_write", "tls_leave"),
    call("gnutls_init", "gnutls_opening", "gnutls_opened"),
    entry("gnutls_deinit", "tls_close"),
    entry("gnutls_transport_set_int2", "gnutls_descriptor"),
];

/// NSPR moves the bytes of all its descriptors; those that NSS made TLS of are known by
/// `SSL_ImportFD`, which is in another file, or by the listener that they came from.
const NSPR: [Call; 7] = [
    call("PR_Read", "nspr_read", "tls_leave"),
    call("PR_Write", "nspr_write", "tls_leave"),
    call("PR_Recv", "nspr_read", "tls_leave"),
    call("PR_Send", "nspr_write", "tls_leave"),
    call("PR_Writev", "nspr_gather", "nspr_gathered_leave"),
    call("PR_Accept", "nspr_accepting", "nspr_accepted"),
    entry("PR_Close", "tls_close"),
];

const NSS: [Call; 1] = [call("SSL_ImportFD", NONE, "nspr_opened")];

/// Only BoringSSL has it.
const BORINGSSL_ONLY: &str = "SSL_CTX_set_grease_enabled";

/// A file whose names have none of these has no function of interest.
const KEYS: [&str; 4] = ["SSL_read", "gnutls_record_recv", "PR_Read", "SSL_ImportFD"];

/// What libraries leave in read-only data: names of their source files, in messages of errors.
struct Trace {
    text: &'static str,
    library: Option<TlsLibrary>,
    /// What it means if no function was found, and what to do.
    why: &'static str,
}

const STRIPPED: &str = "it is inside this file without symbols; run a build that exports SSL_read and SSL_write \
                        (not stripped, or linked with -rdynamic), or one that uses the shared library";

/// The more telling first.
const TRACES: [Trace; 7] = [
    Trace { text: boringssl::SOURCE, library: Some(TlsLibrary::BoringSsl), why: STRIPPED },
    Trace { text: signatures::SOURCE, library: Some(TlsLibrary::OpenSsl), why: STRIPPED },
    Trace { text: "rustls-0.", library: Some(TlsLibrary::Rustls), why: RUSTLS },
    Trace { text: "rustls/src/conn", library: Some(TlsLibrary::Rustls), why: RUSTLS },
    Trace { text: "rustls::c", library: Some(TlsLibrary::Rustls), why: RUSTLS },
    Trace { text: "library/ssl_msg.c", library: None, why: "it has Mbed TLS inside, which is not covered" },
    Trace { text: "wolfSSL_", library: None, why: "it has wolfSSL inside, which is not covered" },
];

const RUSTLS: &str = "it is inside this file without symbols; run a build that is not stripped, or one with \
                      native-tls (OpenSSL)";

/// What a file is to TLS. `path` is for the version that a library's name tells.
pub(super) fn examine(binary: &Binary, path: &str) -> Result<Verdict, BinaryError> {
    let tables = [&OPENSSL[..], &GNUTLS[..], &NSPR[..], &NSS[..]];
    let mut wanted: Vec<_> = tables.iter().flat_map(|table| table.iter().map(|call| call.name)).collect();
    wanted.push(BORINGSSL_ONLY);
    let found = binary.functions(&KEYS, &wanted)?;
    let has = |name: &str| found.iter().any(|function| function.name == name);
    if has("SSL_read") && has("SSL_write") {
        return Ok(openssl(binary, &found, path));
    }
    if has("gnutls_record_recv") && has("gnutls_record_send") {
        return Ok(c_library(binary, TlsLibrary::GnuTls, &GNUTLS, &found, path));
    }
    if has("PR_Read") && has("PR_Write") {
        return Ok(c_library(binary, TlsLibrary::Nss, &NSPR, &found, path));
    }
    if has("SSL_ImportFD") {
        return Ok(c_library(binary, TlsLibrary::Nss, &NSS, &found, path));
    }
    Ok(match golang::examine(binary)? {
        GoProgram::No => traces(binary, path)?,
        GoProgram::WithoutTls => Verdict::Nothing,
        GoProgram::Unsupported(why) => Verdict::Unsupported(TlsLibrary::Go, why),
        GoProgram::Tls(go) => go_recipe(binary, go),
    })
}

/// What a file without functions of interest says of itself.
fn traces(binary: &Binary, path: &str) -> Result<Verdict, BinaryError> {
    let found = binary.texts(&TRACES.map(|trace| trace.text))?;
    let trace = TRACES.iter().zip(found).find_map(|(trace, is_there)| is_there.then_some(trace));
    Ok(match trace {
        None => Verdict::Nothing,
        Some(Trace { library: Some(TlsLibrary::OpenSsl), why, .. }) => match signatures::find(binary)? {
            Ok(found) => openssl_by_signatures(binary, &found, path),
            Err(missed) => Verdict::Unsupported(TlsLibrary::OpenSsl, format!("{missed}: {why}")),
        },
        Some(Trace { library: Some(TlsLibrary::BoringSsl), why, .. }) => match boringssl::find(binary)? {
            Ok(found) => boringssl_by_signatures(binary, &found),
            Err(missed) => Verdict::Unsupported(TlsLibrary::BoringSsl, format!("{missed}: {why}")),
        },
        Some(Trace { library: Some(TlsLibrary::Rustls), why, .. }) => match rustls::find(binary)? {
            Some(Ok(found)) => rustls_recipe(binary, &found),
            Some(Err(missed)) => Verdict::Unsupported(TlsLibrary::Rustls, missed),
            None => Verdict::Unsupported(TlsLibrary::Rustls, (*why).to_owned()),
        },
        Some(Trace { library: Some(library), why, .. }) => Verdict::Unsupported(*library, (*why).to_owned()),
        Some(Trace { why, .. }) => Verdict::Uncovered(why),
    })
}

/// Collects the hooks of one file.
struct Builder<'a> {
    binary: &'a Binary,
    recipe: Recipe,
}

impl<'a> Builder<'a> {
    fn new(binary: &'a Binary, library: TlsLibrary, version: String, found_by: &'static str) -> Self {
        let recipe = Recipe {
            library,
            version,
            found_by,
            hooks: Vec::new(),
            cookie: 0,
            functions: Vec::new(),
            skipped: Vec::new(),
            is_costly: false,
        };
        Self { binary, recipe }
    }

    fn skip(&mut self, name: &str, why: impl std::fmt::Display) {
        self.recipe.skipped.push(format!("{name}: {why}"));
    }

    fn hook(&mut self, function: &Function, program: &'static str, at_return: bool, offset: u64) {
        let Some(offset) = self.binary.file_offset(function.address + offset) else { return };
        self.recipe.hooks.push(Hook { program, at_return, offset });
    }

    /// A function whose entry, and perhaps return, are of interest.
    fn add(&mut self, function: &Function, call: &Call, convention: Convention) {
        let code = match self.binary.code(function) {
            Ok(code) => code,
            Err(error) => return self.skip(&function.name, error),
        };
        let Some(leave) = call.leave else {
            match placement::place_entry(&code, convention) {
                Ok(offset) => self.hook(function, call.program, false, offset),
                Err(error) => return self.skip(&function.name, error),
            }
            self.recipe.functions.push(function.name.clone());
            return;
        };
        match placement::place(&code, convention) {
            Ok(placement) => self.put(function, call.program, leave, &placement),
            Err(error) => return self.skip(&function.name, error),
        }
        self.recipe.functions.push(function.name.clone());
    }

    fn put(&mut self, function: &Function, enter: &'static str, leave: &'static str, placement: &Placement) {
        self.recipe.is_costly |= !placement.is_cheap;
        match &placement.exit {
            Exit::Return(offset) => self.hook(function, leave, true, *offset),
            Exit::Sites(sites) => sites.iter().for_each(|site| self.hook(function, leave, false, *site)),
        }
        if enter != NONE {
            self.hook(function, enter, false, placement.entry);
        }
    }

    fn verdict(mut self) -> Verdict {
        self.recipe.hooks.sort();
        self.recipe.hooks.dedup();
        if self.recipe.hooks.is_empty() {
            return Verdict::Unsupported(self.recipe.library, self.recipe.skipped.join("; "));
        }
        Verdict::Tls(self.recipe)
    }
}

fn c_library(
    binary: &Binary,
    library: TlsLibrary,
    calls: &[Call],
    found: &[Function],
    path: &str,
) -> Verdict {
    let mut builder = Builder::new(binary, library, version_in_name(path), "symbols");
    for call in calls {
        if let Some(function) = found.iter().find(|function| function.name == call.name) {
            builder.add(function, call, Convention::C);
        }
    }
    builder.verdict()
}

fn openssl(binary: &Binary, found: &[Function], path: &str) -> Verdict {
    let (library, version) = flavour(binary, found, path);
    let mut builder = Builder::new(binary, library, version, "symbols");
    let mut inner = Vec::new();
    for call in &OPENSSL {
        let Some(function) = found.iter().find(|function| function.name == call.name) else { continue };
        let code = binary.code(function).unwrap_or_default();
        if inner.iter().any(|address| calls(function, &code, *address)) {
            builder.recipe.functions.push(function.name.clone());
            continue;
        }
        if call.name.ends_with("_ex")
            && let Some(callee) = cheap_callee(binary, function, &code)
        {
            inner.push(callee.address);
            builder.add(&callee, call, Convention::C);
            continue;
        }
        builder.add(function, call, Convention::C);
    }
    builder.verdict()
}

/// Without symbols: `SSL_read` and what it calls, and the same of `SSL_write`. What `SSL_read_ex` and
/// `SSL_write_ex` call is that, too.
fn openssl_by_signatures(binary: &Binary, found: &Signatures, path: &str) -> Verdict {
    let (library, version) = flavour(binary, &[], path);
    // What OpenSSL 3.3 added.
    let has_flags = release(&version).map(|release| release >= (3, 3));
    let mut builder = Builder::new(binary, library, version, "signatures");
    let mut inner = Vec::new();
    for reader in &found.readers {
        inner.push(reader.address);
        builder.add(reader, &call(signatures::READ_INTERNAL, "openssl_read_ex", "tls_leave"), Convention::C);
    }
    for writer in &found.writers {
        if has_flags.is_some_and(|has_flags| has_flags != writer.has_flags) {
            builder.skip(&writer.function.name, "its arguments are not those of its version");
            continue;
        }
        inner.push(writer.function.address);
        let program = if writer.has_flags { "openssl_write_ex2" } else { "openssl_write_ex" };
        builder.add(&writer.function, &call(signatures::WRITE_INTERNAL, program, "tls_leave"), Convention::C);
    }
    for call in &OPENSSL {
        let Some(function) = found.functions.iter().find(|function| function.name == call.name) else {
            continue;
        };
        let code = binary.code(function).unwrap_or_default();
        if inner.iter().any(|address| calls(function, &code, *address)) {
            builder.recipe.functions.push(function.name.clone());
        } else {
            builder.add(function, call, Convention::C);
        }
    }
    builder.verdict()
}

fn rustls_recipe(binary: &Binary, found: &Rustls) -> Verdict {
    let version = binary.version_after("rustls-").unwrap_or_default();
    let mut builder = Builder::new(binary, TlsLibrary::Rustls, version, "symbols");
    builder.recipe.cookie = found.layout;
    for function in &found.functions {
        let call = match function.name.as_str() {
            rustls::WRITE => call(rustls::WRITE, "rustls_write", "rustls_leave"),
            rustls::WRITE_SLICE => call(rustls::WRITE_SLICE, "rustls_write_slice", "rustls_leave"),
            rustls::READ => call(rustls::READ, "rustls_read", "rustls_leave"),
            rustls::RECEIVED => entry(rustls::RECEIVED, "rustls_received"),
            rustls::SHAKES => entry(rustls::SHAKES, "rustls_shakes"),
            rustls::STARTED => entry(rustls::STARTED, "rustls_started"),
            _ => entry(rustls::DROPPED, "rustls_dropped"),
        };
        builder.add(function, &call, Convention::C);
    }
    builder.recipe.functions.sort();
    builder.recipe.functions.dedup();
    builder.verdict()
}

fn boringssl_by_signatures(binary: &Binary, found: &[Function]) -> Verdict {
    let mut builder = Builder::new(binary, TlsLibrary::BoringSsl, String::new(), "signatures");
    for call in &OPENSSL {
        if let Some(function) = found.iter().find(|function| function.name == call.name) {
            builder.add(function, call, Convention::C);
        }
    }
    builder.verdict()
}

/// `3.0.19` -> (3, 0).
fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

fn calls(function: &Function, code: &[u8], address: u64) -> bool {
    placement::callees(code).iter().any(|callee| function.address.wrapping_add_signed(*callee) == address)
}

/// How much is looked at of a function whose size is not known: a probe at a push needs no more.
const CALLEE_PROLOGUE: u64 = 64;

/// What a thin wrapper calls, if probes are cheap there and not in the wrapper. OpenSSL's `SSL_read`
/// and `SSL_read_ex` (and what its BIOs use) then share one probe.
fn cheap_callee(binary: &Binary, function: &Function, code: &[u8]) -> Option<Function> {
    if placement::place(code, Convention::C).is_ok_and(|placement| placement.is_cheap) {
        return None;
    }
    let address = function.address.checked_add_signed(placement::wrapped(code)?)?;
    let callee = Function { name: function.name.clone(), address, size: CALLEE_PROLOGUE };
    let code = binary.code(&callee).ok()?;
    let mut end = code.len();
    // The last instruction may be cut.
    while end > 0 {
        match placement::place(&code[..end], Convention::C) {
            Ok(Placement { exit: Exit::Return(_), is_cheap: true, .. }) => {
                return Some(Function { size: end as u64, ..callee });
            }
            Ok(_) => return None,
            Err(_) => end -= 1,
        }
    }
    None
}

fn flavour(binary: &Binary, found: &[Function], path: &str) -> (TlsLibrary, String) {
    if found.iter().any(|function| function.name == BORINGSSL_ONLY) {
        return (TlsLibrary::BoringSsl, String::new());
    }
    if let Some(version) = binary.version_after("LibreSSL ") {
        return (TlsLibrary::LibreSsl, version);
    }
    let version = binary.version_after("OpenSSL ").unwrap_or_else(|| version_in_name(path));
    (TlsLibrary::OpenSsl, version)
}

/// `/usr/lib/libssl.so.3` -> `3`.
fn version_in_name(path: &str) -> String {
    path.trim_end_matches(" (deleted)")
        .rsplit_once(".so.")
        .map_or_else(String::new, |(_, version)| version.to_owned())
}

fn go_recipe(binary: &Binary, go: GoTls) -> Verdict {
    let found_by = if go.is_stripped { "line_table" } else { "symbols" };
    let mut builder = Builder::new(binary, TlsLibrary::Go, go.version, found_by);
    for function in &go.functions {
        let call = match function.name.as_str() {
            golang::READ => call(golang::READ, "go_read", "go_leave"),
            golang::WRITE => call(golang::WRITE, "go_write", "go_leave"),
            golang::CLOSE => entry(golang::CLOSE, "go_close"),
            _ => call(golang::HANDSHAKES[0], "go_opened", "go_established"),
        };
        builder.add(function, &call, Convention::Go);
    }
    builder.verdict()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn recipe_of(path: &str) -> Recipe {
        let binary = Binary::new(File::open(path).expect("installed")).expect("an ELF file");
        match examine(&binary, path).expect("readable") {
            Verdict::Tls(recipe) => recipe,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn the_hosts_openssl_is_probed_cheaply() {
        let recipe = recipe_of("/usr/lib/x86_64-linux-gnu/libssl.so.3");
        assert_eq!((recipe.library, recipe.skipped.len()), (TlsLibrary::OpenSsl, 0), "{recipe:?}");
        for function in ["SSL_read", "SSL_write", "SSL_read_ex", "SSL_write_ex", "SSL_new", "SSL_free"] {
            assert!(recipe.functions.iter().any(|name| name == function), "{function}: {recipe:?}");
        }
        assert!(!recipe.is_costly, "{recipe:?}");
    }

    #[test]
    fn a_file_without_tls_is_nothing() {
        let path = "/usr/bin/true";
        let binary = Binary::new(File::open(path).expect("installed")).expect("an ELF file");
        assert!(matches!(examine(&binary, path), Ok(Verdict::Nothing)));
        assert_eq!(version_in_name("/usr/lib/libssl.so.1.1"), "1.1");
        assert_eq!(version_in_name("/usr/bin/node"), "");
    }
}
