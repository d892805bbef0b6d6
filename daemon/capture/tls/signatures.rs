//! Finds OpenSSL's functions in files without symbols, by what they say of themselves.
//!
//! An error of OpenSSL 3 carries the names of the source file and of the function that raised it; one of
//! 1.1.1 the file and the function's number. So the code of `SSL_read` refers to the text `SSL_read`,
//! and nothing else that refers to `ssl_lib.c` does. A function is taken only if two findings agree:
//! its own error, and that it calls, or contains, the function beneath it that was found the same way.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

use super::binary::{Binary, BinaryError, Function};
use super::frames;

/// Most places that may refer to a text looked for; OpenSSL has some hundred.
pub(super) const MAX_REFERENCES: usize = 65_536;
/// Most functions that are decoded; `ssl_lib.c` has some hundred.
pub(super) const MAX_FUNCTIONS: usize = 4096;
/// Longest path before the name of a source file.
const MAX_FOLDERS_BYTES: usize = 256;
/// Largest of them.
pub(super) const MAX_BYTES: u64 = 16 << 10;
/// `ERR_LIB_SSL`.
const LIBRARY: u64 = 20;

/// What OpenSSL's source file is called in errors; a path may come before it.
pub(super) const SOURCE: &str = "ssl/ssl_lib.c";

/// A function that names itself in errors, and its number in OpenSSL 1.1.1.
struct Named {
    name: &'static str,
    number: u64,
}

pub(super) const READ: &str = "SSL_read";
pub(super) const WRITE: &str = "SSL_write";
pub(super) const READ_INTERNAL: &str = "ssl_read_internal";
pub(super) const WRITE_INTERNAL: &str = "ssl_write_internal";
const NAMED: [Named; 7] = [
    Named { name: READ, number: 223 },
    Named { name: WRITE, number: 208 },
    Named { name: READ_INTERNAL, number: 523 },
    Named { name: WRITE_INTERNAL, number: 524 },
    Named { name: "SSL_new", number: 186 },
    Named { name: "SSL_clear", number: 164 },
    Named { name: "SSL_set_fd", number: 192 },
];

/// OpenSSL's functions in a file.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    /// Public functions by name. `SSL_read` and `SSL_write` are among them.
    pub(super) functions: Vec<Function>,
    /// Functions with the arguments and results of `SSL_read_ex`, called `ssl_read_internal`.
    pub(super) readers: Vec<Function>,
    /// Functions with those of `SSL_write_ex`, or, with flags before the last argument, of `SSL_write_ex2`.
    pub(super) writers: Vec<Writer>,
}

/// What `SSL_write` is made of.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) function: Function,
    /// It stores the length at its fifth argument, not the fourth.
    pub(super) has_flags: bool,
}

/// Looks for OpenSSL; says why, if it is not found with certainty.
pub(super) fn find(binary: &Binary) -> Result<Result<Signatures, String>, BinaryError> {
    let names: Vec<_> = NAMED.iter().map(|named| named.name).collect();
    let texts = Texts::read(binary, SOURCE, &names)?;
    if texts.sources.is_empty() {
        return Ok(Err("nothing says where it is".to_owned()));
    }
    let references = texts.references(binary)?;
    let functions = frames::functions_around(binary, &references)?;
    if references.len() >= MAX_REFERENCES || functions.len() >= MAX_FUNCTIONS {
        return Ok(Err("too much of it looks like OpenSSL".to_owned()));
    }
    let mut candidates = Vec::new();
    for (address, size) in functions.into_iter().filter(|(_, size)| *size <= MAX_BYTES) {
        let function = Function { name: String::new(), address, size };
        let Ok(code) = binary.code(&function) else { continue };
        candidates.extend(Candidate::new(function, &code, &texts));
    }
    Ok(choose(&candidates))
}

