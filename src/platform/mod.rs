//! How calls reach the dispatcher. [`Kind::Ptrace`] knows stops alone; [`Kind::Hybrid`] answers most calls by seccomp
//! notifications, on threads of its own, and leaves lives, signals and forwarded calls to the tracer; [`Kind::Fast`] lets
//! calls from patched sites go by a mailbox instead.

mod fast;
mod filter;
mod meter;
mod notifier;
mod process_guest;
mod sites;
mod standby;
mod tracer;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::cage::{Change, FileKind, Freeze, Thread};
use crate::dispatch::Dispatcher;
use crate::interpose::Call;
use crate::posix::{Forward, Install, Kernel, Role};

use fast::Fast;
pub(crate) use filter::HELLO;
pub use filter::{filter, hello};
pub use meter::Meter;
pub use tracer::{Ending, Tracer};

/// The platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Stops and notifications.
    Hybrid,
    /// Stops only.
    Ptrace,
    /// Stops, notifications, and a mailbox for calls from patched sites.
    Fast,
}

impl Kind {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::Ptrace => "ptrace",
            Self::Fast => "fast",
        }
    }

    /// Whether there are notifications.
    #[must_use]
    pub fn notifies(self) -> bool {
        self != Self::Ptrace
    }
}

/// Holds the kernel's view of a stopped cage against the virtual one; says what differs.
pub type InvariantCheck = fn(&Kernel, &Thread) -> Result<(), String>;

/// What the threads of the supervisor share.
#[derive(Debug)]
pub struct Platform {
    /// Answers calls.
    pub dispatcher: Dispatcher,
    /// Counts.
    pub meter: Meter,
    /// Which platform this is.
    pub kind: Kind,
    /// What `--check-invariants` found, at most a few.
    pub violations: Mutex<Vec<String>>,
    /// What `--check-invariants` calls at quiet stops, where it was asked for.
    pub invariant_check: OnceLock<InvariantCheck>,
    listener: OnceLock<OwnedFd>,
    fast: Option<Arc<Fast>>,
    /// Of each server of notifications that is watched by the next.
    pulses: [standby::Pulse; notifier::SERVERS - 1],
    to_tracer: Mutex<VecDeque<ToTracer>>,
    tracer_tid: AtomicI32,
    next_private: AtomicU32,
}

/// What other threads ask of the tracer.
#[derive(Debug)]
enum ToTracer {
    /// A table is free again: look at this stopped thread's call once more.
    Retry(i32),
    /// A notified call must go on in the cage.
    Handover(Box<Handover>),
    /// A call in the mailbox is served: this stopped thread waits for that.
    Served(i32),
}

/// A notified call that the kernel must run in another form.
struct Handover {
    thread: Arc<Thread>,
    notification: u64,
    call: Call,
    next: Next,
    change: Option<Change>,
}

impl Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handover")
            .field("tid", &self.thread.tid)
            .field("call", &self.call.nr)
            .finish_non_exhaustive()
    }
}

/// How a handed-over call goes on.
enum Next {
    /// The kernel runs this.
    Forward(Forward),
    /// The call has this result, once these files are in the cage.
    Install(Vec<Install>, i64),
    /// Its site is looked at, and the call is made again.
    Look,
    /// The kernel's table loses what is the supervisor's own there, and the call is made again.
    Clear,
}

/// Files promised to a thread: it gets them at its private call, and then this call's result.
struct Promise {
    installs: Vec<Install>,
    call: Call,
    result: i64,
    change: Option<Change>,
}

/// A life that the kernel begins or replaces for a thread whose notification was let go on: the event that tells of it
/// finds here what it was judged to be.
struct Announced {
    role: Role,
    /// Until the event shows that the kernel has copied the table.
    freeze: Option<Freeze>,
}

impl Platform {
    /// A platform for a run.
    #[must_use]
    pub fn new(dispatcher: Dispatcher, kind: Kind) -> Arc<Self> {
        let fast = (kind == Kind::Fast)
            .then(|| Fast::new(&dispatcher))
            .flatten();
        Arc::new(Self {
            dispatcher,
            meter: Meter::default(),
            kind,
            violations: Mutex::default(),
            invariant_check: OnceLock::new(),
            listener: OnceLock::new(),
            fast,
            pulses: Default::default(),
            to_tracer: Mutex::default(),
            tracer_tid: AtomicI32::new(0),
            next_private: AtomicU32::new(0),
        })
    }

    /// Says what the fast path may do: patch call sites, look at mailboxes without a pause.
    pub fn limit_fast(&self, patches: bool, spins: bool) {
        if let Some(fast) = &self.fast {
            fast.limit(patches, spins);
        }
    }

    /// A call of this thread came the kernel's way: whether its site is worth a look.
    fn looks_at(&self, thread: &Thread, nr: u64) -> bool {
        self.fast
            .as_ref()
            .is_some_and(|fast| fast.arrives(thread.tid.0, nr))
    }

    fn ask_tracer(&self, message: ToTracer) {
        let alone = {
            let mut messages = self.to_tracer.lock();
            messages.push_back(message);
            messages.len() == 1
        };
        if !alone {
            // Who put the first one there has it woken, and it takes all. Hundreds of threads may wait for one table.
            return;
        }
        let tid = self.tracer_tid.load(Ordering::Acquire);
        if tid != 0 {
            crate::sys::signal::wake(tid);
        }
    }

    fn next_for_tracer(&self) -> Option<ToTracer> {
        self.to_tracer.lock().pop_front()
    }

    /// Promises files to a thread; returns the private number that it must call.
    fn promise(&self, thread: &Thread, promise: Promise) -> u64 {
        let index = self.next_private.fetch_add(1, Ordering::Relaxed) % filter::PROMISES;
        thread.arm(index, Box::new(promise));
        u64::from(filter::PRIVATE + index)
    }
}

/// Whether installs can be made by a notification: the kernel refuses `O_PATH` files there, and a terminal is taken by
/// the thread itself.
fn all_addable(installs: &[Install]) -> bool {
    installs
        .iter()
        .all(|install| !install.controlling && install.kind != FileKind::Place)
}
