//! Which call sites of an ELF object may be patched: where a jump to a stub can stand in front of a `syscall` instruction that
//! stays where it is. Pure reading of a file that the cage chose: nothing here patches, and no byte is trusted.
//!
//! The jump (`e9 rel32`, five bytes) is written over complete instructions right in front of `0f 05`. What is needed for
//! that, and is looked at here:
//!
//! - The instructions are where they seem to be: code is decoded from the start of the function that holds the site.
//! - No one comes to the middle of the jump, see [`Match::entered`].
//! - The stub can run the instructions in the site's place, see [`step`].
//! - The call is none that the stub cannot make: see [`NEVER`].

mod elf;
mod functions;
mod step;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use memchr::memmem;
use syscalls::Sysno;

use elf::{Object, u32_at};
use functions::{Function, functions};
use step::{Effect, Form, Step, effect, form};

/// The jump's length.
const JUMP: u64 = 5;
/// The most bytes in front of a `0f 05` that are moved to a stub.
pub(super) const MOVED_MOST: usize = 16;
/// How far from an instruction a short branch can lead, and the length of the longest instruction.
const SHORT: u64 = 128 + 15;
/// How far in front of a site the number of its call is looked for, to know the sites of [`NEVER`].
const NUMBER_WITHIN: u64 = 64;
/// The most pairs `0f 05`; glibc has 526 in 2 MB.
const MATCHES_MOST: usize = 1 << 16;
/// The most bytes that are decoded, of all functions of an object: less than a second, were each an instruction.
const DECODED_MOST: u64 = 4 << 20;

/// The calls whose sites are never patched: a child or a new program begins behind the instruction, or the kernel looks at
/// the place or the stack of the call itself.
const NEVER: [Sysno; 8] = [
    Sysno::clone,
    Sysno::fork,
    Sysno::vfork,
    Sysno::clone3,
    Sysno::execve,
    Sysno::execveat,
    Sysno::rt_sigreturn,
    Sysno::restart_syscall,
];

/// Why an object has no sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is larger than 64 MiB.
    Large,
    /// It is no program or library for `x86_64`.
    Foreign,
    /// Its headers contradict themselves or its length.
    Malformed,
    /// It has more pairs `0f 05` than any honest one.
    Crowded,
}

/// Why a pair `0f 05` in code is not patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    /// In no function that the object tells of, or behind the bytes that are decoded at most.
    NoFunction,
    /// In the middle of another instruction.
    NotAnInstruction,
    /// Behind something that is no instruction.
    Undecodable,
    /// One of [`NEVER`].
    Number,
    /// Fewer than five bytes in front of it can be moved.
    Short,
    /// A branch leads, or may lead, to where the jump's bytes would be.
    Entered,
}

/// What is overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `b8 imm32`, which sets the number: the stub knows it and has nothing to run.
    Number,
    /// `cmpb imm8, rel32(%rip)`, a short conditional branch, and what sets the number: so a C library makes a call only where
    /// there is one thread. The stub runs the first two, adapted to where they are.
    Guarded,
    /// Other instructions, which a stub must run first, from a copy of the bytes [`Site::moved`].
    Moved,
}

/// Bytes of the comparison, and of the branch behind it, in a site of [`Kind::Guarded`].
pub(super) const GUARD: (usize, usize) = (7, 2);

/// A site that may be patched. Addresses are the object's own (`p_vaddr`).
///
/// Who patches it must see that the cage's memory still has [`Site::code`] there, and that no thread is about to run one of the
/// bytes `addr + 1 .. addr + 5`. A thread at `addr`, behind these bytes, or in the call (its address is `end`) is no hindrance.
///
/// A copy of the moved bytes runs anywhere as it does in its place: it has no branch and nothing relative to its address, and
/// leaves `rsp` alone. It must run once for each time that the site is passed, as it may count or store; an interrupted call goes
/// back to `end - 2`, never to `addr`. It may read and write memory, so it may fault: the address of the fault is then the
/// copied instruction's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Site {
    /// Of the patch's first byte.
    pub(super) addr: u64,
    /// What stands there.
    pub(super) kind: Kind,
    /// Right behind the `0f 05`.
    pub(super) end: u64,
    /// The call's number, where all that enter at `addr` have the same.
    pub(super) nr: Option<u32>,
    /// Of the patch's first byte, in the file.
    pub(super) offset: u64,
    code: [u8; MOVED_MOST + 2],
}