/// Where the texts are that functions refer to.
#[derive(Debug, Default)]
pub(super) struct Texts {
    names: BTreeMap<u64, &'static str>,
    /// Where `ssl_lib.c` begins, with and without folders before it.
    sources: BTreeSet<u64>,
    /// Addresses may stand in code as they are: the file is loaded where it says.
    is_fixed: bool,
}

impl Texts {
    /// Looks for the name of a source file, and for these names.
    pub(super) fn read(binary: &Binary, source: &str, names: &[&'static str]) -> Result<Self, BinaryError> {
        let mut texts = Self { is_fixed: binary.is_fixed(), ..Self::default() };
        binary.scan_read_only(|address, block| {
            if texts.is_crowded() {
                return;
            }
            for hit in memchr::memmem::find_iter(block, source.as_bytes()) {
                if block.get(hit + source.len()) == Some(&0) {
                    let folders = &block[hit.saturating_sub(MAX_FOLDERS_BYTES)..hit];
                    let start = memchr::memrchr(0, folders)
                        .map_or(hit - folders.len(), |end| hit - folders.len() + end + 1);
                    texts.sources.extend((start..=hit).map(|at| address + at as u64));
                }
            }
            for name in names {
                for hit in memchr::memmem::find_iter(block, name.as_bytes()) {
                    if block.get(hit + name.len()) == Some(&0) {
                        texts.names.insert(address + hit as u64, *name);
                    }
                }
            }
        })?;
        if texts.is_crowded() {
            texts.names.clear();
            texts.sources.clear();
        }
        Ok(texts)
    }

    fn is_crowded(&self) -> bool {
        self.names.len() + self.sources.len() > MAX_REFERENCES
    }

    /// Where code may refer to one of the texts, sorted.
    pub(super) fn references(&self, binary: &Binary) -> Result<Vec<u64>, BinaryError> {
        let targets = self.names.keys().chain(&self.sources).copied().collect();
        places_of(binary, &targets, self.is_fixed)
    }

    /// The address that an instruction puts into a register.
    fn loaded(&self, instruction: &Instruction) -> Option<u64> {
        match instruction.mnemonic() {
            Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
                Some(instruction.ip_rel_memory_address())
            }
            Mnemonic::Mov if self.is_fixed => immediate(instruction),
            _ => None,
        }
    }
}

/// Where code may refer to one of the addresses, sorted; `is_fixed`: also as it stands.
pub(super) fn places_of(
    binary: &Binary,
    targets: &BTreeSet<u64>,
    is_fixed: bool,
) -> Result<Vec<u64>, BinaryError> {
    let (Some(first), Some(last)) = (targets.first(), targets.last()) else { return Ok(Vec::new()) };
    let is_target = |address: u64| (*first..=*last).contains(&address) && targets.contains(&address);
    let mut found = Vec::new();
    binary.scan_code(|start, block| {
        for (at, bytes) in block.windows(4).enumerate() {
            // A distance from the end of the instruction, which it is the last part of, or an address.
            let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let address = start + at as u64;
            let is_near = is_target(address.wrapping_add(4).wrapping_add_signed((word as i32).into()));
            if (is_near || (is_fixed && is_target(word.into()))) && found.len() < MAX_REFERENCES {
                found.push(address);
            }
        }
    })?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The number that an instruction puts into a register.
fn immediate(instruction: &Instruction) -> Option<u64> {
    let is_number = instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_kind() == OpKind::Register
        && matches!(
            instruction.op1_kind(),
            OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64
        );
    is_number.then(|| instruction.immediate(1))
}

/// A function that refers to a text that was looked for.
#[derive(Clone, Debug)]
struct Candidate {
    function: Function,
    /// The functions that its errors say they are of.
    names: BTreeSet<&'static str>,
    /// What it calls, or jumps to.
    callees: BTreeSet<u64>,
    /// Registers that have arguments.
    arguments: BTreeSet<u8>,
    /// Where it first looks into what its first argument points to.
    first_look: Option<u64>,
}

/// Registers of arguments, in order.
const ARGUMENTS: [Register; 5] = [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8];

impl Candidate {
    /// `None`, if its errors are none of `ssl_lib.c`, or it is no function: compilers move rare parts
    /// of functions away, and those have no arguments.
    fn new(function: Function, code: &[u8], texts: &Texts) -> Option<Self> {
        let instructions: Vec<_> =
            Decoder::with_ip(64, code, function.address, DecoderOptions::NONE).into_iter().collect();
        if instructions.iter().any(Instruction::is_invalid) {
            return None;
        }
        let names = names_in(&instructions, texts);
        if names.is_empty() {
            return None;
        }
        let (arguments, first_look) = arguments_of(&instructions);
        let targets =
            instructions.iter().filter(|one| matches!(one.code(), Code::Call_rel32_64 | Code::Jmp_rel32_64));
        let callees = targets.map(Instruction::near_branch_target).collect();
        Some(Self { function, names, callees, arguments, first_look })
    }

    fn takes(&self, count: usize) -> bool {
        self.arguments.contains(&(count as u8 - 1))
    }

    fn called(&self, name: &str) -> Function {
        Function { name: name.to_owned(), ..self.function.clone() }
    }
}

/// Functions that raise errors here: in OpenSSL 3 by name, else by number.
fn names_in(instructions: &[Instruction], texts: &Texts) -> BTreeSet<&'static str> {
    let loaded = || instructions.iter().filter_map(|one| texts.loaded(one));
    if !loaded().any(|address| texts.sources.contains(&address)) {
        return BTreeSet::new();
    }
    let names: BTreeSet<_> = loaded().filter_map(|address| texts.names.get(&address).copied()).collect();
    if names.is_empty() { numbered_in(instructions, texts) } else { names }
}

