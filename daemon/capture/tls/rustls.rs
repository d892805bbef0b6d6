//! Finds rustls's functions in Rust executables that have symbols.
//!
//! What applications call is compiled into them in many forms, and a connection moves in memory between
//! its handshake and its use. So probes go on functions of rustls's `CommonState`, through which all
//! plaintext passes, and a session is known by the box of its encrypter, which stays where it is. Where
//! that box is tells the code that drops a `CommonState`.

use std::collections::BTreeSet;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::binary::{Binary, BinaryError, Function};
use super::signatures;

pub(super) const WRITE: &str = "CommonState::buffer_plaintext";
/// Before 0.23.
pub(super) const WRITE_SLICE: &str = "CommonState::send_some_plaintext";
pub(super) const RECEIVED: &str = "CommonState::take_received_plaintext";
/// Where compilers make the function above a part of others, which they do before 0.23.
pub(super) const READ: &str = "Reader::read";
pub(super) const SHAKES: &str = "CommonState::send_msg";
pub(super) const STARTED: &str = "CommonState::start_outgoing_traffic";
pub(super) const DROPPED: &str = "drop_in_place<CommonState>";
/// What holds plaintext that was received.
const DROPPED_BUFFER: &str = "drop_in_place<ChunkVecBuffer>";

/// Names that are part of every symbol wanted.
const KEY: &str = "rustls";
/// Ends of symbols without their hashes, in both manglings.
const ENDS: [(&str, &str); 5] = [
    ("11CommonState16buffer_plaintext", WRITE),
    ("11CommonState19send_some_plaintext", WRITE_SLICE),
    ("11CommonState23take_received_plaintext", RECEIVED),
    ("11CommonState8send_msg", SHAKES),
    ("11CommonState22start_outgoing_traffic", STARTED),
];
const OLD_DROPS: [(&str, &str); 2] = [
    ("drop_in_place$LT$rustls..common_state..CommonState$GT$", DROPPED),
    ("drop_in_place$LT$rustls..vecbuf..ChunkVecBuffer$GT$", DROPPED_BUFFER),
];
const NEW_DROPS: [(&str, &str); 2] =
    [("12common_state11CommonStateE", DROPPED), ("6vecbuf14ChunkVecBufferE", DROPPED_BUFFER)];

/// Most functions of it; a large program has some hundred copies of those that drop.
const MAX_FUNCTIONS: usize = 1024;
/// Largest distance that an attach cookie has room for.
const MAX_OFFSET: u64 = 0xffff;

/// rustls in an executable.
#[derive(Debug)]
pub(super) struct Rustls {
    pub(super) functions: Vec<Function>,
    /// For the programs: where `CommonState` has its encrypter, and, above that, its plaintext.
    pub(super) layout: u64,
}

/// Looks for it; `None`: there are no symbols of it. Says why, if they are not enough.
pub(super) fn find(binary: &Binary) -> Result<Option<Result<Rustls, String>>, BinaryError> {
    let found = binary.functions_like(KEY, which)?;
    let has = |name: &str| found.iter().any(|function| function.name == name);
    if !has(DROPPED) && !has(WRITE) && !has(WRITE_SLICE) {
        return Ok(None);
    }
    if found.len() > MAX_FUNCTIONS {
        return Ok(Some(Err("too much of it looks like rustls".to_owned())));
    }
    Ok(Some(choose(binary, found)))
}

fn choose(binary: &Binary, found: Vec<Function>) -> Result<Rustls, String> {
    let of_name = |name: &'static str| found.iter().filter(move |function| function.name == name);
    let buffers: BTreeSet<u64> = of_name(DROPPED_BUFFER).map(|function| function.address).collect();
    // There are copies of the code, which compilers cut into parts differently.
    let layouts: Vec<_> = of_name(DROPPED).map(|function| layout_in(binary, function, &buffers)).collect();
    let encrypter = agreed(layouts.iter().filter_map(|(encrypter, _)| *encrypter));
    let encrypter =
        encrypter.ok_or("where its connections have their keys is not known; build with optimisation")?;
    let plaintext = agreed(layouts.iter().filter_map(|(_, plaintext)| *plaintext));
    if of_name(WRITE).chain(of_name(WRITE_SLICE)).next().is_none() {
        return Err("what writes was made part of other functions; link without LTO".to_owned());
    }
    // Either is enough, and both would show everything twice.
    let mut functions: Vec<_> =
        found.iter().filter(|function| function.name != DROPPED_BUFFER).cloned().collect();
    if of_name(RECEIVED).next().is_some() {
        functions.retain(|function| function.name != READ);
    } else if plaintext.is_none() || !of_name(READ).any(|read| returns_in_registers(binary, read)) {
        return Err("what reads was made part of other functions; link without LTO".to_owned());
    }
    Ok(Rustls { functions, layout: encrypter | plaintext.unwrap_or(0) << 16 })
}

