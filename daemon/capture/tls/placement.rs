//! Chooses the instructions of a function that carry its probes.
//!
//! A probe replaces an instruction by a breakpoint. The kernel emulates a few instructions (pushes,
//! calls, jumps) and single-steps the others, which costs ten times as much and stops the thread
//! longer. So probes go on an emulated instruction wherever one has the arguments, or the result,
//! still in its registers. Pure: bytes in, offsets out.

use std::collections::BTreeSet;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind,
    Register,
};

/// Longest function that is looked at. Those of TLS libraries have some hundred bytes.
pub(super) const MAX_FUNCTION_BYTES: u64 = 64 << 10;
/// How far from the start an entry probe may be; all of a prologue.
const MAX_PROLOGUE_BYTES: u64 = 96;

/// Why a function gets no probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlacementError {
    #[error("its code cannot be read")]
    NoCode,
    #[error("its code does not decode")]
    Undecodable,
    #[error("it never returns")]
    NoReturn,
    #[error("it leaves by a jump, so its return cannot be seen")]
    TailJump,
}

/// How arguments and results are passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Convention {
    /// System V: rdi, rsi, rdx, rcx, r8; result in rax; returns may be probed through the stack.
    C,
    /// Go's register ABI: rax, rbx, rcx; stacks move, so returns are probed at RET only.
    Go,
}

impl Convention {
    fn arguments(self) -> &'static [Register] {
        match self {
            Self::C => &[Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8],
            Self::Go => &[Register::RAX, Register::RBX, Register::RCX, Register::R14],
        }
    }
}

/// Where the probes of a function go, as offsets from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// Here the arguments are in their registers.
    pub(super) entry: u64,
    /// How the return is seen.
    pub(super) exit: Exit,
    /// Every probe is on an instruction that the kernel emulates.
    pub(super) is_cheap: bool,
}

/// How a function's return is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// A return probe at this offset, where the stack pointer is still the caller's.
    Return(u64),
    /// Plain probes here, where the result is in its register.
    Sites(Vec<u64>),
}

/// Where an entry probe alone goes.
pub(super) fn place_entry(code: &[u8], convention: Convention) -> Result<u64, PlacementError> {
    let function = Function::decode(code)?;
    Ok(function.entries(convention).first().map_or(0, |site| site.offset))
}

/// Where probes at entry and return go.
pub(super) fn place(code: &[u8], convention: Convention) -> Result<Placement, PlacementError> {
    let function = Function::decode(code)?;
    let entries = function.entries(convention);
    if convention == Convention::Go {
        let exits = function.returns()?;
        let entry = entries.first().map_or(0, |site| site.offset);
        return Ok(Placement { entry, exit: Exit::Sites(exits), is_cheap: false });
    }
    if let Some(site) = entries.iter().find(|site| site.stack == 0) {
        return Ok(Placement { entry: site.offset, exit: Exit::Return(site.offset), is_cheap: true });
    }
    for site in &entries {
        if let Some(exits) = function.cheap_exits(site.stack) {
            return Ok(Placement { entry: site.offset, exit: Exit::Sites(exits), is_cheap: true });
        }
    }
    // One breakpoint for both: a second one elsewhere would only add to it.
    Ok(Placement { entry: 0, exit: Exit::Return(0), is_cheap: false })
}

/// Offset, relative to the function, of what it calls first, if until then it leaves the arguments
/// and memory alone: a wrapper, whose callee sees what it sees.
pub(super) fn wrapped(code: &[u8]) -> Option<i64> {
    let function = Function::decode(code).ok()?;
    for one in &function.instructions {
        match one.instruction.flow_control() {
            FlowControl::Call if one.instruction.code() == Code::Call_rel32_64 => {
                return Some(one.instruction.near_branch_target().wrapping_sub(BASE) as i64);
            }
            FlowControl::Next if !one.writes_any(Convention::C.arguments()) => {}
            _ => return None,
        }
    }
    None
}

/// Offsets, relative to the function, of everything that it calls directly.
pub(super) fn callees(code: &[u8]) -> Vec<i64> {
    let Ok(function) = Function::decode(code) else { return Vec::new() };
    let calls = function.instructions.iter().filter(|one| one.instruction.code() == Code::Call_rel32_64);
    calls.map(|one| one.instruction.near_branch_target().wrapping_sub(BASE) as i64).collect()
}

