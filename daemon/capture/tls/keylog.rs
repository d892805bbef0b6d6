//! Adds to what is attached to a file the function that is told each new TLS secret, if that is wanted.
//!
//! Libraries have such a function for key logs and call it whether or not anybody asked for a log. Its
//! arguments say what they are: a name out of a list of eight and a random of 32 bytes. Anything else
//! is not taken for a secret.

use super::binary::{Binary, BinaryError, Function};
use super::recipe::{Hook, Recipe};
use super::{frames, golang};
use crate::engine::model::TlsLibrary;

/// Extends a recipe. Where no such function is found, the recipe says so.
pub(super) fn extend(binary: &Binary, recipe: &mut Recipe) {
    let found = match recipe.library {
        TlsLibrary::Go => golang::key_log_writer(binary).map(|found| found.map(|found| (found, "go_secret"))),
        TlsLibrary::OpenSsl => openssl(binary),
        _ => Ok(None),
    };
    match found {
        Ok(Some((function, program))) => add(binary, recipe, &function, program),
        Ok(None) => skip(recipe, "nothing in this file is told its secrets"),
        Err(error) => skip(recipe, &format!("cannot look for what is told the secrets: {error}")),
    }
}

fn openssl(binary: &Binary) -> Result<Option<(Function, &'static str)>, BinaryError> {
    if let Some(function) = openssl_in_executable(binary)? {
        return Ok(Some((function, "openssl_session_secret")));
    }
    Ok(openssl_writer(binary)?.map(|function| (function, "openssl_secret")))
}

/// Inside of executables with symbols: the function that is told a session's secrets, if sessions have
/// the client's random where the probe's program expects it. A function that gives it away tells.
fn openssl_in_executable(binary: &Binary) -> Result<Option<Function>, BinaryError> {
    const LOG: &str = "ssl_log_secret";
    const RANDOM: &str = "SSL_get_client_random";
    let found = binary.functions(&[LOG], &[LOG, RANDOM])?;
    let of = |name: &str| found.iter().find(|function| function.name == name);
    let (Some(log), Some(random)) = (of(LOG), of(RANDOM)) else { return Ok(None) };
    Ok(gives_client_random(&binary.code(random)?).then(|| log.clone()))
}

/// Whether code takes the address of what is `OPENSSL_CLIENT_RANDOM` bytes behind its first argument
/// (`lea reg, [rdi + 0x160]`).
fn gives_client_random(code: &[u8]) -> bool {
    code.windows(7).any(|bytes| {
        let [rex, lea, operands, distance @ ..] = bytes else { return false };
        matches!(rex, 0x48 | 0x4c) && *lea == 0x8d && operands & 0xc7 == 0x87 && distance == [0x60, 1, 0, 0]
    })
}

/// OpenSSL 3 names this function in an error that it may make, and calls it from its own code.
fn openssl_writer(binary: &Binary) -> Result<Option<Function>, BinaryError> {
    const NAME: &str = "nss_keylog_int";
    let (base, texts) = binary.section(".rodata")?;
    let Some(at) = memchr::memmem::find(&texts, format!("\0{NAME}\0").as_bytes()) else { return Ok(None) };
    drop(texts);
    let name = base.wrapping_add(at as u64 + 1);
    let (base, code) = binary.section(".text")?;
    let sites: Vec<u64> = addressing(base, &code, name).collect();
    let around = frames::functions_around(binary, &sites)?;
    let starts: Vec<u64> = around.iter().map(|(start, _)| *start).collect();
    let function = |address| Function { name: NAME.to_owned(), address, size: 0 };
    // The cold part of a function has a start of its own, which sets nothing up.
    Ok(match starts[..] {
        [start] if is_called(base, &code, start) && sets_up(base, &code, start) => Some(function(start)),
        _ => None,
    })
}

/// Addresses of the instructions that load an address (`lea reg, [rip + distance]`).
fn addressing(base: u64, code: &[u8], wanted: u64) -> impl Iterator<Item = u64> {
    const LEN: u64 = 7;
    memchr::memchr_iter(0x8d, code).filter_map(move |at| {
        let [rex, _, operands, distance @ ..] = code.get(at.checked_sub(1)?..)?.first_chunk::<7>()?;
        let start = base.wrapping_add(at as u64 - 1);
        let target = start.wrapping_add(LEN).wrapping_add_signed(i32::from_le_bytes(*distance).into());
        (matches!(rex, 0x48 | 0x4c) && operands & 0xc7 == 5 && target == wanted).then_some(start)
    })
}

