//! Where an object's functions begin and end, by what it brings for unwinding, for linking, or for Go's own run-time. All of
//! it may lie: then code is decoded from wrong places, and sites are missed or found where only the liar is hurt.

use super::elf::{Object, u16_at, u32_at, u64_at};

/// The most functions that are looked at; a larger program's others have no sites.
const MOST: usize = 1 << 20;
/// An end that nothing told: the function goes on to the next one.
const UNTOLD: u64 = u64::MAX;

const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;
const STT_FUNC: u8 = 2;

/// A function's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Function {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// All functions that the object tells of, ascending; none overlaps the next, each is in one segment of code.
///
/// Where one is told to begin inside another, the first ends there: so nothing that is known as an entry is ever in the
/// middle of what is patched.
pub(super) fn functions(object: &Object<'_>) -> Vec<Function> {
    let mut told = Vec::new();
    unwound(object, &mut told);
    let first = told.len();
    symbols(object, &mut told);
    // Where most functions are told by symbols, those that have none (musl's own) follow others that have.
    if told.len() > 2 * first {
        for function in told.iter_mut().skip(first) {
            function.end = UNTOLD;
        }
    }
    let _ = go(object, first == 0, &mut told);
    told.sort_unstable();
    told.dedup_by_key(|f| f.start);
    let nexts = told.clone();
    let nexts = nexts.iter().skip(1).map(|f| f.start).chain([UNTOLD]);
    told.into_iter()
        .zip(nexts)
        .filter_map(|(function, next)| {
            let segment = object.segment(function.start).filter(|s| s.code)?;
            let end = function.end.min(next).min(segment.end());
            (function.start < end).then_some(Function { end, ..function })
        })
        .collect()
}

fn add(told: &mut Vec<Function>, start: u64, len: u64) {
    let end = start.checked_add(len);
    if let Some(end) = end.filter(|_| told.len() < MOST) {
        told.push(Function { start, end });
    }
}

/// Functions by `.eh_frame`. It is walked itself, not by `.eh_frame_hdr`'s table: only it says where a function ends, and
/// static programs have no table.
fn unwound(object: &Object<'_>, told: &mut Vec<Function>) {
    let by_header = || {
        let at = object.unwind_header?;
        let header = object.from(at)?;
        // Version 1; the pointer is relative to itself, four bytes (DW_EH_PE_pcrel | DW_EH_PE_sdata4).
        let (1, 0x1b) = (header.first()?, header.get(1)?) else {
            return None;
        };
        let distance = u32_at(header, 4)?.cast_signed();
        (at + 4).checked_add_signed(distance.into())
    };
    let by_section = || Some(object.section(&[b".eh_frame"])?.addr);
    if let Some(at) = by_header().or_else(by_section)
        && let Some(bytes) = object.from(at)
    {
        let _ = frames(bytes, at, told);
    }
}

/// Walks `.eh_frame` to its end, or to the first thing that does not hold.
fn frames(bytes: &[u8], addr: u64, told: &mut Vec<Function>) -> Option<()> {
    // The CIE that was used last, and the encoding that it says: nearly all have the same one.
    let mut cie = (usize::MAX, None);
    let mut at = 0_usize;
    loop {
        let len = u32_at(bytes, at)?;
        if len == 0 || len == u32::MAX {
            return None;
        }
        let next = at.checked_add(4)?.checked_add(usize::try_from(len).ok()?)?;
        let back = usize::try_from(u32_at(bytes, at + 4)?).ok()?;
        if back != 0 {
            let owner = (at + 4).checked_sub(back)?;
            if cie.0 != owner {
                cie = (owner, encoding(bytes, owner));
            }
            let field = at + 8;
            if let Some(encoding) = cie.1
                && let Some((value, size)) = value(bytes, field, encoding)
                && let Some((len, _)) = value_unsigned(bytes, field + size, encoding)
                && len != 0
            {
                let base = if encoding & 0x70 == 0x10 {
                    addr + field as u64
                } else {
                    0
                };
                add(told, base.wrapping_add(value), len);
            }
        }
        at = next;
    }
}