/// Address that functions are decoded at; far from both ends, so that targets before it are no wrap.
const BASE: u64 = 1 << 40;

/// An instruction in its place.
#[derive(Clone, Debug)]
struct Placed {
    offset: u64,
    instruction: Instruction,
    written: Vec<Register>,
}

impl Placed {
    fn writes_any(&self, registers: &[Register]) -> bool {
        self.written.iter().any(|written| registers.contains(&written.full_register()))
    }

    /// The kernel emulates it, in every version that has uprobes worth the name (Linux 4.17).
    fn is_emulated(&self) -> bool {
        match self.instruction.code() {
            Code::Push_r64 | Code::Call_rel32_64 | Code::Jmp_rel8_64 | Code::Jmp_rel32_64 => true,
            Code::Nopd => self.instruction.len() == 1,
            _ => self.instruction.is_jcc_short_or_near(),
        }
    }

    fn target(&self) -> Option<u64> {
        let instruction = &self.instruction;
        let is_branch = instruction.is_jcc_short_or_near()
            || matches!(instruction.code(), Code::Jmp_rel8_64 | Code::Jmp_rel32_64)
            || instruction.is_loop()
            || instruction.is_loopcc();
        is_branch.then(|| instruction.near_branch_target().wrapping_sub(BASE))
    }
}

/// A place for an entry probe.
#[derive(Clone, Copy, Debug)]
struct EntrySite {
    offset: u64,
    /// What the function took from the stack until here, bytes.
    stack: i64,
}

#[derive(Debug)]
struct Function {
    instructions: Vec<Placed>,
    /// Offsets that branches of the function lead to.
    targets: BTreeSet<u64>,
    len: u64,
}