/// The value, if it is the same everywhere.
fn agreed(mut values: impl Iterator<Item = u64>) -> Option<u64> {
    let first = values.next()?;
    values.all(|other| other == first).then_some(first)
}

/// Which of the functions a symbol is.
fn which(symbol: &str) -> Option<&'static str> {
    let symbol = symbol.split(".llvm.").next()?;
    if let Some(name) = symbol.strip_prefix("_ZN") {
        let name = without_hash(name)?;
        let is_read =
            name.contains("$LT$rustls..conn..") && name.ends_with("Reader$u20$as$u20$std..io..Read$GT$4read");
        return if is_read { Some(READ) } else { ending(&OLD_DROPS, name).or_else(|| method(name)) };
    }
    let name = symbol.strip_prefix("_R")?;
    if let Some((_, dropped)) = name.split_once("13drop_in_placeNtNt") {
        // What follows the type is the crate that asked for it.
        return NEW_DROPS.iter().find(|(end, _)| dropped.contains(end)).map(|(_, function)| *function);
    }
    let is_read =
        name.contains("6rustls4conn") && name.ends_with("2io4Read4read") && name.contains("6ReaderNt");
    if is_read { Some(READ) } else { method(name) }
}

fn method(name: &str) -> Option<&'static str> {
    ending(&ENDS, name).filter(|_| name.contains("6rustls12common_state"))
}

fn ending(ends: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    ends.iter().find(|(end, _)| name.ends_with(end)).map(|(_, function)| *function)
}

/// The older mangling ends with a hash.
fn without_hash(name: &str) -> Option<&str> {
    const HASH: &str = "17h0123456789abcdefE";
    let (name, hash) = name.split_at_checked(name.len().checked_sub(HASH.len())?)?;
    (hash.starts_with("17h") && hash.ends_with('E')).then_some(name)
}

fn decode(binary: &Binary, function: &Function) -> Vec<Instruction> {
    let code = binary.code(function).unwrap_or_default();
    Decoder::with_ip(64, &code, function.address, DecoderOptions::NONE).into_iter().collect()
}

/// Where `CommonState` has its encrypter and the plaintext that it received. It drops its fields in the
/// order of their declaration: the encrypter, a box, comes first, and of the buffers the one of plaintext.
fn layout_in(binary: &Binary, drop: &Function, buffers: &BTreeSet<u64>) -> (Option<u64>, Option<u64>) {
    let code = decode(binary, drop);
    let plaintext = code.windows(2).find_map(|pair| {
        let is_drop =
            pair[1].code() == Code::Call_rel32_64 && buffers.contains(&pair[1].near_branch_target());
        let is_place = pair[0].mnemonic() == Mnemonic::Lea && pair[0].op0_register() == Register::RDI;
        (is_drop && is_place).then(|| pair[0].memory_displacement64())
    });
    (boxed(&code), plaintext.filter(|offset| *offset <= MAX_OFFSET))
}

