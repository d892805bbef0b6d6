//! Finds BoringSSL's functions in files without symbols, by the errors that they raise.
//!
//! An error there carries its reason and the source file, not the function. Which reasons a function of
//! `ssl_lib.cc` can give tells some of them: only `SSL_write` complains of a bad length, of a handshake
//! that failed and of a session that was not set up; only what reads does so but for the length. That is
//! called by `SSL_read` and `SSL_peek`, of which only the first takes something away.

use std::collections::BTreeSet;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, OpAccess, Register};

use super::binary::{Binary, BinaryError, Function};
use super::frames;
use super::signatures::{self, MAX_BYTES, Texts};

/// What its source file is called in errors; a path may come before it.
pub(super) const SOURCE: &str = "ssl/ssl_lib.cc";
/// `ERR_LIB_SSL`.
const LIBRARY: u64 = 16;
/// `ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED`: reads and writes of a QUIC session.
const NOT_FOR_QUIC: u64 = 66;
/// `SSL_R_UNINITIALIZED`, `SSL_R_SSL_HANDSHAKE_FAILURE`, `SSL_R_BAD_LENGTH`, `SSL_R_NULL_SSL_CTX`.
const UNINITIALIZED: u64 = 226;
const HANDSHAKE_FAILED: u64 = 215;
const BAD_LENGTH: u64 = 111;
const NO_CONTEXT: u64 = 185;

/// Looks for `SSL_read`, `SSL_write` and `SSL_new`; says why, if they are not found with certainty.
pub(super) fn find(binary: &Binary) -> Result<Result<Vec<Function>, String>, BinaryError> {
    let texts = Texts::read(binary, SOURCE, &[])?;
    let references = texts.references(binary)?;
    let Some(found) = candidates(binary, &texts, &references)? else {
        return Ok(Err("too much of it looks like BoringSSL".to_owned()));
    };
    let (write, readers) = match beneath(&found) {
        Ok(pair) => pair,
        Err(why) => return Ok(Err(why)),
    };
    let read = match readers[..] {
        // Older: `SSL_read` is what calls `SSL_peek`, and raises nothing itself.
        [peek] if !peek.stores => {
            let calls = signatures::places_of(binary, &[peek.function.address].into(), false)?;
            candidates(binary, &texts, &calls)?
                .and_then(|callers| only(callers.iter().filter(|one| one.stores)).cloned())
        }
        // `SSL_peek` takes nothing away.
        _ => only(readers.iter().copied().filter(|one| one.stores)).cloned(),
    };
    let Some(read) = read else { return Ok(Err("its code does not tell SSL_read from SSL_peek".to_owned())) };
    let new = only(found.iter().filter(|one| one.reasons == [NO_CONTEXT].into()));
    let named = |name: &str, one: &Candidate| Function { name: name.to_owned(), ..one.function.clone() };
    let mut functions = vec![named("SSL_read", &read), named("SSL_write", write)];
    functions.extend(new.map(|new| named("SSL_new", new)));
    Ok(Ok(functions))
}

/// `SSL_write`, and those that call what is beneath `SSL_read` and `SSL_peek`.
fn beneath(found: &[Candidate]) -> Result<(&Candidate, Vec<&Candidate>), String> {
    let reading: BTreeSet<u64> = [UNINITIALIZED, HANDSHAKE_FAILED].into();
    let writes = |one: &&Candidate| one.reasons.is_superset(&reading) && one.reasons.contains(&BAD_LENGTH);
    let write =
        only(found.iter().filter(writes)).ok_or("its code does not tell which function is SSL_write")?;
    let reads = |one: &&Candidate| {
        one.reasons.is_superset(&reading)
            && !one.reasons.contains(&BAD_LENGTH)
            && !one.reasons.contains(&NOT_FOR_QUIC)
    };
    let inner = only(found.iter().filter(reads));
    let inner = inner.ok_or("its code does not tell which function reads")?;
    let is_reader = |one: &&Candidate| {
        one.callees.contains(&inner.function.address)
            && one.reasons.iter().all(|reason| *reason == NOT_FOR_QUIC)
    };
    Ok((write, found.iter().filter(is_reader).collect()))
}

fn only<T>(mut candidates: impl Iterator<Item = T>) -> Option<T> {
    let first = candidates.next()?;
    candidates.next().is_none().then_some(first)
}