/// OpenSSL 1.1.1: functions that raise errors here, by number.
fn numbered_in(instructions: &[Instruction], texts: &Texts) -> BTreeSet<&'static str> {
    let errors = errors(instructions, texts, LIBRARY);
    let named = |error: &Raised| NAMED.iter().find(|named| Some(named.number) == error.function);
    errors.iter().filter_map(named).map(|named| named.name).collect()
}

/// An error that code raises.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raised {
    function: Option<u64>,
    pub(super) reason: u64,
}

/// What calls of `ERR_put_error(library, function, reason, file, line)` are given, for a library and the
/// source file looked for.
pub(super) fn errors(instructions: &[Instruction], texts: &Texts, library: u64) -> Vec<Raised> {
    let mut errors = Vec::new();
    let mut given: BTreeMap<Register, u64> = BTreeMap::new();
    for one in instructions {
        match one.flow_control() {
            // Compilers let errors share their call.
            FlowControl::Call | FlowControl::UnconditionalBranch => {
                let is_error = given.get(&Register::RDI) == Some(&library)
                    && given.get(&Register::RCX).is_some_and(|file| texts.sources.contains(file));
                if let Some(reason) = given.get(&Register::RDX).filter(|_| is_error) {
                    errors.push(Raised { function: given.get(&Register::RSI).copied(), reason: *reason });
                }
                given.clear();
            }
            FlowControl::Return | FlowControl::IndirectBranch => given.clear(),
            _ => {
                let register = one.op0_register().full_register();
                match texts.loaded(one).or_else(|| immediate(one)) {
                    Some(value) => drop(given.insert(register, value)),
                    None => drop(given.remove(&register)),
                }
            }
        }
    }
    errors
}

/// Whether a function uses its argument of this number, the first being 1.
pub(super) fn uses_argument(code: &[Instruction], number: u8) -> bool {
    arguments_of(code).0.contains(&(number - 1))
}