/// The first box that is dropped of what the first argument points to: the loads of its pointer and of
/// the table of functions behind that, whose first entry is then loaded; the pointer may come last.
fn boxed(code: &[Instruction]) -> Option<u64> {
    let mut loads = code.iter().filter(|one| {
        one.mnemonic() == Mnemonic::Mov
            && one.op0_kind() == OpKind::Register
            && one.op1_kind() == OpKind::Memory
            && one.op0_register().is_gpr64()
            && one.memory_index() == Register::None
    });
    let loads = [loads.next()?, loads.next()?, loads.next()?];
    let (data, table, entry) = match loads {
        [data, table, entry] if table.memory_base() == Register::RDI => (data, table, entry),
        [table, entry, data] => (data, table, entry),
    };
    let offset = data.memory_displacement64();
    let is_data = data.memory_base() == Register::RDI || data.op0_register() == Register::RDI;
    let is_box = is_data
        && table.memory_base() == Register::RDI
        && table.memory_displacement64().checked_sub(8) == Some(offset)
        && entry.memory_base() == table.op0_register()
        && entry.memory_displacement64() == 0;
    (is_box && offset <= MAX_OFFSET).then_some(offset)
}

/// A result of two words is in registers; older compilers are given a place for it as first argument.
fn returns_in_registers(binary: &Binary, read: &Function) -> bool {
    !signatures::uses_argument(&decode(binary, read), 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_both_manglings_are_known() {
        let names = [
            ("_ZN6rustls12common_state11CommonState16buffer_plaintext17hcf352b9a2a230bdfE", Some(WRITE)),
            (
                "_ZN6rustls12common_state11CommonState19send_some_plaintext17ha8bcb2f7bc57dc5dE",
                Some(WRITE_SLICE),
            ),
            (
                "_RNvMs1_NtCs5tBf_6rustls12common_stateNtB5_11CommonState23take_received_plaintext",
                Some(RECEIVED),
            ),
            (
                "_ZN4core3ptr54drop_in_place$LT$rustls..common_state..CommonState$GT$17h1b66f95adec4a83eE",
                Some(DROPPED),
            ),
            (
                "_RINvNtCsabc_4core3ptr13drop_in_placeNtNtCs5tBf_6rustls12common_state11CommonStateECsx_4peer",
                Some(DROPPED),
            ),
            (
                "_RINvNtCsabc_4core3ptr13drop_in_placeINtNtB4_6option6OptionNtNtCs5tBf_6rustls12common_state11CommonStateEEB1_",
                None,
            ),
            (
                "_ZN66_$LT$rustls..conn..connection..Reader$u20$as$u20$std..io..Read$GT$4read17h21c57d591636da98E",
                Some(READ),
            ),
            ("_RNvXs_NtCs5tBf_6rustls4connNtB4_6ReaderNtNtCsabc_3std2io4Read4read", Some(READ)),
            (
                "_ZN6rustls12common_state11CommonState16buffer_plaintext28_$u7b$$u7b$closure$u7d$$u7d$17h1b66f95adec4a83eE",
                None,
            ),
            ("_ZN4ring2io6writer6Writer10write_byte17h292b75aaa5362b1bE", None),
        ];
        for (symbol, function) in names {
            assert_eq!(which(symbol), function, "{symbol}");
        }
    }

    #[test]
    fn a_dropped_box_is_told_by_its_loads() {
        let decode =
            |code: &[u8]| Decoder::new(64, code, DecoderOptions::NONE).into_iter().collect::<Vec<_>>();
        // push rbx; mov rbp, rdi; mov r15, [rdi+0x10]; mov rbx, [rdi+0x18]; mov rax, [rbx]; ret
        let code =
            [0x53, 0x48, 0x89, 0xfd, 0x4c, 0x8b, 0x7f, 0x10, 0x48, 0x8b, 0x5f, 0x18, 0x48, 0x8b, 0x03, 0xc3];
        assert_eq!(boxed(&decode(&code)), Some(0x10));
        // mov rbx, rdi; mov r14, [rdi+0x18]; mov rax, [r14]; mov rdi, [rbx+0x10]; call rax
        let small =
            [0x48, 0x89, 0xfb, 0x4c, 0x8b, 0x77, 0x18, 0x49, 0x8b, 0x06, 0x48, 0x8b, 0x7b, 0x10, 0xff, 0xd0];
        assert_eq!(boxed(&decode(&small)), Some(0x10));
        let mut other = code;
        other[11] = 0x20;
        assert_eq!((boxed(&decode(&other)), boxed(&decode(&code[..8]))), (None, None));
    }
}
