//! What the tracer knows of one thread.

use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::Handover;
use super::super::fast::{Lane, Space};
use super::arena::{Arenas, Slot};
use super::script::Script;
use crate::cage::{Change, Freeze, Thread, Want};
use crate::interpose::Call;
use crate::posix::{Judged, Role, Then};
use crate::sys::ptrace::{Regs, Resume, SignalInfo, Stopped};

/// Where the thread stands in its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Before it, at the filter's stop.
    Entry,
    /// After a native call.
    Exit,
    /// After a notification that was answered with "make it again".
    Back,
}

/// A call as it was made: its registers are given back whatever ran in its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) regs: Regs,
    pub(super) call: Call,
    pub(super) at: At,
}

impl Entry {
    /// The registers with this result, as after the call.
    pub(super) fn with_result(&self, value: i64) -> Regs {
        let mut regs = self.regs;
        regs.rax = value.cast_unsigned();
        // A restart of the call, where the result asks for one or a signal turns out to be ignored, is the cage's own
        // call again.
        regs.orig_rax = if (-516..=-512).contains(&value) || value == -4 {
            self.call.nr
        } else {
            u64::MAX
        };
        regs
    }

    /// The registers that make this call next: at the stop itself where it has not begun, otherwise by going back to
    /// the instruction.
    pub(super) fn with_call(&self, nr: u64, args: [u64; 6]) -> Regs {
        let mut regs = self.regs;
        [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
        if self.at == At::Entry {
            regs.orig_rax = nr;
        } else {
            // `syscall` is two bytes long, and where the call came from it still stands.
            regs.rip = regs.rip.wrapping_sub(2);
            regs.rax = nr;
            regs.orig_rax = u64::MAX;
        }
        regs
    }
}

/// A call that a thread goes back to its instruction for. Another thread may have put other code there meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    nr: u64,
    args: [u64; 6],
    rip: u64,
}

impl Asked {
    /// The call that these registers make when they begin at the instruction of `entry`.
    pub(super) fn new(entry: &Entry, nr: u64, args: [u64; 6]) -> Self {
        Self {
            nr,
            args,
            rip: entry.regs.rip,
        }
    }

    /// Whether the call that begins with these registers is the one that was asked for.
    pub(super) fn is_made_by(&self, regs: &Regs) -> bool {
        (regs.orig_rax, args(regs), regs.rip) == (self.nr, self.args, self.rip)
    }
}

/// The arguments in a thread's registers.
pub(super) fn args(regs: &Regs) -> [u64; 6] {
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9]
}

/// A call that runs natively and whose end is looked at.
pub(super) struct Forwarded {
    pub(super) entry: Entry,
    pub(super) then: Option<Then>,
    pub(super) role: Role,
    /// The registers are not the cage's own.
    pub(super) rewritten: bool,
    /// The thread goes back to the instruction: the next edge is the beginning of this call.
    pub(super) entering: Option<Asked>,
    /// The cage's signal mask, to be put back at the beginning.
    pub(super) mask: Option<u64>,
    pub(super) freeze: Option<Freeze>,
    pub(super) change: Option<Change>,
    pub(super) slots: Vec<Slot>,
    /// A number that was lent for this call only.
    pub(super) lent: Option<i32>,
}

impl Debug for Forwarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarded")
            .field("nr", &self.entry.call.nr)
            .finish_non_exhaustive()
    }
}

/// What a thread is doing, as far as its next stop must know.
#[derive(Debug)]
pub(super) enum Phase {
    /// On its way to the first program.
    Launching,
    /// Made, but not yet begun; with the registers that its maker's call had, where they were rewritten.
    Newborn(Option<Regs>),
    /// In the cage's own code, or in a call that nobody watches.
    Running,
    /// In a native call whose end is looked at.
    Forwarded(Box<Forwarded>),
    /// In the private call by which a worker puts promised files into it.
    Promised {
        /// The cage's signal mask, to be put back at the end.
        mask: u64,
        /// That call.
        asked: Asked,
        /// The thread goes back to the instruction: the next edge is the beginning.
        entering: bool,
    },
    /// In calls that the tracer makes in it.
    Script(Box<Script>),
    /// Stopped before a call, until a table is free.
    Parked(Entry, Stopped, Option<Want>),
    /// Stopped before a script, until a table is free.
    Waiting(Box<Script>, Stopped, Want),
}

impl Phase {
    pub(super) fn resume(&self) -> Resume {
        match self {
            Self::Forwarded(_) | Self::Promised { .. } | Self::Script(_) => Resume::ToCallEdge,
            _ => Resume::Run,
        }
    }
}

/// A traced thread.
#[derive(Debug)]
pub(super) struct Tracee {
    pub(super) thread: Arc<Thread>,
    pub(super) phase: Phase,
    pub(super) handover: Option<Handover>,
    pub(super) arenas: Arc<Mutex<Arenas>>,
    /// What its address space has of the fast path.
    pub(super) space: Arc<Mutex<Space>>,
    /// The stop that it stays in until its call in the mailbox is served, and the signal that it stopped for.
    pub(super) awaiting: Option<(Stopped, i32)>,
    /// The lane that is to be served when it goes on.
    pub(super) heats: Option<Arc<Lane>>,
    /// It went on with a script though its process was being stopped: it stops when that is done.
    pub(super) owes_stop: bool,
    /// The file that its exec was judged by.
    pub(super) judged: Option<Judged>,
    /// A signal that was sent again, and what was told of it the first time.
    pub(super) held: Option<(i32, SignalInfo)>,
    /// Its call's result is a handler's `ERESTARTSYS`: the signal that comes next decides, as for any native wait.
    pub(super) restartable: bool,
}

impl Tracee {
    pub(super) fn new(thread: Arc<Thread>, phase: Phase) -> Self {
        Self {
            thread,
            phase,
            handover: None,
            arenas: Arc::default(),
            space: Arc::default(),
            awaiting: None,
            heats: None,
            owes_stop: false,
            judged: None,
            held: None,
            restartable: false,
        }
    }
}
