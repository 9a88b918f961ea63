//! The shim: the code that a patched call site jumps to in a cage. It posts the call in its thread's slot of the
//! mailbox, spins until it is served, and goes back behind the `syscall` that it stood in for; whatever is odd goes to
//! that `syscall` after all. It lies here as data and is never run by the supervisor.
//!
//! It writes to the slot alone (found by gs), never to the cage's stack, uses no register but rax, rcx and r11, which a
//! `syscall` leaves changed anyway, and gives the flags back as they were. Nobody trusts it: the cage can change what it
//! says, and skip it.
#![expect(unsafe_code, reason = "machine code, and the addresses of its labels")]

use std::arch::global_asm;

/// Offsets in a slot of the mailbox. Who writes what: the first line both, the second the shim, the third the
/// supervisor; then the bytes that the call takes, and those that it gives.
pub mod slot {
    /// Bytes of a slot.
    pub const SIZE: usize = 9 * 4096;
    /// What the slot is at: see the states below.
    pub const STATE: usize = 0;
    /// Where the shim goes when it is done: behind the `syscall`.
    pub const RETURN: usize = 64;
    /// Flags in the lower half, the call's number and the shape of its arguments in the upper one: see [`call`](super::call).
    pub const CALL: usize = 72;
    /// How many bytes the first path has, with its NUL; and the second.
    pub const FIRST_LEN: usize = 76;
    /// See [`FIRST_LEN`].
    pub const SECOND_LEN: usize = 80;
    /// The six arguments.
    pub const ARGS: usize = 88;
    /// Whether somebody serves.
    pub const AWAKE: usize = 192;
    /// The call's result.
    pub const RESULT: usize = 200;
    /// Where the bytes that it gives go.
    pub const OUT_ADDR: usize = 208;
    /// How many they are.
    pub const OUT_LEN: usize = 216;
    /// The call that the thread owes its kernel table when the call is served: its number, or 0.
    pub const OWED: usize = 220;
    /// The first three arguments of that.
    pub const OWED_ARGS: usize = 224;
    /// What its result says: see the kinds below.
    pub const OWED_KIND: usize = 248;
    /// The first path.
    pub const FIRST: usize = 256;
    /// The second path.
    pub const SECOND: usize = FIRST + PATH_MAX;
    /// The bytes that the call takes besides paths, or gives.
    pub const OUT: usize = SECOND + PATH_MAX;
    /// What a courier's message is read by, where the call gives no bytes: `struct msghdr`, its vector, a byte, its control
    /// message.
    pub const MESSAGE: usize = OUT;
    /// See [`MESSAGE`].
    pub const VECTOR: usize = MESSAGE + 56;
    /// See [`MESSAGE`].
    pub const BYTE: usize = VECTOR + 16;
    /// See [`MESSAGE`].
    pub const CONTROL: usize = BYTE + 8;
    /// Where the received number is.
    pub const RECEIVED: usize = CONTROL + 16;
    /// The longest path that goes by the mailbox, with its NUL.
    pub const PATH_MAX: usize = 1024;
    /// How many bytes a call can take or give by the mailbox.
    pub const OUT_MAX: usize = SIZE - OUT;

    /// Nothing is asked.
    pub const IDLE: u32 = 0;
    /// A call is posted.
    pub const POSTED: u32 = 1;
    /// The supervisor has taken it.
    pub const TAKEN: u32 = 2;
    /// It is served.
    pub const SERVED: u32 = 3;
    /// It is not for the mailbox: the thread makes it natively.
    pub const REFUSED: u32 = 4;

    /// The owed call's result is the call's.
    pub const GIVES: u32 = 0;
    /// The owed call gives the number that is the call's result.
    pub const MAKES: u32 = 1;
    /// The owed call receives it.
    pub const RECEIVES: u32 = 2;
}

/// What the fifth and sixth arguments of an owed call say to the filter: let it pass. Whoever knows them can make such calls
/// too, on what was granted to him.
pub const OWN: [u32; 2] = [0x6361_6765, 0x7472_6163];

/// How many looks at its slot the shim takes before it gives up, with a `pause` after each: about twenty microseconds.
const LOOKS: u32 = if cfg!(debug_assertions) { 20_000 } else { 1000 };