/// Whether something calls an address, or jumps there as its last act.
fn is_called(base: u64, code: &[u8], wanted: u64) -> bool {
    const LEN: u64 = 5;
    memchr::memchr2_iter(0xe8, 0xe9, code).any(|at| {
        let distance =
            code.get(at + 1..).and_then(|rest| rest.first_chunk()).map(|rest| i32::from_le_bytes(*rest));
        let next = base.wrapping_add(at as u64).wrapping_add(LEN);
        distance.is_some_and(|distance| next.wrapping_add_signed(distance.into()) == wanted)
    })
}

/// Whether the code at an address begins as functions with much to do begin: by saving a register.
fn sets_up(base: u64, code: &[u8], address: u64) -> bool {
    const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
    let at = address.checked_sub(base).and_then(|at| usize::try_from(at).ok());
    let Some(start) = at.and_then(|at| code.get(at..)) else { return false };
    match start.strip_prefix(&ENDBR64).unwrap_or(start) {
        [0x41, push, ..] | [push, ..] => push & 0xf8 == 0x50,
        [] => false,
    }
}

fn add(binary: &Binary, recipe: &mut Recipe, function: &Function, program: &'static str) {
    // At its first instruction, where all arguments are in registers: handshakes are rare.
    let Some(offset) = binary.file_offset(function.address) else { return };
    recipe.hooks.push(Hook { program, at_return: false, offset });
    recipe.functions.push(function.name.clone());
}

fn skip(recipe: &mut Recipe, why: &str) {
    recipe.skipped.push(format!("tls.keylog: {why}; packets of its connections stay closed to others"));
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_hosts_openssl_tells_its_secrets_to_one_function() {
        let file = File::open("/usr/lib/x86_64-linux-gnu/libssl.so.3").expect("installed");
        let binary = Binary::new(file).expect("an ELF file");
        let found = openssl_writer(&binary).expect("readable").expect("a function");
        // It keeps registers that it needs for its caller, first of all.
        let code = binary.code(&Function { size: 64, ..found }).expect("code");
        assert!(code.windows(2).any(|two| two == [0x41, 0x57]), "{code:02x?}");
    }

    #[test]
    fn the_place_of_the_clients_random_is_verified() {
        // lea rcx, [rdi+0x160], as in OpenSSL 3.0; and another distance; and another register.
        assert!(gives_client_random(&[0x90, 0x48, 0x8d, 0x8f, 0x60, 0x01, 0, 0]));
        assert!(!gives_client_random(&[0x90, 0x48, 0x8d, 0x8f, 0x64, 0x01, 0, 0]));
        assert!(!gives_client_random(&[0x90, 0x48, 0x8d, 0x8e, 0x60, 0x01, 0, 0]));
    }

    #[test]
    fn a_file_without_that_function_has_none() {
        let binary = Binary::new(File::open("/usr/bin/true").expect("installed")).expect("an ELF file");
        assert_eq!(openssl_writer(&binary).expect("readable"), None);
    }

    #[test]
    fn loads_and_calls_of_an_address_are_found() {
        // At 0x100: lea rdx, [rip + 0x10]; call -5
        let code = [0x48, 0x8d, 0x15, 0x10, 0, 0, 0, 0xe8, 0xfb, 0xff, 0xff, 0xff];
        assert_eq!(addressing(0x100, &code, 0x117).collect::<Vec<_>>(), [0x100]);
        assert_eq!(addressing(0x100, &code, 0x118).count(), 0);
        assert!(is_called(0x100, &code, 0x107) && !is_called(0x100, &code, 0x108));
        assert!(sets_up(0x100, &[0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x57], 0x100));
        assert!(!sets_up(0x100, &code, 0x100) && !sets_up(0x100, &code, 0x200));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_searched(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), at in proptest::num::u64::ANY) {
            let _ = (addressing(at, &bytes, 7).count(), is_called(at, &bytes, 7));
            let _ = sets_up(at, &bytes, at);
        }
    }
}