impl Function {
    fn decode(code: &[u8]) -> Result<Self, PlacementError> {
        if code.is_empty() || code.len() as u64 > MAX_FUNCTION_BYTES {
            return Err(PlacementError::NoCode);
        }
        let mut decoder = Decoder::with_ip(64, code, BASE, DecoderOptions::NONE);
        let mut factory = InstructionInfoFactory::new();
        let mut instructions = Vec::new();
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                return Err(PlacementError::Undecodable);
            }
            let info = factory.info(&instruction);
            let is_write = |access: OpAccess| {
                !matches!(
                    access,
                    OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
                )
            };
            let written = info.used_registers().iter().filter(|used| is_write(used.access()));
            let written = written.map(iced_x86::UsedRegister::register).collect();
            instructions.push(Placed { offset: instruction.ip() - BASE, instruction, written });
        }
        let targets = instructions.iter().filter_map(Placed::target).collect();
        Ok(Self { instructions, targets, len: code.len() as u64 })
    }

    /// Emulated instructions that every call passes once, with the arguments intact.
    fn entries(&self, convention: Convention) -> Vec<EntrySite> {
        let mut sites = Vec::new();
        let mut stack = 0_i64;
        for one in &self.instructions {
            // Go starts again at the first instruction after it grew the stack: the second hit
            // says the same as the first.
            let is_target = self.targets.contains(&one.offset);
            if one.offset > MAX_PROLOGUE_BYTES || (is_target && one.offset > 0) {
                break;
            }
            let is_loop_head = convention == Convention::C && is_target;
            if one.is_emulated() && !is_loop_head {
                sites.push(EntrySite { offset: one.offset, stack });
            }
            if one.instruction.flow_control() != FlowControl::Next || one.writes_any(convention.arguments()) {
                break;
            }
            stack -= i64::from(one.instruction.stack_pointer_increment());
            // The frame pointer's copy aside, rsp may be aligned or computed: then it is not known.
            let moves_rsp = one.writes_any(&[Register::RSP]);
            if moves_rsp && one.instruction.stack_pointer_increment() == 0 {
                match adjustment(&one.instruction) {
                    Some(bytes) => stack += bytes,
                    None => break,
                }
            }
        }
        sites
    }

    fn returns(&self) -> Result<Vec<u64>, PlacementError> {
        let leaves = |one: &Placed| match one.target() {
            Some(target) => target >= self.len,
            None => one.instruction.flow_control() == FlowControl::IndirectBranch,
        };
        if self.instructions.iter().any(leaves) {
            return Err(PlacementError::TailJump);
        }
        let returns =
            self.instructions.iter().filter(|one| one.instruction.flow_control() == FlowControl::Return);
        let returns: Vec<_> = returns.map(|one| one.offset).collect();
        if returns.is_empty() { Err(PlacementError::NoReturn) } else { Ok(returns) }
    }

    /// For each RET an emulated instruction before it that is passed on every way to it, where the
    /// result is final and the stack pointer not below the one at entry; `None` if one has none.
    fn cheap_exits(&self, entry_stack: i64) -> Option<Vec<u64>> {
        let mut exits = Vec::new();
        for (index, one) in self.instructions.iter().enumerate() {
            let leaves = one.target().is_some_and(|target| target >= self.len)
                || one.instruction.flow_control() == FlowControl::IndirectBranch;
            if leaves {
                return None;
            }
            if one.instruction.flow_control() == FlowControl::Return {
                exits.push(self.cheap_exit(index, entry_stack)?);
            }
        }
        (!exits.is_empty()).then_some(exits)
    }

    fn cheap_exit(&self, index: usize, entry_stack: i64) -> Option<u64> {
        let mut stack = 0_i64;
        for (before, one) in self.instructions[..index].iter().enumerate().rev() {
            let after = self.instructions.get(before + 1)?;
            if self.targets.contains(&after.offset) || one.writes_any(&[Register::RAX]) {
                return None;
            }
            if one.instruction.is_jcc_short_or_near() {
                let is_fatal = self.never_returns(one.target()?);
                return (is_fatal && stack <= entry_stack).then_some(one.offset);
            }
            if one.instruction.flow_control() != FlowControl::Next {
                return None;
            }
            if one.writes_any(&[Register::RSP]) {
                match one.instruction.stack_pointer_increment() {
                    0 => stack -= adjustment(&one.instruction)?,
                    bytes => stack += i64::from(bytes),
                }
            }
        }
        None
    }

    /// What stands at an offset is a call that nothing follows: the one of a broken stack guard.
    fn never_returns(&self, target: u64) -> bool {
        let Some(index) = self.instructions.iter().position(|one| one.offset == target) else { return false };
        let is_call = self.instructions[index].instruction.flow_control() == FlowControl::Call;
        let rest = &self.instructions[index + 1..];
        let is_padding = |one: &Placed| {
            matches!(one.instruction.mnemonic(), iced_x86::Mnemonic::Nop | iced_x86::Mnemonic::Int3)
        };
        is_call && rest.iter().all(is_padding)
    }
}