global_asm!(
    ".pushsection .rodata.cage_shim, \"a\", @progbits",
    ".p2align 4",
    // \source: a register with the path's address. Ends at cage_shim_refused where it is too long, or where the address is
    // none that a program can have: a fault here costs a stop.
    ".macro cage_shim_copy source, to, length",
    "    mov rcx, \\source",
    "    shr rcx, 16",
    "    jz cage_shim_refused",
    "    shr rcx, 31",
    "    jnz cage_shim_refused",
    "    xor ecx, ecx",
    "771: movzx eax, byte ptr [\\source + rcx]",
    "    mov byte ptr gs:[\\to + rcx], al",
    "    inc ecx",
    "    test al, al",
    "    jz 772f",
    "    cmp ecx, {path_max}",
    "    jb 771b",
    "    jmp cage_shim_refused",
    "772: mov dword ptr gs:[\\length], ecx",
    ".endm",
    ".hidden cage_shim_start, cage_shim_entry, cage_shim_saved, cage_shim_own, cage_shim_own_call, cage_shim_own_end, cage_shim_post, cage_shim_owed, cage_shim_paid, cage_shim_tail, cage_shim_refused, cage_shim_leave, cage_shim_flagged, cage_shim_number, cage_shim_back, cage_shim_end",
    ".globl cage_shim_start, cage_shim_entry, cage_shim_saved, cage_shim_own, cage_shim_own_call, cage_shim_own_end, cage_shim_post, cage_shim_owed, cage_shim_paid, cage_shim_tail, cage_shim_refused, cage_shim_leave, cage_shim_flagged, cage_shim_number, cage_shim_back, cage_shim_end",
    "cage_shim_start:",
    // Where the mailbox of this address space begins: filled in by the supervisor.
    "778: .quad 0",
    // Here: rcx is the address behind the site's syscall; eax is shape, number and flags. A thread without a slot, or
    // one that has taken gs for itself, makes its call natively.
    "cage_shim_entry:",
    "    rdgsbase r11",
    "    sub r11, qword ptr [rip + 778b]",
    "    cmp r11, {mailbox}",
    "    jae cage_shim_leave",
    "    mov qword ptr gs:[{ret}], rcx",
    "    mov dword ptr gs:[{call}], eax",
    // From here on gs knows all.
    "cage_shim_saved:",
    "    mov r11d, eax",
    "    shr r11d, {shape_at}",
    "    cmp r11d, {stat}",
    "    jne 770f",
    // newfstatat of a descriptor itself, as libc makes fstat: that passes the filter.
    "    cmp r10d, {empty_path}",
    "    jne 770f",
    "    test edi, edi",
    "    js 770f",
    "    cmp rsi, 65536",
    "    jb 770f",
    "    cmp byte ptr [rsi], 0",
    "    jne 770f",
    "    mov qword ptr gs:[{args} + 8], rsi",
    "cage_shim_own:",
    "    mov rsi, rdx",
    "    mov eax, {fstat}",
    "cage_shim_own_call:",
    "    syscall",
    "    mov rsi, qword ptr gs:[{args} + 8]",
    "    mov qword ptr gs:[{result}], rax",
    "    jmp cage_shim_tail",
    "cage_shim_own_end:",
    "770: cmp dword ptr gs:[{awake}], 0",
    "    je cage_shim_refused",
    "    shr eax, {shape_at}",
    "    jz 775f",
    "    cmp eax, {control}",
    "    je 779f",
    "    cmp eax, {bytes}",
    "    je 780f",
    "    cmp eax, 1",
    "    je 773f",
    "    cmp eax, 4",
    "    je 773f",
    "    cmp eax, {stat}",
    "    je 773f",
    "    cage_shim_copy rdi, {first}, {first_len}",
    "    jmp 774f",
    "773: cage_shim_copy rsi, {first}, {first_len}",
    "774: mov eax, dword ptr gs:[{call}]",
    "    shr eax, {shape_at}",
    "    cmp eax, 3",
    "    jb 775f",
    "    je 776f",
    "    cmp eax, {stat}",
    "    je 775f",
    "    cmp eax, 4",
    "    je 777f",
    "    cage_shim_copy rdx, {second}, {second_len}",
    "    jmp 775f",
    "776: cage_shim_copy rsi, {second}, {second_len}",
    "    jmp 775f",
    "777: cage_shim_copy r10, {second}, {second_len}",
    "    jmp 775f",
    // What fcntl does to numbers; the rest passes the filter.
    "779: test esi, {not_control}",
    "    jz 775f",
    "    cmp esi, {dup_cloexec}",
    "    jne cage_shim_refused",
    "    jmp 775f",
    // Bytes, as many as the third argument says.
    "780: cmp rdx, {out_max}",
    "    ja cage_shim_refused",
    "    mov rcx, rsi",
    "    shr rcx, 16",
    "    jz cage_shim_refused",
    "    shr rcx, 31",
    "    jnz cage_shim_refused",
    "    mov ecx, edx",
    "781: cmp ecx, 8",
    "    jb 782f",
    "    mov rax, qword ptr [rsi + rcx - 8]",
    "    mov qword ptr gs:[{out} + rcx - 8], rax",
    "    sub ecx, 8",
    "    jmp 781b",
    "782: test ecx, ecx",
    "    jz 775f",
    "    movzx eax, byte ptr [rsi + rcx - 1]",
    "    mov byte ptr gs:[{out} + rcx - 1], al",
    "    dec ecx",
    "    jmp 782b",
    "775: mov qword ptr gs:[{args}], rdi",
    "    mov qword ptr gs:[{args} + 8], rsi",
    "    mov qword ptr gs:[{args} + 16], rdx",
    "    mov qword ptr gs:[{args} + 24], r10",
    "    mov qword ptr gs:[{args} + 32], r8",
    "    mov qword ptr gs:[{args} + 40], r9",
    "cage_shim_post:",
    "    mov dword ptr gs:[{state}], {posted}",
    // From here on the slot's state says how far the call is.
    "770: mov r11d, {looks}",
    "771: mov eax, dword ptr gs:[{state}]",
    "    cmp eax, {served}",
    "    je cage_shim_done",
    "    cmp eax, {not_served}",
    "    je cage_shim_refused",
    "    pause",
    "    dec r11d",
    "    jnz 771b",
    // Nobody came: take it back, where nobody has it in hand.
    "    mov eax, {posted}",
    "    xor ecx, ecx",
    "    lock cmpxchg dword ptr gs:[{state}], ecx",
    "    je cage_shim_refused",
    "    cmp eax, {served}",
    "    je cage_shim_done",
    "    cmp eax, {taken}",
    "    jne cage_shim_refused",
    // Somebody has: wait in the kernel, until the supervisor answers this.
    "    mov eax, {wait}",
    "    syscall",
    "    jmp 770b",
    "cage_shim_done:",
    "    mov ecx, dword ptr gs:[{out_len}]",
    "    mov r11, qword ptr gs:[{out_addr}]",
    "771: cmp ecx, 8",
    "    jb 772f",
    "    mov rax, qword ptr gs:[{out} + rcx - 8]",
    "    mov qword ptr [r11 + rcx - 8], rax",
    "    sub ecx, 8",
    "    jmp 771b",
    "772: test ecx, ecx",
    "    jz 773f",
    "    movzx eax, byte ptr gs:[{out} + rcx - 1]",
    "    mov byte ptr [r11 + rcx - 1], al",
    "    dec ecx",
    "    jmp 772b",
    "773: mov eax, dword ptr gs:[{owed}]",
    "    test eax, eax",
    "    jz cage_shim_tail",
    "    mov rdi, qword ptr gs:[{owed_args}]",
    "    mov rsi, qword ptr gs:[{owed_args} + 8]",
    "    mov rdx, qword ptr gs:[{owed_args} + 16]",
    "    mov r8d, {own}",
    "    mov r9d, {own_too}",
    "cage_shim_owed:",
    "    syscall",
    // What was owed is paid. rax stays as it is as long as it is the call's result.
    "cage_shim_paid:",
    "    mov rdi, qword ptr gs:[{args}]",
    "    mov rsi, qword ptr gs:[{args} + 8]",
    "    mov rdx, qword ptr gs:[{args} + 16]",
    "    mov r8, qword ptr gs:[{args} + 32]",
    "    mov r9, qword ptr gs:[{args} + 40]",
    "    mov ecx, dword ptr gs:[{owed_kind}]",
    "    cmp ecx, {makes}",
    "    jb 773f",
    "    je 771f",
    "    test eax, eax",
    "    js 772f",
    "    mov eax, dword ptr gs:[{received}]",
    "771: cmp eax, dword ptr gs:[{result}]",
    "    je cage_shim_tail",
    // Not the number that it was to be: the supervisor says what the call's result is then.
    "772: mov eax, {lost}",
    "    syscall",
    "773: mov qword ptr gs:[{result}], rax",
    "cage_shim_tail:",
    "    mov eax, dword ptr gs:[{call}]",
    "    add al, 0x7f",
    "    sahf",
    "    mov rcx, qword ptr gs:[{ret}]",
    "    mov rax, qword ptr gs:[{result}]",
    "    jmp rcx",
    // The call goes the kernel's way.
    "cage_shim_refused:",
    "    mov rcx, qword ptr gs:[{ret}]",
    "    mov eax, dword ptr gs:[{call}]",
    "cage_shim_leave:",
    "    mov r11d, eax",
    "    shr r11d, 16",
    "    and r11d, {number}",
    // `add` sets the overflow flag as `seto` found it, `sahf` the others.
    "    add al, 0x7f",
    "cage_shim_flagged:",
    "    sahf",
    "cage_shim_number:",
    "    mov eax, r11d",
    "    lea rcx, [rcx - 2]",
    "cage_shim_back:",
    "    jmp rcx",
    "cage_shim_end:",
    ".purgem cage_shim_copy",
    ".popsection",
    path_max = const slot::PATH_MAX,
    mailbox = const MAILBOX,
    ret = const slot::RETURN,
    call = const slot::CALL,
    awake = const slot::AWAKE,
    first = const slot::FIRST,
    first_len = const slot::FIRST_LEN,
    second = const slot::SECOND,
    second_len = const slot::SECOND_LEN,
    args = const slot::ARGS,
    state = const slot::STATE,
    posted = const slot::POSTED,
    served = const slot::SERVED,
    taken = const slot::TAKEN,
    not_served = const slot::REFUSED,
    looks = const LOOKS,
    wait = const WAIT,
    lost = const LOST,
    control = const Shape::Control as u32,
    stat = const Shape::Stat as u32,
    bytes = const Shape::Bytes as u32,
    shape_at = const SHAPE_AT,
    number = const NUMBER,
    out_max = const slot::OUT_MAX,
    empty_path = const libc::AT_EMPTY_PATH,
    fstat = const libc::SYS_fstat,
    not_control = const !(libc::F_DUPFD | libc::F_SETFD),
    dup_cloexec = const libc::F_DUPFD_CLOEXEC,
    owed = const slot::OWED,
    owed_args = const slot::OWED_ARGS,
    owed_kind = const slot::OWED_KIND,
    makes = const slot::MAKES,
    received = const slot::RECEIVED,
    own = const OWN[0],
    own_too = const OWN[1],
    out_len = const slot::OUT_LEN,
    out_addr = const slot::OUT_ADDR,
    out = const slot::OUT,
    result = const slot::RESULT,
);

