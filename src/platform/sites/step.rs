//! An instruction in front of a site: what it does to the call's number, and whether a stub could run it elsewhere.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::GUARD;

/// What an instruction does to `rax`, by which the call's number is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Number(u32),
    Other,
}

/// An instruction in front of a site that can be moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) addr: u64,
    pub(super) len: u64,
    pub(super) effect: Effect,
    pub(super) form: Form,
}

/// What it takes to run an instruction elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing.
    Plain,
    /// The comparison of [`Kind::Guarded`].
    Comparison,
    /// The branch behind that.
    Branch,
}

/// How an instruction can be run elsewhere, where it can.
pub(super) fn form(instruction: &Instruction) -> Option<Form> {
    let (compared, branch) = GUARD;
    if is_movable(instruction) {
        Some(Form::Plain)
    } else if instruction.code() == Code::Cmp_rm8_imm8
        && instruction.is_ip_rel_memory_operand()
        && instruction.len() == compared
    {
        Some(Form::Comparison)
    } else if matches!(instruction.code(), Code::Je_rel8_64 | Code::Jne_rel8_64)
        && instruction.len() == branch
    {
        Some(Form::Branch)
    } else {
        None
    }
}

/// Whether a copy at another address does the same, and nothing to `rsp`, `rcx` and `r11`: ordinary instructions on the general
/// registers and memory. `rcx` and `r11` may be read, as the stub takes them for itself only afterwards.
fn is_movable(instruction: &Instruction) -> bool {
    let reads_only = matches!(
        instruction.mnemonic(),
        Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Nop
    );
    let ordinary = matches!(
        instruction.mnemonic(),
        Mnemonic::Mov
            | Mnemonic::Movzx
            | Mnemonic::Movsx
            | Mnemonic::Movsxd
            | Mnemonic::Lea
            | Mnemonic::Xor
            | Mnemonic::And
            | Mnemonic::Or
            | Mnemonic::Add
            | Mnemonic::Sub
            | Mnemonic::Inc
            | Mnemonic::Dec
            | Mnemonic::Neg
            | Mnemonic::Not
            | Mnemonic::Shl
            | Mnemonic::Shr
            | Mnemonic::Sar
    );
    let prefixed = instruction.has_lock_prefix()
        || instruction.has_rep_prefix()
        || instruction.has_repne_prefix();
    if !(ordinary || reads_only) || prefixed || instruction.is_ip_rel_memory_operand() {
        return false;
    }
    (0..instruction.op_count()).all(|operand| match instruction.op_kind(operand) {
        OpKind::Register => {
            let register = instruction.op_register(operand);
            is_general(register) && (operand != 0 || reads_only || !is_reserved(register))
        }
        // With an absolute address too; the segment may be the thread's (`%fs:`).
        OpKind::Memory => true,
        kind => is_immediate(kind),
    })
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
    )
}

/// `al` to `r15`, in all sizes.
fn is_general(register: Register) -> bool {
    (Register::AL..=Register::R15).contains(&register)
}

/// The stack pointer, and the two registers that `syscall` overwrites.
fn is_reserved(register: Register) -> bool {
    use Register::{CH, CL, CX, ECX, ESP, R11, R11D, R11L, R11W, RCX, RSP, SP, SPL};
    [
        RSP, ESP, SP, SPL, RCX, ECX, CX, CL, CH, R11, R11D, R11W, R11L,
    ]
    .contains(&register)
}

pub(super) fn effect(instruction: &Instruction) -> Effect {
    use Register::{AH, AL, AX, EAX, RAX};
    let to_rax = instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::Register
        && [AL, AH, AX, EAX, RAX].contains(&instruction.op0_register());
    if !to_rax {
        return Effect::None;
    }
    let whole = [EAX, RAX].contains(&instruction.op0_register());
    match instruction.mnemonic() {
        Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Nop => Effect::None,
        // The kernel looks at the lower half only.
        Mnemonic::Mov if whole && is_immediate(instruction.op1_kind()) => {
            Effect::Number(instruction.immediate(1) as u32)
        }
        Mnemonic::Xor | Mnemonic::Sub
            if whole
                && instruction.op1_kind() == OpKind::Register
                && instruction.op1_register() == instruction.op0_register() =>
        {
            Effect::Number(0)
        }
        _ => Effect::Other,
    }
}