/// What `sub rsp, N` takes from the stack (negative for `add`); `None` for anything else.
fn adjustment(instruction: &Instruction) -> Option<i64> {
    use iced_x86::Mnemonic;
    if instruction.op0_register() != Register::RSP
        || !matches!(instruction.op1_kind(), OpKind::Immediate8to64 | OpKind::Immediate32to64)
    {
        return None;
    }
    let bytes = instruction.immediate(1) as i64;
    match instruction.mnemonic() {
        Mnemonic::Sub => Some(bytes),
        Mnemonic::Add => Some(-bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SSL_write of OpenSSL 3.0 on Debian: a stack guard, and a check of the length.
    const GUARDED: &[u8] = &[
        0x48, 0x83, 0xec, 0x18, // 00 sub rsp, 0x18
        0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, // 04 mov rax, fs:[0x28]
        0x48, 0x89, 0x44, 0x24, 0x08, // 0d mov [rsp+8], rax
        0x31, 0xc0, // 12 xor eax, eax
        0x85, 0xd2, // 14 test edx, edx
        0x78, 0x2b, // 16 js 0x43
        0x48, 0x89, 0xe1, // 18 mov rcx, rsp
        0x48, 0x63, 0xd2, // 1b movsxd rdx, edx
        0xe8, 0x00, 0xff, 0xff, 0xff, // 1e call
        0x85, 0xc0, // 23 test eax, eax
        0x7e, 0x03, // 25 jle 0x2a
        0x8b, 0x04, 0x24, // 27 mov eax, [rsp]
        0x48, 0x8b, 0x54, 0x24, 0x08, // 2a mov rdx, [rsp+8]
        0x64, 0x48, 0x2b, 0x14, 0x25, 0x28, 0, 0, 0, // 2f sub rdx, fs:[0x28]
        0x75, 0x10, // 38 jne 0x4a
        0x48, 0x83, 0xc4, 0x18, // 3a add rsp, 0x18
        0x31, 0xd2, // 3e xor edx, edx
        0xc3, // 40 ret
        0x90, 0x90, // 41
        0xb8, 0xff, 0xff, 0xff, 0xff, // 43 mov eax, -1
        0xeb, 0xe0, // 48 jmp 0x2a
        0xe8, 0, 0, 0, 0,    // 4a call __stack_chk_fail
        0x90, // padding
    ];

    #[test]
    fn a_guarded_function_is_probed_at_its_jumps() {
        let placement = place(GUARDED, Convention::C).expect("places");
        assert_eq!(placement, Placement { entry: 0x16, exit: Exit::Sites(vec![0x38]), is_cheap: true });
    }

    #[test]
    fn a_push_at_the_start_carries_entry_and_return() {
        // push rbp; mov rbp, rsp; push r14; ...; ret
        let code = [0x55, 0x48, 0x89, 0xe5, 0x41, 0x56, 0x5d, 0xc3];
        let placement = place(&code, Convention::C).expect("places");
        assert_eq!(placement, Placement { entry: 0, exit: Exit::Return(0), is_cheap: true });
        // endbr64; push rbx; pop rbx; ret
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x53, 0x5b, 0xc3];
        let placement = place(&code, Convention::C).expect("places");
        assert_eq!(placement, Placement { entry: 4, exit: Exit::Return(4), is_cheap: true });
    }

    #[test]
    fn without_an_emulated_instruction_the_start_carries_both() {
        // mov eax, [rdi]; ret
        let placement = place(&[0x8b, 0x07, 0xc3], Convention::C).expect("places");
        assert_eq!(placement, Placement { entry: 0, exit: Exit::Return(0), is_cheap: false });
    }

    #[test]
    fn no_probe_goes_behind_a_changed_argument_or_into_a_loop() {
        // mov rdi, rsi; push rbx; pop rbx; ret
        let code = [0x48, 0x89, 0xf7, 0x53, 0x5b, 0xc3];
        assert_eq!(place_entry(&code, Convention::C), Ok(0));
        // xor eax, eax; push rbx; pop rbx; jmp to the push
        let code = [0x31, 0xc0, 0x53, 0x5b, 0xeb, 0xfc];
        assert_eq!(place_entry(&code, Convention::C), Ok(0));
    }

    #[test]
    fn a_wrapper_leads_to_its_callee() {
        // sub rsp, 8; call +0x100; add rsp, 8; ret
        let code = [0x48, 0x83, 0xec, 0x08, 0xe8, 0xf7, 0, 0, 0, 0x48, 0x83, 0xc4, 0x08, 0xc3];
        assert_eq!(wrapped(&code), Some(0x100));
        assert_eq!(wrapped(GUARDED), None);
        assert_eq!(callees(GUARDED), [0x1e + 5 - 0x100, 0x4f]);
    }

    #[test]
    fn go_functions_are_probed_at_each_ret() {
        // cmp rsp, [r14+0x10]; jbe 8; ret; nop; call morestack; jmp 0
        let code = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x02, 0xc3, 0x90, 0xe8, 0, 0, 0, 0, 0xeb, 0xf1];
        let placement = place(&code, Convention::Go).expect("places");
        assert_eq!((placement.entry, placement.exit), (4, Exit::Sites(vec![6])));
        // A tail jump hides the return.
        let code = [0x49, 0x3b, 0x66, 0x10, 0xe9, 0, 1, 0, 0];
        assert_eq!(place(&code, Convention::Go), Err(PlacementError::TailJump));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_placed_inside_or_refused(code in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            for convention in [Convention::C, Convention::Go] {
                if let Ok(placement) = place(&code, convention) {
                    assert!(placement.entry < code.len() as u64);
                    if let Exit::Sites(sites) = placement.exit {
                        assert!(sites.iter().all(|site| *site < code.len() as u64));
                    }
                }
            }
            let _ = (wrapped(&code), callees(&code));
        }
    }
}