/// What is known of a function that may be one of those wanted.
#[derive(Clone, Debug)]
struct Candidate {
    function: Function,
    /// Of its errors.
    reasons: BTreeSet<u64>,
    /// What it calls.
    callees: BTreeSet<u64>,
    /// It changes memory that is not on its stack.
    stores: bool,
}

/// The functions around these places that are given an object to look into; `None`, if too many.
fn candidates(binary: &Binary, texts: &Texts, places: &[u64]) -> Result<Option<Vec<Candidate>>, BinaryError> {
    let functions = frames::functions_around(binary, places)?;
    if places.len() >= signatures::MAX_REFERENCES || functions.len() >= signatures::MAX_FUNCTIONS {
        return Ok(None);
    }
    let mut found = Vec::new();
    for (address, size) in functions.into_iter().filter(|(_, size)| *size <= MAX_BYTES) {
        let function = Function { name: String::new(), address, size };
        let code = binary.code(&function)?;
        found.extend(Candidate::new(function, &code, texts));
    }
    Ok(Some(found))
}

impl Candidate {
    fn new(function: Function, code: &[u8], texts: &Texts) -> Option<Self> {
        let decoder = Decoder::with_ip(64, code, function.address, DecoderOptions::NONE);
        let instructions: Vec<_> = decoder.into_iter().collect();
        if instructions.iter().any(Instruction::is_invalid) || !signatures::uses_argument(&instructions, 1) {
            return None;
        }
        let reasons = signatures::errors(&instructions, texts, LIBRARY).into_iter().map(|error| error.reason);
        let calls = instructions.iter().filter(|one| one.code() == Code::Call_rel32_64);
        Some(Self {
            reasons: reasons.collect(),
            callees: calls.map(Instruction::near_branch_target).collect(),
            stores: stores(&instructions),
            function,
        })
    }
}

fn stores(instructions: &[Instruction]) -> bool {
    let mut factory = InstructionInfoFactory::new();
    instructions.iter().any(|one| {
        let info = factory.info(one);
        info.used_memory().iter().any(|memory| {
            let is_write = matches!(
                memory.access(),
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            );
            is_write && !matches!(memory.base(), Register::RSP | Register::RBP)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(address: u64, reasons: &[u64], callees: &[u64], stores: bool) -> Candidate {
        let function = Function { name: String::new(), address, size: 64 };
        let (reasons, callees) = (reasons.iter().copied().collect(), callees.iter().copied().collect());
        Candidate { function, reasons, callees, stores }
    }

    #[test]
    fn functions_are_told_by_the_reasons_of_their_errors() {
        let write = || candidate(1, &[66, 111, 215, 226], &[], true);
        let inner = || candidate(2, &[110, 182, 215, 226], &[], true);
        let peek = || candidate(3, &[66], &[2], false);
        let read = || candidate(4, &[66], &[2, 9], true);
        let other = candidate(5, &[226, 291], &[2], true);
        let found = [write(), inner(), peek(), read(), other];
        let (found_write, readers) = beneath(&found).expect("all of them");
        let addresses: Vec<_> = readers.iter().map(|one| one.function.address).collect();
        assert_eq!((found_write.function.address, addresses), (1, vec![3, 4]));
        // One too many of each, and one missing.
        assert!(beneath(&[write(), write(), inner(), read()]).is_err());
        assert!(beneath(&[write(), inner(), inner(), read()]).is_err());
        assert!(beneath(&[inner(), read()]).is_err());
    }

    #[test]
    fn only_stores_outside_of_the_stack_count() {
        let stores = |code: &[u8]| {
            stores(&Decoder::new(64, code, DecoderOptions::NONE).into_iter().collect::<Vec<_>>())
        };
        // push rbx; mov [rsp+8], rax; mov rax, [rdi]; then also mov [rdi], rax
        let code = [0x53, 0x48, 0x89, 0x44, 0x24, 0x08, 0x48, 0x8b, 0x07];
        assert!(!stores(&code) && stores(&[&code[..], &[0x48, 0x89, 0x07]].concat()));
    }

    proptest::proptest! {
        #[test]
        fn any_code_is_looked_at(code in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let function = Function { name: String::new(), address: 0x1000, size: code.len() as u64 };
            let _ = Candidate::new(function, &code, &Texts::default());
        }
    }
}