/// Where in the upper half of [`slot::CALL`] the shape begins, and the number below it.
const SHAPE_AT: u32 = 28;
const NUMBER: u32 = 0xfff;

/// What a stub says of its call, below which are the flags.
#[must_use]
pub fn call(nr: u32, shape: Shape) -> u32 {
    (shape as u32) << SHAPE_AT | (nr & NUMBER) << 16
}

/// The number in that.
#[must_use]
pub fn number(call: u32) -> u64 {
    u64::from(call >> 16 & NUMBER)
}

/// The private call by which the shim waits for a call that was taken: a number that no kernel has.
pub const WAIT: u32 = 0x2000_ffff;
/// The private call by which the shim says that a file did not come to its number; what it gives is the call's result.
pub const LOST: u32 = WAIT - 1;
/// Slots of a mailbox: threads of one address space that can have one.
pub const SLOTS: usize = 64;
/// Bytes of a mailbox.
pub const MAILBOX: usize = SLOTS * slot::SIZE;
/// Bytes of a stub.
pub const STUB: usize = 40;

// SAFETY: labels of the listing above, bytes that are never written.
unsafe extern "C" {
    static cage_shim_start: u8;
    static cage_shim_entry: u8;
    static cage_shim_saved: u8;
    static cage_shim_own: u8;
    static cage_shim_own_call: u8;
    static cage_shim_own_end: u8;
    static cage_shim_post: u8;
    static cage_shim_owed: u8;
    static cage_shim_tail: u8;
    static cage_shim_refused: u8;
    static cage_shim_leave: u8;
    static cage_shim_flagged: u8;
    static cage_shim_number: u8;
    static cage_shim_back: u8;
    static cage_shim_end: u8;
}