/// Which arguments a function uses, and at which offset it first reads of what the first points to.
/// It is gone through in the order of addresses up to its first call; where that is not the order of
/// execution, too little is found rather than too much.
fn arguments_of(instructions: &[Instruction]) -> (BTreeSet<u8>, Option<u64>) {
    let mut factory = InstructionInfoFactory::new();
    let (mut used, mut changed) = (BTreeSet::new(), BTreeSet::new());
    let mut first_look = None;
    for one in instructions {
        if matches!(one.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            break;
        }
        let info = factory.info(one);
        let index = |register: Register| {
            ARGUMENTS.iter().position(|argument| *argument == register.full_register()).map(|at| at as u8)
        };
        let looks = info.used_memory().iter().find(|memory| memory.base() == Register::RDI);
        if let Some(memory) = looks.filter(|_| first_look.is_none() && !changed.contains(&0)) {
            first_look = Some(memory.displacement());
        }
        for register in info.used_registers() {
            let Some(index) = index(register.register()) else { continue };
            let reads = matches!(
                register.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            );
            if reads && !changed.contains(&index) {
                used.insert(index);
            }
        }
        for register in info.used_registers() {
            let Some(index) = index(register.register()) else { continue };
            if !matches!(register.access(), OpAccess::None | OpAccess::Read | OpAccess::CondRead) {
                changed.insert(index);
            }
        }
    }
    (used, first_look)
}

/// The functions, if all agree.
fn choose(candidates: &[Candidate]) -> Result<Signatures, String> {
    let (read, readers) = pair(candidates, READ, READ_INTERNAL)?;
    let (write, writers) = pair(candidates, WRITE, WRITE_INTERNAL)?;
    let mut functions = vec![read, write];
    for named in &NAMED[4..] {
        let of_name = candidates.iter().filter(|one| one.names.contains(named.name) && one.takes(1));
        let of_name: Vec<_> = of_name.collect();
        // Two of them are none; these can be done without.
        if let [one] = of_name[..] {
            functions.push(one.called(named.name));
        }
    }
    let readers = readers.iter().filter(|one| one.takes(4)).map(|one| one.called(READ_INTERNAL));
    let writers = writers.iter().filter(|one| one.takes(4) || one.takes(5));
    let writers = writers.map(|one| Writer { function: one.called(WRITE_INTERNAL), has_flags: one.takes(5) });
    Ok(Signatures { functions, readers: readers.collect(), writers: writers.collect() })
}