impl Site {
    /// All bytes from `addr` to `end`.
    pub(super) fn code(&self) -> &[u8] {
        let len = usize::try_from(self.end - self.addr).unwrap_or(usize::MAX);
        self.code.get(..len).unwrap_or(&self.code)
    }

    /// A site of this code, at 0x100 in its object.
    #[cfg(test)]
    pub(super) fn made(kind: Kind, code: &[u8]) -> Self {
        let mut all = [0; MOVED_MOST + 2];
        all[..code.len()].copy_from_slice(code);
        Self {
            addr: 0x100,
            kind,
            end: 0x100 + code.len() as u64,
            nr: None,
            offset: 0x100,
            code: all,
        }
    }

    /// The bytes in front of the `0f 05`; of [`Kind::Moved`], what a stub would run.
    #[cfg(test)]
    fn moved(&self) -> &[u8] {
        self.code().split_last_chunk::<2>().map_or(&[], |s| s.0)
    }
}

/// What an object has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Ascending, none overlaps the next.
    pub(super) sites: Vec<Site>,
    /// The other pairs `0f 05` by their addresses, ascending, and why they are not patched.
    pub(super) refused: Vec<(u64, Refusal)>,
}

/// Finds the sites of an object, given as the bytes of its file. The work is linear in their number but for a logarithm.
///
/// # Errors
/// See [`Unfit`]. An object that is fit may still have no site.
pub(super) fn find(bytes: &[u8]) -> Result<Found, Unfit> {
    let object = Object::new(bytes)?;
    let mut matches = matches(&object)?;
    if matches.is_empty() {
        return Ok(Found::default());
    }
    decode_around(&object, &functions(&object), &mut matches);
    if matches.iter().any(|m| m.state == State::Syscall) {
        far_references(&object, &mut matches);
    }
    let mut found = Found::default();
    for pair in &matches {
        match pair.judge() {
            Ok(site) => found.sites.push(site),
            Err(refusal) => found.refused.push((pair.addr, refusal)),
        }
    }
    Ok(found)
}

/// What decoding said of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Refused(Refusal),
    Syscall,
}

/// A pair `0f 05`.
#[derive(Debug)]
struct Match<'a> {
    addr: u64,
    offset: u64,
    /// The bytes before it, at most [`MOVED_MOST`], and itself.
    code: &'a [u8],
    state: State,
    /// The instructions before it that can be moved, the nearest last.
    steps: Vec<Step>,
    /// The number that was loaded last before it, in the order of addresses.
    loaded: Option<u32>,
    /// Bit `n`: something refers to the address `n` before the pair.
    referred: u32,
    /// Whether its function has branches whose targets are not known.
    loose: bool,
}

/// All pairs `0f 05` in code.
fn matches<'a>(object: &Object<'a>) -> Result<Vec<Match<'a>>, Unfit> {
    let mut matches = Vec::new();
    for segment in object.segments.iter().filter(|s| s.code) {
        for at in memmem::find_iter(segment.bytes, b"\x0f\x05") {
            if matches.len() == MATCHES_MOST {
                return Err(Unfit::Crowded);
            }
            let code = segment.bytes.get(at.saturating_sub(MOVED_MOST)..at + 2);
            matches.push(Match {
                addr: segment.addr + at as u64,
                offset: segment.offset + at as u64,
                code: code.unwrap_or_default(),
                state: State::Refused(Refusal::NoFunction),
                steps: Vec::new(),
                loaded: None,
                referred: 0,
                loose: false,
            });
        }
    }
    Ok(matches)
}

