//! The finder over made objects, over damaged ones, and over what the machine has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::*;

/// Where the made objects' code lies, and in the file.
const CODE: u64 = 0x40_1000;
const CODE_OFFSET: usize = 0x400;

/// An object with one segment of code, and `.eh_frame` behind `.eh_frame_hdr` with these functions (start and length, from [`CODE`]).
fn object(code: &[u8], functions: &[(u64, u64)]) -> Vec<u8> {
    let unwind = CODE + 0x10_0000;
    let mut frames = Vec::new();
    // Length, number 0, version 1, "zR", alignments 1 and -8, register 16, one byte: pcrel | sdata4.
    frames.extend(16_u32.to_le_bytes());
    frames.extend([0; 4]);
    frames.extend(b"\x01zR\0\x01\x78\x10\x01\x1b\0\0\0");
    for (start, len) in functions {
        let at = frames.len() as u64;
        frames.extend(12_u32.to_le_bytes());
        frames.extend(u32::try_from(at + 4).unwrap().to_le_bytes());
        let distance = CODE.wrapping_add(*start).wrapping_sub(unwind + 8 + at + 8);
        frames.extend((distance as u32).to_le_bytes());
        frames.extend(u32::try_from(*len).unwrap().to_le_bytes());
    }
    frames.extend([0; 4]);
    let mut header = vec![1, 0x1b, 0xff, 0xff];
    header.extend(4_u32.to_le_bytes());
    header.extend(&frames);

    let unwind_offset = (CODE_OFFSET + code.len()).next_multiple_of(8);
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    bytes.extend(CODE.to_le_bytes());
    bytes.extend(64_u64.to_le_bytes());
    bytes.extend([0; 8 + 4]);
    for half in [64_u16, 56, 3, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    let segments = [
        (1_u32, 5_u32, CODE_OFFSET, CODE, code.len()),
        (1, 4, unwind_offset, unwind, header.len()),
        (0x6474_e550, 4, unwind_offset, unwind, header.len()),
    ];
    for (kind, flags, offset, addr, len) in segments {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        for word in [offset as u64, addr, addr, len as u64, len as u64, 0x1000] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes.resize(CODE_OFFSET, 0);
    bytes.extend(code);
    bytes.resize(unwind_offset, 0);
    bytes.extend(header);
    bytes
}

/// What is found in one function of this code.
fn found(code: &[u8]) -> Found {
    find(&object(code, &[(0, code.len() as u64)])).unwrap()
}

/// The only site of this code, by its distance from the start.
fn site(code: &[u8]) -> (u64, Kind, Option<u32>) {
    let found = found(code);
    assert_eq!(found.refused, [], "{code:02x?}");
    let [site] = found.sites[..] else {
        panic!("{code:02x?}: {found:?}");
    };
    assert_eq!(site.offset, site.addr - CODE + CODE_OFFSET as u64);
    let at = usize::try_from(site.addr - CODE).unwrap();
    assert_eq!(
        site.code(),
        &code[at..usize::try_from(site.end - CODE).unwrap()]
    );
    assert_eq!(
        [site.moved(), b"\x0f\x05"].concat(),
        site.code(),
        "{code:02x?}"
    );
    (site.addr - CODE, site.kind, site.nr)
}

/// Why the only pair of this code is refused.
fn refusal(code: &[u8]) -> Refusal {
    let found = found(code);
    let ([], [(_, refusal)]) = (&found.sites[..], &found.refused[..]) else {
        panic!("{code:02x?}: {found:?}");
    };
    *refusal
}

#[test]
fn a_load_of_the_number_is_a_site() {
    let getpid = b"\x90\xb8\x27\0\0\0\x0f\x05\xc3";
    assert_eq!(site(getpid), (1, Kind::Number, Some(39)));
    // At the segment's very end, and at its very start.
    assert_eq!(
        site(b"\xb8\x03\0\0\0\x0f\x05"),
        (0, Kind::Number, Some(3)),
        "nothing behind it"
    );
    // A branch to the load, and one to the call itself, which stays.
    assert_eq!(
        site(b"\x74\x00\xb8\x03\0\0\0\x0f\x05\xeb\xf7"),
        (2, Kind::Number, Some(3))
    );
    assert_eq!(
        site(b"\x74\x05\xb8\x03\0\0\0\x0f\x05\xc3"),
        (2, Kind::Number, Some(3))
    );
}

#[test]
fn a_guard_is_run_with_its_site() {
    // glibc's read: cmpb $0,disp(%rip); je behind; xor %eax,%eax; syscall; ret; ret.
    let read = b"\x80\x3d\x31\x33\x0e\0\0\x74\x05\x31\xc0\x0f\x05\xc3\xc3";
    assert_eq!(site(read), (0, Kind::Guarded, Some(0)));
    // A number that is long enough needs no guard's bytes.
    let write = b"\x80\x3d\x31\x33\x0e\0\0\x74\x08\xb8\x01\0\0\0\x0f\x05\xc3\xc3";
    assert_eq!(site(write), (9, Kind::Number, Some(1)));
    // Somebody comes to the comparison's third byte; only its first may be come to.
    let entered = b"\x80\x3d\x31\x33\x0e\0\0\x74\x05\x31\xc0\x0f\x05\xeb\xf3";
    assert_eq!(refusal(entered), Refusal::Short);
    let from_first = b"\x80\x3d\x31\x33\x0e\0\0\x74\x05\x31\xc0\x0f\x05\xeb\xf1";
    assert_eq!(site(from_first), (0, Kind::Guarded, Some(0)));
    // No guard: another branch, another comparison, something between.
    for other in [
        &b"\x80\x3d\x31\x33\x0e\0\0\xe3\x05\x31\xc0\x0f\x05\xc3\xc3"[..],
        b"\x38\x05\x31\x33\x0e\0\x74\x05\x31\xc0\x0f\x05\xc3\xc3",
        b"\x80\x3d\x31\x33\x0e\0\0\x90\x74\x05\x31\xc0\x0f\x05\xc3\xc3",
        b"\x80\x3d\x31\x33\x0e\0\0\x74\x05\x89\xd8\x0f\x05\xc3\xc3",
    ] {
        assert_eq!(refusal(other), Refusal::Short, "{other:02x?}");
    }
}

#[test]
fn instructions_in_front_of_a_call_are_moved() {
    // Go's Syscall6: mov %rcx,%rsi; mov %rbx,%rdi. The number is the caller's.
    let go = b"\x49\x89\xf2\x48\x89\xfa\x48\x89\xce\x48\x89\xdf\x0f\x05\xc3";
    assert_eq!(site(go), (6, Kind::Moved, None));
    // The number is among what is moved: mov $262,%eax; xor %r10d,%r10d. And is nothing: xor %eax,%eax.
    let known = b"\xb8\x06\x01\0\0\x45\x31\xd2\x0f\x05";
    assert_eq!(site(known), (0, Kind::Moved, Some(262)));
    let read = b"\x48\x89\xda\x31\xff\x31\xc0\x0f\x05";
    assert_eq!(site(read), (0, Kind::Moved, Some(0)));
    // mov $3,%eax; mov %bl,%al; mov %rsi,%rdi: no longer known.
    let mixed = b"\xb8\x03\0\0\0\x88\xd8\x48\x89\xf7\x0f\x05";
    assert_eq!(site(mixed), (5, Kind::Moved, None));
    // glibc's syscall(): mov 8(%rsp),%r9 uses the stack, and leaves it as it is.
    let stack = b"\x4c\x8b\x4c\x24\x08\x0f\x05";
    assert_eq!(site(stack), (0, Kind::Moved, None));
    // musl's __syscall_cp_asm: mov %r11,8(%rsp) reads r11.
    let r11 = b"\x4c\x89\x5c\x24\x08\x0f\x05";
    assert_eq!(site(r11), (0, Kind::Moved, None));
}

#[test]
fn what_a_stub_cannot_run_is_not_moved() {
    let cases: [(&str, &[u8]); 12] = [
        ("nothing", b""),
        ("xor %eax,%eax", b"\x31\xc0"),
        ("lea 0(%rip),%rsi", b"\x48\x8d\x35\0\0\0\0"),
        ("mov 0x64(%rip),%eax", b"\x8b\x05\x64\0\0\0"),
        ("sub $8,%rsp; nop", b"\x48\x83\xec\x08\x90"),
        ("push %rbx; 4 nops", b"\x53\x90\x90\x90\x90"),
        ("pop (%rax); nops", b"\x8f\x00\x90\x90\x90"),
        ("call", b"\xe8\0\x10\0\0"),
        ("mov %rdi,%rcx; mov %esi,%ebx", b"\x48\x89\xf9\x89\xf3"),
        ("mov $1,%r11d", b"\x41\xbb\x01\0\0\0"),
        ("lock inc 8(%rdi)", b"\xf0\xff\x44\x27\x08"),
        ("mov %eax,%fs; nops", b"\x8e\xe0\x90\x90\x90"),
    ];
    for (what, before) in cases {
        let code = [before, b"\x0f\x05\xc3"].concat();
        assert_eq!(refusal(&code), Refusal::Short, "{what}");
    }
}

#[test]
fn a_load_in_another_instruction_is_none() {
    // movl $0x10,-0x48(%rsp); syscall: the bytes b8 10 00 00 00 0f 05 are there (gVisor #10849). The whole store can be moved.
    let false_load = b"\x90\xc7\x44\x24\xb8\x10\0\0\0\x0f\x05";
    assert_eq!(site(false_load), (1, Kind::Moved, None));
    // mov $0x050f0000,%eax has the pair inside; and so has a displacement.
    assert_eq!(
        refusal(b"\xb8\x27\0\x0f\x05\xc3"),
        Refusal::NotAnInstruction
    );
    assert_eq!(
        refusal(b"\xb8\x27\0\0\0\x48\x0f\x05\xc3"),
        Refusal::NotAnInstruction,
        "a prefix belongs to it"
    );
}

#[test]
fn a_branch_into_the_jump_is_looked_for() {
    // mov %rsi,%r10; mov %rdi,%rdx; mov %rcx,%rsi; mov %rbx,%rdi; syscall; jmp: to each place in turn.
    let straight = b"\x49\x89\xf2\x48\x89\xfa\x48\x89\xce\x48\x89\xdf\x0f\x05";
    // By the distance of the target from the start: where the patch is then. Nine or twelve bytes do as well as six.
    let patched = [6, 6, 6, 6, 6, 6, 6, 0, 3, 3, 3, 6, 6];
    for (target, expected) in (0_u8..).zip(patched) {
        let near = [straight, &[0xeb, target.wrapping_sub(16)][..]].concat();
        assert_eq!(site(&near).0, expected, "short to {target}");
        let mut far = straight.to_vec();
        far.push(0xe9);
        far.extend((i32::from(target) - 19).to_le_bytes());
        assert_eq!(site(&far).0, expected, "near to {target}");
        // From another function that no one decodes: jz, and the address taken, lea.
        for opcode in [&b"\x0f\x84"[..], b"\x48\x8d\x05"] {
            let mut code = straight.to_vec();
            code.resize(1000, 0xcc);
            code.extend(opcode);
            let behind = i32::try_from(code.len() + 4).unwrap();
            code.extend((i32::from(target) - behind).to_le_bytes());
            let found = find(&object(&code, &[(0, 14), (1000, 7)])).unwrap();
            assert_eq!(found.sites[0].addr - CODE, expected, "{opcode:x?} {target}");
        }
        // A short one from the next function.
        let neighbour = find(&object(&near, &[(0, 14), (14, 2)])).unwrap();
        assert_eq!(neighbour.sites[0].addr - CODE, expected, "beside");
    }
    let into_load = b"\x74\x03\xb8\x03\0\0\0\x0f\x05";
    assert_eq!(refusal(into_load), Refusal::Entered);
    // A loop whose head is the second of two short instructions, and nothing before them.
    let head = b"\x48\x89\xce\x48\x89\xdf\x0f\x05\xeb\xf9";
    assert_eq!(refusal(head), Refusal::Entered);
}

#[test]
fn a_computed_jump_may_lead_to_each_instruction() {
    let straight = &b"\x48\x89\xce\x48\x89\xdf\x0f\x05"[..];
    let jump = [straight, b"\xff\xe0"].concat();
    assert_eq!(refusal(&jump), Refusal::Entered);
    let table = [straight, b"\x3e\xff\x24\xc5\0\0\x40\0"].concat();
    assert_eq!(refusal(&table), Refusal::Entered);
    // But not into one instruction, and not by a jump to another object.
    let load = b"\xb8\x27\0\0\0\x0f\x05\xff\xe0";
    assert_eq!(site(load), (0, Kind::Number, Some(39)));
    let elsewhere = [straight, b"\xff\x25\0\0\x10\0"].concat();
    assert_eq!(site(&elsewhere), (0, Kind::Moved, None));
    // What cannot be decoded may be a jump too.
    let data = [straight, b"\x06\x06"].concat();
    assert_eq!(refusal(&data), Refusal::Entered);
}

#[test]
fn some_calls_are_never_patched() {
    for nr in [56_u32, 57, 58, 435, 59, 322, 15, 219] {
        let mut code = vec![0xb8];
        code.extend(nr.to_le_bytes());
        code.extend(b"\x0f\x05");
        assert_eq!(refusal(&code), Refusal::Number, "{nr}");
        // The load is farther away, and what is moved does not have it: mov %rcx,%rsi; mov %rbx,%rdi.
        let far = [&code[..5], b"\x48\x89\xce\x48\x89\xdf\x0f\x05"].concat();
        assert_eq!(refusal(&far), Refusal::Number, "{nr}");
    }
    // __restore_rt, whose bytes unwinders compare.
    assert_eq!(refusal(b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05"), Refusal::Number);
}

#[test]
fn code_is_decoded_from_functions_only() {
    let call = b"\xb8\x27\0\0\0\x0f\x05\xc3";
    let code = [&call[..], call, b"\x06", call].concat();
    let found = find(&object(&code, &[(8, 17)])).unwrap();
    assert_eq!(found.sites.len(), 1);
    assert_eq!(found.sites[0].addr, CODE + 8);
    assert_eq!(
        found.refused,
        [
            (CODE + 5, Refusal::NoFunction),
            (CODE + 22, Refusal::Undecodable)
        ]
    );
    // Where two functions meet, nothing that is moved goes over.
    let met = find(&object(call, &[(0, 8), (1, 7)])).unwrap();
    assert_eq!(met.sites, []);
    // Segments that may be written are not looked at.
    let mut writable = object(&code, &[(8, 17)]);
    writable[64 + 4] = 7;
    assert_eq!(find(&writable), Ok(Found::default()));
}

#[test]
fn what_is_no_object_is_refused() {
    let whole = object(b"\xb8\x27\0\0\0\x0f\x05\xc3", &[(0, 8)]);
    assert_eq!(find(&whole).unwrap().sites.len(), 1);
    assert_eq!(find(&vec![0; (64 << 20) + 1]), Err(Unfit::Large));
    assert_eq!(find(b""), Err(Unfit::Foreign));
    assert_eq!(find(b"#!/bin/sh\n"), Err(Unfit::Foreign));
    for (at, value) in [(4, 1), (5, 2), (16, 1), (16, 4), (18, 3), (18, 183)] {
        let mut foreign = whole.clone();
        foreign[at] = value;
        assert_eq!(find(&foreign), Err(Unfit::Foreign), "{at}");
    }
    let put = |at: usize, value: u64| {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        find(&bytes)
    };
    for value in [u64::MAX, u64::MAX - 55, 1 << 47, whole.len() as u64] {
        // The table's place; the segment's place in the file and in memory; its length.
        for at in [32, 64 + 8, 64 + 16, 64 + 32] {
            let moved = at == 64 + 16 && value == whole.len() as u64;
            assert!(put(at, value) == Err(Unfit::Malformed) || moved, "{at}");
        }
        // Tables of sections are not needed.
        assert_eq!(put(40, value).unwrap().sites.len(), 1);
    }
    // The same bytes of code many times; headers out of order; too many pairs.
    assert_eq!(put(56, u64::MAX), Err(Unfit::Malformed));
    assert_eq!(put(64 + 56 + 16, CODE), Err(Unfit::Malformed));
    let pairs = b"\x0f\x05".repeat(MATCHES_MOST + 1);
    assert_eq!(find(&object(&pairs, &[])), Err(Unfit::Crowded));
    let pairs = b"\x0f\x05".repeat(MATCHES_MOST);
    let refused = found(&pairs).refused;
    assert_eq!(refused.len(), MATCHES_MOST);
    assert!(refused.iter().all(|r| r.1 == Refusal::Short));
    for len in 0..whole.len() {
        let cut = find(&whole[..len]);
        assert!(cut.is_err(), "{len} bytes: {cut:?}");
    }
}

/// What every answer must keep, whatever the object was.
fn holds(bytes: &[u8]) {
    let Ok(found) = find(bytes) else { return };
    let mut end = 0;
    for site in &found.sites {
        assert!(end <= site.addr && site.addr + 7 <= site.end);
        assert!(site.end - site.addr <= MOVED_MOST as u64 + 2);
        end = site.end;
        let at = usize::try_from(site.offset).unwrap();
        assert_eq!(bytes.get(at..at + site.code().len()), Some(site.code()));
        assert!(site.code().ends_with(b"\x0f\x05"));
    }
}

#[test]
fn damaged_objects_are_endured() {
    let code = b"\xb8\x27\0\0\0\x0f\x05\xc3\x48\x89\xce\x48\x89\xdf\x0f\x05\xeb\xf9\xe9\0\0\0\0";
    let whole = object(code, &[(0, 8), (8, 15), (16, 7)]);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            bytes[at] = value;
            holds(&bytes);
        }
    }
    // Several bytes at once, of this object and of real ones; always the same ones.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(6) {
            let at = random(bytes.len());
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        holds(&bytes);
    }
    for round in 0..120 {
        let mut bytes = std::fs::read([MUSL, LIBC, LOADER][round % 3]).unwrap();
        for _ in 0..2000 {
            let at = random(bytes.len());
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        for _ in 0..random(3) {
            // The headers of the file and of sections, more often than their size would have it.
            let at = [random(64), bytes.len() - 1 - random(1000)][random(2)];
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        holds(&bytes);
    }
}

const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
const BUSYBOX: &str = "/bin/busybox";
const MUSL: &str = "/usr/lib/x86_64-linux-musl/libc.so";

/// The addresses of all instructions, and those of calls, as binutils sees them; nothing where it is not there.
fn disassembled(path: &Path) -> Option<(BTreeSet<u64>, BTreeSet<u64>)> {
    let output = Command::new("objdump")
        .arg("-d")
        .arg("-w")
        .arg(path)
        .output();
    let output = output.ok()?.stdout;
    let (mut starts, mut calls) = (BTreeSet::new(), BTreeSet::new());
    for line in String::from_utf8_lossy(&output).lines() {
        let mut fields = line.split('\t');
        let addr = fields.next().unwrap_or_default().trim();
        let addr = addr.strip_suffix(':').map(|a| u64::from_str_radix(a, 16));
        if let (Some(Ok(addr)), Some(text)) = (addr, fields.nth(1)) {
            starts.insert(addr);
            if text.trim_end() == "syscall" {
                calls.insert(addr);
            }
        }
    }
    Some((starts, calls))
}

/// Finds the sites of a file, and holds them against binutils. At least so many hundredths of the calls are sites.
fn scan(path: &str, at_least: usize) -> Found {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    holds(&bytes);
    let found = find(&bytes).unwrap();
    let mut reasons: BTreeMap<Refusal, usize> = BTreeMap::new();
    for (_, refusal) in &found.refused {
        *reasons.entry(*refusal).or_default() += 1;
    }
    let of_kind = |kind| found.sites.iter().filter(|s| s.kind == kind).count();
    println!(
        "{path}: {} by number, {} moved; refused {reasons:?}",
        of_kind(Kind::Number),
        of_kind(Kind::Moved)
    );
    let calls = found.sites.len() + found.refused.len()
        - reasons.get(&Refusal::NotAnInstruction).unwrap_or(&0);
    assert!(found.sites.len() * 100 >= calls * at_least, "{path}");
    if let Some((starts, calls)) = disassembled(Path::new(path)) {
        assert!(!calls.is_empty());
        for site in &found.sites {
            let at = (site.addr, site.end);
            assert!(starts.contains(&site.addr), "{path}: {at:x?}");
            assert!(calls.contains(&(site.end - 2)), "{path}: {at:x?}");
        }
        for (addr, refusal) in &found.refused {
            let call = match refusal {
                Refusal::NoFunction | Refusal::Undecodable => continue,
                Refusal::NotAnInstruction => false,
                Refusal::Number | Refusal::Short | Refusal::Entered => true,
            };
            assert_eq!(calls.contains(addr), call, "{path}: {addr:x} {refusal:?}");
        }
    }
    found
}

fn numbers(found: &Found) -> BTreeSet<u32> {
    found.sites.iter().filter_map(|s| s.nr).collect()
}

#[test]
fn glibc_has_its_sites() {
    let found = scan(LIBC, 90);
    let numbers = numbers(&found);
    // read, write, close, mmap, pread64, openat, newfstatat, futex, …: what programs do most.
    for nr in [0, 1, 3, 5, 8, 9, 10, 11, 17, 202, 217, 257, 262] {
        assert!(numbers.contains(&nr), "{nr}");
    }
    for nr in [15, 56, 57, 58, 59, 322, 435] {
        assert!(!numbers.contains(&nr), "{nr}");
    }
    // Nine in ten of all loads right in front of a call.
    let bytes = std::fs::read(LIBC).unwrap();
    let loads = bytes
        .windows(7)
        .filter(|w| matches!(w, [0xb8, _, _, 0, 0, 0x0f, 0x05]));
    let of_kind = found.sites.iter().filter(|s| s.kind == Kind::Number);
    assert!(of_kind.count() * 10 >= loads.count() * 9);
    scan(LOADER, 80);
}

#[test]
fn a_static_program_without_a_table_has_its_sites() {
    let numbers = numbers(&scan(BUSYBOX, 90));
    assert!([3, 257, 262].iter().all(|nr| numbers.contains(nr)));
}

#[test]
fn musl_has_its_sites() {
    let numbers = numbers(&scan(MUSL, 90));
    assert!([3, 9, 39].iter().all(|nr| numbers.contains(nr)));
}

#[test]
fn go_programs_have_their_sites() {
    const GO: &str = "/usr/bin/go";
    let all = std::env::var("CAGE_TRACE_TESTS").is_ok_and(|value| value == "all");
    if !all && !Path::new(GO).exists() {
        println!("SKIPPED: needs {GO}, which this machine lacks");
        return;
    }
    let found = scan(GO, 80);
    // The one that nearly all of its calls go through: mov %rcx,%rsi; mov %rbx,%rdi.
    assert!(
        found
            .sites
            .iter()
            .any(|s| s.moved() == b"\x48\x89\xce\x48\x89\xdf" && s.nr.is_none())
    );
}