/// The one function of a name, and those that are what is beneath it: they say so, and are called by
/// it, or begin as it does because it contains the same.
fn pair<'a>(
    candidates: &'a [Candidate],
    outer: &str,
    inner: &str,
) -> Result<(Function, Vec<&'a Candidate>), String> {
    let of_name = candidates.iter().filter(|one| one.names.contains(outer) && one.takes(3));
    let [public] = of_name.collect::<Vec<_>>()[..] else {
        return Err(format!("its code does not tell which function is {outer}"));
    };
    let contains = public.names.contains(inner);
    let inside = candidates.iter().filter(|one| {
        let is_called = public.callees.contains(&one.function.address);
        let is_alike = contains && one.first_look.is_some() && one.first_look == public.first_look;
        one.names.contains(inner) && !one.names.contains(outer) && (is_called || is_alike)
    });
    let inside: Vec<_> = inside.collect();
    if inside.is_empty() && !contains {
        return Err(format!("its {outer} does not call what it should"));
    }
    Ok((public.called(outer), inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE_AT: u64 = 0x9000;
    const READ_AT: u64 = 0x9100;
    const INTERNAL_AT: u64 = 0x9200;

    fn texts() -> Texts {
        Texts {
            names: [(READ_AT, READ), (INTERNAL_AT, READ_INTERNAL)].into(),
            sources: [SOURCE_AT].into(),
            is_fixed: false,
        }
    }

    /// `lea` of an address into the register with this code in the instruction, at an address.
    fn lea(at: u64, register: u8, target: u64) -> Vec<u8> {
        let distance = (target as i64 - at as i64 - 7) as i32;
        [&[0x48, 0x8d, register][..], &distance.to_le_bytes()].concat()
    }

    /// `push rbx; cmp [rdi+0x30], 0; mov rbx, rcx; mov rbp, rdx; call 0x100`, an error by name, `ret`.
    fn function(at: u64, names: &[u64]) -> Option<Candidate> {
        let mut code = vec![0x53, 0x48, 0x83, 0x7f, 0x30, 0, 0x48, 0x89, 0xcb, 0x48, 0x89, 0xd5, 0xe8];
        code.extend((0x100_i64 - (at as i64 + 17)).to_le_bytes()[..4].iter());
        code.extend(lea(at + code.len() as u64, 0x3d, SOURCE_AT));
        for name in names {
            code.extend(lea(at + code.len() as u64, 0x15, *name));
        }
        code.push(0xc3);
        let function = Function { name: String::new(), address: at, size: code.len() as u64 };
        Candidate::new(function, &code, &texts())
    }

    #[test]
    fn functions_are_known_by_the_names_in_their_errors() {
        let found = function(0x1000, &[READ_AT]).expect("a candidate");
        assert_eq!((found.names, found.callees), ([READ].into(), [0x100].into()));
        assert_eq!((found.arguments, found.first_look), ([0, 2, 3].into(), Some(0x30)));
        assert!(function(0x1000, &[]).is_none());
        assert!(function(0x1000, &[SOURCE_AT]).is_none());
    }

    #[test]
    fn functions_of_older_versions_are_known_by_their_numbers() {
        let number = |number: u32| {
            // mov edx, 1; mov edi, 20; mov esi, number; lea rcx, source; call; ret
            let mut code = vec![0xba, 1, 0, 0, 0, 0xbf, 20, 0, 0, 0, 0xbe];
            code.extend(number.to_le_bytes());
            code.extend(lea(0x1000 + code.len() as u64, 0x0d, SOURCE_AT));
            code.extend([0xe8, 0, 0, 0, 0, 0xc3]);
            let decoder = Decoder::with_ip(64, &code, 0x1000, DecoderOptions::NONE);
            names_in(&decoder.into_iter().collect::<Vec<_>>(), &texts())
        };
        assert_eq!(
            (number(223), number(524), number(1)),
            ([READ].into(), [WRITE_INTERNAL].into(), [].into())
        );
    }

    #[test]
    fn a_function_is_taken_only_if_two_findings_agree() {
        let pair_of = |candidates: &[Option<Candidate>]| {
            let owned: Vec<_> = candidates.iter().map(|one| one.clone().expect("a candidate")).collect();
            let inside = |(_, inside): (Function, Vec<&Candidate>)| {
                inside.iter().map(|one| one.function.address).collect::<Vec<_>>()
            };
            pair(&owned, READ, READ_INTERNAL).map(inside)
        };
        let read = || function(0x1000, &[READ_AT]);
        assert_eq!(pair_of(&[read(), function(0x100, &[INTERNAL_AT])]), Ok(vec![0x100]));
        // Not called; two of a name; none.
        assert!(pair_of(&[read(), function(0x200, &[INTERNAL_AT])]).is_err());
        assert!(pair_of(&[read(), function(0x100, &[INTERNAL_AT]), function(0x300, &[READ_AT])]).is_err());
        assert!(pair_of(&[function(0x100, &[INTERNAL_AT])]).is_err());
        // What is beneath was made part of it, and is there once more.
        let both = function(0x1000, &[READ_AT, INTERNAL_AT]);
        assert_eq!(pair_of(&[both, function(0x300, &[INTERNAL_AT])]), Ok(vec![0x300]));
    }

    proptest::proptest! {
        #[test]
        fn any_code_is_looked_at(code in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let function = Function { name: String::new(), address: 0x1000, size: code.len() as u64 };
            let _ = Candidate::new(function, &code, &texts());
            let decoder = Decoder::with_ip(64, &code, 0x1000, DecoderOptions::NONE);
            let _ = numbered_in(&decoder.into_iter().collect::<Vec<_>>(), &texts());
        }
    }
}