/// Notes that something refers to `target`.
fn refer(matches: &mut [Match<'_>], target: u64) {
    let first = matches.partition_point(|m| m.addr <= target);
    for pair in matches.get_mut(first..).unwrap_or_default() {
        let before = pair.addr - target;
        if before > MOVED_MOST as u64 {
            break;
        }
        pair.referred |= 1 << before;
    }
}

/// Decodes each function that has a pair, or from which a short branch reaches the bytes before one, once.
fn decode_around(object: &Object<'_>, functions: &[Function], matches: &mut [Match<'_>]) {
    let mut budget = DECODED_MOST;
    let mut next = 0;
    let addrs: Vec<u64> = matches.iter().map(|m| m.addr).collect();
    for addr in addrs {
        let low = addr.saturating_sub(SHORT + MOVED_MOST as u64);
        next = next.max(functions.partition_point(|f| f.end <= low));
        while let Some(function) = functions.get(next)
            && function.start <= addr + SHORT
        {
            next += 1;
            let len = function.end - function.start;
            let Some(left) = budget.checked_sub(len) else {
                continue;
            };
            budget = left;
            let code = object.from(function.start).unwrap_or_default();
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let code = code.get(..len.min(code.len())).unwrap_or_default();
            decode(code, function.start, matches);
        }
    }
}

/// Decodes a function, and notes in the matches what is learnt about them.
fn decode(code: &[u8], start: u64, matches: &mut [Match<'_>]) {
    let first = matches.partition_point(|m| m.addr < start);
    let end = matches.partition_point(|m| m.addr < start + code.len() as u64);
    for pair in matches.get_mut(first..end).unwrap_or_default() {
        pair.state = State::Refused(Refusal::NotAnInstruction);
    }
    let mut next = first;
    let mut steps: VecDeque<Step> = VecDeque::with_capacity(MOVED_MOST);
    let mut loaded = None;
    let mut loose = false;
    let mut instruction = Instruction::default();
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let addr = instruction.ip();
        while next < end && matches.get(next).is_some_and(|m| m.addr < addr) {
            next += 1;
        }
        if instruction.is_invalid() {
            for pair in matches.get_mut(next..end).unwrap_or_default() {
                pair.state = State::Refused(Refusal::Undecodable);
            }
            // Who knows what is behind it, and where that leads.
            loose = true;
            break;
        }
        if is_near_branch(&instruction) {
            refer(matches, instruction.near_branch_target());
        }
        loose |= is_computed_jump(&instruction);
        let Some(pair) = matches.get_mut(next).filter(|_| next < end) else {
            continue;
        };
        let ahead = pair.addr - addr;
        if ahead == 0 && instruction.code() == Code::Syscall {
            pair.state = State::Syscall;
            pair.steps = steps.drain(..).collect();
            pair.loaded = loaded.take();
        } else if ahead <= NUMBER_WITHIN {
            let effect = effect(&instruction);
            match effect {
                Effect::None => {}
                Effect::Number(number) => loaded = Some(number),
                Effect::Other => loaded = None,
            }
            let Some(form) = form(&instruction) else {
                steps.clear();
                continue;
            };
            if steps.len() == MOVED_MOST {
                steps.pop_front();
            }
            let len = instruction.len() as u64;
            steps.push_back(Step {
                addr,
                len,
                effect,
                form,
            });
        }
    }
    for pair in matches.get_mut(first..end).unwrap_or_default() {
        pair.loose = loose;
    }
}