/// How the FDEs of this CIE write addresses, where that is absolute or relative to the place.
fn encoding(bytes: &[u8], cie: usize) -> Option<u8> {
    if u32_at(bytes, cie.checked_add(4)?)? != 0 {
        return None;
    }
    let version = *bytes.get(cie.checked_add(8)?)?;
    let mut at = cie.checked_add(9)?;
    // A handful of letters in all objects there are.
    let words = bytes.get(at..)?;
    let words = words.get(..16.min(words.len()))?;
    let words = words.get(..words.iter().position(|&b| b == 0)?)?;
    at += words.len() + 1;
    if words.first().is_none_or(|&b| b != b'z') {
        return words.is_empty().then_some(0);
    }
    at = leb_end(bytes, leb_end(bytes, at)?)?; // The alignments of code and data.
    at = match version {
        1 => at + 1,
        3 => leb_end(bytes, at)?, // The return address's register.
        _ => return None,
    };
    at = leb_end(bytes, at)?; // The length of what the letters say.
    for word in words.iter().skip(1) {
        match word {
            b'R' => {
                let encoding = *bytes.get(at)?;
                return matches!(encoding & 0xf0, 0 | 0x10).then_some(encoding);
            }
            b'L' => at += 1,
            b'P' => at += 1 + value(bytes, at + 1, *bytes.get(at)?)?.1,
            b'S' | b'B' => {}
            _ => return None,
        }
    }
    Some(0)
}

/// The place behind a LEB128 number.
fn leb_end(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..)?.iter().take(10);
    Some(at + 1 + number.take_while(|&b| b & 0x80 != 0).count())
}

/// A number in one of the formats of `DW_EH_PE_*` that have a fixed size, and this size; it is not yet added to anything.
fn value(bytes: &[u8], at: usize, encoding: u8) -> Option<(u64, usize)> {
    let signed = encoding & 8 != 0;
    Some(match encoding & 7 {
        0 | 4 => (u64_at(bytes, at)?, 8),
        3 if signed => {
            let value = u32_at(bytes, at)?.cast_signed();
            (i64::from(value).cast_unsigned(), 4)
        }
        3 => (u32_at(bytes, at)?.into(), 4),
        2 if signed => {
            let value = u16_at(bytes, at)?.cast_signed();
            (i64::from(value).cast_unsigned(), 2)
        }
        2 => (u16_at(bytes, at)?.into(), 2),
        _ => return None,
    })
}

/// The same for a length.
fn value_unsigned(bytes: &[u8], at: usize, encoding: u8) -> Option<(u64, usize)> {
    value(bytes, at, encoding & 7)
}

/// Functions by the tables of symbols: what musl has.
fn symbols(object: &Object<'_>, told: &mut Vec<Function>) {
    let tables = object
        .sections
        .iter()
        .filter(|s| matches!(s.kind, SHT_SYMTAB | SHT_DYNSYM))
        .take(2);
    for symbol in tables.flat_map(|table| table.bytes.chunks_exact(24)) {
        let function = symbol.get(4).is_some_and(|info| info & 15 == STT_FUNC);
        let here = u16_at(symbol, 6).is_some_and(|section| section != 0);
        if let (true, true, Some(start), Some(len)) =
            (function, here, u64_at(symbol, 8), u64_at(symbol, 16))
        {
            // Functions in assembly often have no length.
            let len = if len == 0 { UNTOLD - start } else { len };
            add(told, start, len);
        }
    }
}

/// Functions by the table of Go's run-time, in the forms that Go has written since 1.18 (cmd/link's pclntab): a header, and at
/// the place that it says, for each function the distance of its start from the start of all, and another number.
fn go(object: &Object<'_>, alone: bool, told: &mut Vec<Function>) -> Option<()> {
    let table = object.section(&[b".gopclntab", b".data.rel.ro.gopclntab"])?;
    let table = table.bytes;
    // Magic; two bytes of nothing; code is measured in bytes; pointers have eight.
    let known = matches!(u32_at(table, 0)?, 0xffff_fff0 | 0xffff_fff1);
    if !known || u32_at(table, 4)? != 0x0801_0000 {
        return None;
    }
    let count = usize::try_from(u64_at(table, 8)?).ok()?.min(MOST);
    let base = match u64_at(table, 24)? {
        // To be relocated, or no longer written: the start of `.text`, unless a C linker put its own code there first.
        0 if alone => object.section(&[b".text"])?.addr,
        0 => return None,
        base => base,
    };
    let rows = usize::try_from(u64_at(table, 64)?).ok()?;
    let rows = table.get(rows..)?;
    let row = |index: usize| Some(u64::from(u32_at(rows, index.checked_mul(8)?)?));
    let mut start = row(0)?;
    for index in 1..=count {
        let next = row(index)?;
        let len = next.checked_sub(start)?;
        add(told, base.checked_add(start)?, len);
        start = next;
    }
    Some(())
}