/// Which arguments of a call are paths, as the shim's code has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Shape {
    /// None.
    Plain = 0,
    /// The second.
    Second = 1,
    /// The first.
    First = 2,
    /// The first and the second.
    FirstSecond = 3,
    /// The second and the fourth.
    SecondFourth = 4,
    /// The first and the third.
    FirstThird = 5,
    /// None, and the second says whether the call goes by the mailbox: fcntl.
    Control = 6,
    /// The second, unless it is empty and the call is about the descriptor itself: newfstatat.
    Stat = 7,
    /// None, and the second points at as many bytes as the third says: write.
    Bytes = 8,
}

impl Shape {
    /// The shape with paths at these arguments, where there is one.
    #[must_use]
    pub fn with_paths(at: &[usize]) -> Option<Self> {
        Some(match at {
            [] => Self::Plain,
            [1] => Self::Second,
            [0] => Self::First,
            [0, 1] => Self::FirstSecond,
            [1, 3] => Self::SecondFourth,
            [0, 2] => Self::FirstThird,
            _ => return None,
        })
    }

    /// Which arguments are paths.
    #[must_use]
    pub fn paths(self) -> &'static [usize] {
        match self {
            Self::Plain | Self::Control | Self::Bytes => &[],
            Self::Second | Self::Stat => &[1],
            Self::First => &[0],
            Self::FirstSecond => &[0, 1],
            Self::SecondFourth => &[1, 3],
            Self::FirstThird => &[0, 2],
        }
    }
}