fn is_near_branch(instruction: &Instruction) -> bool {
    instruction.op_count() > 0
        && matches!(
            instruction.op0_kind(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        )
}

/// Whether it is a jump of a `switch` or the like. A jump through a fixed place in memory is one to another object.
fn is_computed_jump(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Jmp
        && !is_near_branch(instruction)
        && !instruction.is_ip_rel_memory_operand()
}

/// Notes where near branches, calls and `lea`s refer to, wherever such bytes are, aligned with instructions or not: compilers put
/// a function's unlikely parts elsewhere, and these come back by such branches. That some are none costs a site now and then.
fn far_references(object: &Object<'_>, matches: &mut [Match<'_>]) {
    // Most refer to nothing near a pair, which a small table knows: one entry for 32 bytes, of each two megabytes the same.
    let slot = |addr: u64| usize::from((addr >> 5) as u16);
    let mut near = vec![false; 1 << 16];
    for pair in matches.iter().filter(|m| m.state == State::Syscall) {
        for addr in [pair.addr.saturating_sub(MOVED_MOST as u64), pair.addr] {
            if let Some(near) = near.get_mut(slot(addr)) {
                *near = true;
            }
        }
    }
    for segment in object.segments.iter().filter(|s| s.code) {
        for (at, pair) in segment.bytes.windows(2).enumerate() {
            let opcode = match pair {
                [0xe8 | 0xe9, _] => 1,
                [0x0f, 0x80..=0x8f] => 2,
                [0x8d, mode] if mode & 0xc7 == 0x05 => 2,
                _ => continue,
            };
            let Some(distance) = u32_at(segment.bytes, at + opcode) else {
                continue;
            };
            let behind = segment.addr + (at + opcode + 4) as u64;
            let target = behind.wrapping_add_signed(distance.cast_signed().into());
            if near.get(slot(target)) == Some(&true) {
                refer(matches, target);
            }
        }
    }
}

impl Match<'_> {
    /// Whether a branch may come to the middle of a jump that is written at this step.
    ///
    /// Only the bytes behind the jump's first up to its fifth matter. At its first the stub is entered as meant. What is
    /// left of the moved instructions behind the fifth byte, and the `0f 05`, are as they were: who comes there runs them in
    /// place, and the call is seen by the filter. So threads that were in the middle of the moved instructions, handlers that
    /// return there, and calls that the kernel restarts (two bytes back) need no care beyond those four bytes either.
    ///
    /// Where targets are not known (the table of a `switch`), each instruction may be one. Landing pads of exceptions may not:
    /// they are only ever entered by unwinding, so what is in front of one does not run on into it.
    fn entered(&self, step: &Step) -> bool {
        let before = self.addr - step.addr;
        let middle = 0b1111 << (before - (JUMP - 1));
        self.referred & middle != 0 || self.loose && step.len < JUMP
    }

    fn judge(&self) -> Result<Site, Refusal> {
        if let State::Refused(refusal) = self.state {
            return Err(refusal);
        }
        let never = |nr: u32| NEVER.iter().any(|call| call.id().cast_unsigned() == nr);
        if self.loaded.is_some_and(never) {
            return Err(Refusal::Number);
        }
        let mut refusal = Refusal::Short;
        let mut effect = Effect::None;
        if let [.., comparison, branch, number] = self.steps.as_slice()
            && (comparison.form, branch.form) == (Form::Comparison, Form::Branch)
            && matches!(number.effect, Effect::Number(_))
            && number.len < JUMP
            && !self.entered(comparison)
        {
            return self
                .site(comparison.addr, number.effect)
                .map(|site| Site {
                    kind: Kind::Guarded,
                    ..site
                })
                .ok_or(Refusal::Short);
        }
        // The fewest instructions that will do.
        for step in self.steps.iter().rev() {
            if step.form != Form::Plain {
                break;
            }
            if effect == Effect::None {
                effect = step.effect;
            }
            let before = self.addr - step.addr;
            if before < JUMP {
                continue;
            }
            if before > MOVED_MOST as u64 {
                break;
            }
            if self.entered(step) {
                refusal = Refusal::Entered;
                continue;
            }
            return self.site(step.addr, effect).ok_or(Refusal::Short);
        }
        Err(refusal)
    }

    fn site(&self, addr: u64, effect: Effect) -> Option<Site> {
        let before = self.addr - addr;
        let len = usize::try_from(before).ok()? + 2;
        let bytes = self.code.get(self.code.len().checked_sub(len)?..)?;
        let mut code = [0; MOVED_MOST + 2];
        code.get_mut(..len)?.copy_from_slice(bytes);
        let kind = match bytes {
            [0xb8, _, _, _, _, 0x0f, 0x05] => Kind::Number,
            _ => Kind::Moved,
        };
        Some(Site {
            addr,
            kind,
            end: self.addr + 2,
            nr: match effect {
                Effect::Number(nr) => Some(nr),
                Effect::None | Effect::Other => None,
            },
            offset: self.offset.checked_sub(before)?,
            code,
        })
    }
}