/// Where a thread stands in the shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// rcx and eax hold all, and the flags are in ax.
    Registers,
    /// The slot holds all, and nothing is posted.
    Saved,
    /// As with [`Place::Saved`], but the second argument is in the slot alone: a call about a descriptor is being made.
    Own,
    /// That call is made: rax is its result, and the second argument is in the slot.
    Made,
    /// The slot's state says how far the call is.
    Posted,
    /// What the call owed is paid; rax is the result of that where it is the call's.
    Paid,
    /// Nothing is left but to go.
    Tail,
    /// The slot, or rcx and eax where they are loaded already, hold all; the call goes the kernel's way.
    Leaving {
        /// rcx and eax hold all.
        loaded: bool,
    },
    /// As on the way out, and the overflow flag is the cage's again; the others are in ah.
    Overflow,
    /// All flags are the cage's again; rcx and eax are not.
    Flags,
    /// At the last jump: rcx is the `syscall`, eax its number.
    Last,
}

/// Whether a thread can find its slot on this machine: user space may read gs (`AT_HWCAP2`, 5.9).
#[must_use]
pub fn is_supported() -> bool {
    const FSGSBASE: u64 = 2;
    // SAFETY: reads the auxiliary vector of this process.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & FSGSBASE != 0 }
}

fn offset(label: &u8) -> usize {
    // SAFETY: all labels lie in one section, in the order of the listing above.
    std::ptr::from_ref(label).addr() - unsafe { std::ptr::from_ref(&cage_shim_start) }.addr()
}

macro_rules! at {
    ($label:ident) => {
        // SAFETY: a label of the listing above: only its address is used.
        offset(unsafe { &$label })
    };
}

/// The shim's bytes; the first eight are to hold the mailbox's address.
#[must_use]
pub fn code() -> &'static [u8] {
    let len = at!(cage_shim_end);
    // SAFETY: the bytes between the first and the last label are initialised, constant and as long as the program.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(&cage_shim_start), len) }
}

/// Where stubs jump to.
#[must_use]
pub fn entry() -> usize {
    at!(cage_shim_entry)
}

/// Where in the shim an instruction lies.
#[must_use]
pub fn place(at: usize) -> Option<Place> {
    let ends = [
        (at!(cage_shim_entry), None),
        (at!(cage_shim_saved), Some(Place::Registers)),
        (at!(cage_shim_own), Some(Place::Saved)),
        (at!(cage_shim_own_call) + 1, Some(Place::Own)),
        (at!(cage_shim_own_end), Some(Place::Made)),
        (at!(cage_shim_post) + 1, Some(Place::Saved)),
        (at!(cage_shim_owed) + 1, Some(Place::Posted)),
        (at!(cage_shim_tail), Some(Place::Paid)),
        (at!(cage_shim_refused), Some(Place::Tail)),
        (at!(cage_shim_leave), Some(Place::Leaving { loaded: false })),
        (
            at!(cage_shim_flagged),
            Some(Place::Leaving { loaded: true }),
        ),
        (at!(cage_shim_number), Some(Place::Overflow)),
        (at!(cage_shim_back), Some(Place::Flags)),
        (at!(cage_shim_end), Some(Place::Last)),
    ];
    ends.iter()
        .find(|&&(end, _)| at < end)
        .and_then(|&(_, place)| place)
}
