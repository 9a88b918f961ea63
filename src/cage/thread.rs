//! A cage (one traced process) and its threads.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::{FdTable, Files, FsContext};

/// A thread's number as the supervisor's pid namespace knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(pub i32);

/// A cage's number within a run; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CageId(pub u64);

impl std::fmt::Display for CageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// Counters of one cage.
#[derive(Debug, Default)]
pub struct Counters {
    /// Calls that reached the dispatcher.
    pub calls: AtomicU64,
}

/// What a process was told of itself, though the kernel knows it otherwise.
#[derive(Debug)]
pub struct Pretence {
    /// `PR_SET_DUMPABLE`: copied by fork, true again after an exec. The kernel's flag stays set, so that the
    /// supervisor needs no capability.
    pub dumpable: AtomicBool,
    /// `PTRACE_TRACEME` was called.
    pub traced: AtomicBool,
    /// It has executed a program, and is not a fork that still runs its parent's.
    executed: AtomicBool,
}

impl Pretence {
    fn of_child(parent: Option<&Self>) -> Self {
        let dumpable = parent.is_none_or(|parent| parent.dumpable.load(Ordering::Relaxed));
        Self {
            dumpable: AtomicBool::new(dumpable),
            traced: AtomicBool::new(false),
            executed: AtomicBool::new(parent.is_none()),
        }
    }

    /// Whether it runs a program of its own, and not its parent's.
    #[must_use]
    pub fn executed(&self) -> bool {
        self.executed.load(Ordering::Relaxed)
    }
}

/// One traced process.
#[derive(Debug)]
pub struct Cage {
    /// Its number.
    pub id: CageId,
    /// The cage that made it.
    pub parent: Option<CageId>,
    /// The process's number, as the supervisor sees it.
    pub tgid: Tid,
    /// Its counters.
    pub counters: Counters,
    pidfd: Option<OwnedFd>,
    inner_pid: OnceLock<i32>,
    /// `RLIMIT_NOFILE`, soft: the numbers that the table may hand out.
    nofile: AtomicU64,
    /// What the process was told of itself, though the kernel knows it otherwise.
    pub pretence: Pretence,
    /// Its threads may have different descriptor tables.
    split_files: AtomicBool,
    /// The program, as exec reached it, and its arguments (for logs).
    program: Mutex<Arc<[u8]>>,
}

impl Cage {
    /// A cage; `pidfd` is absent only in tests without a process.
    #[must_use]
    pub fn new(
        id: CageId,
        parent: Option<&Self>,
        tgid: Tid,
        pidfd: Option<OwnedFd>,
        nofile: u64,
    ) -> Self {
        let program = parent.map_or_else(|| Arc::from(&b""[..]), |parent| parent.program());
        Self {
            id,
            parent: parent.map(|parent| parent.id),
            tgid,
            counters: Counters::default(),
            pidfd,
            inner_pid: OnceLock::new(),
            nofile: AtomicU64::new(nofile),
            split_files: AtomicBool::new(false),
            pretence: Pretence::of_child(parent.map(|parent| &parent.pretence)),
            program: Mutex::new(program),
        }
    }

    /// A descriptor of the process.
    #[must_use]
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// The process's number inside the run; `find` is asked once.
    pub fn inner_pid(&self, find: impl FnOnce() -> i32) -> i32 {
        *self.inner_pid.get_or_init(find)
    }

    /// The soft `RLIMIT_NOFILE`.
    #[must_use]
    pub fn nofile(&self) -> u64 {
        self.nofile.load(Ordering::Relaxed)
    }

    /// Mirrors a new soft `RLIMIT_NOFILE`.
    pub fn set_nofile(&self, soft: u64) {
        self.nofile.store(soft, Ordering::Relaxed);
    }

    /// The program's path, as exec reached it.
    #[must_use]
    pub fn program(&self) -> Arc<[u8]> {
        Arc::clone(&self.program.lock())
    }

    /// Notes that its threads may have different descriptor tables.
    pub fn note_split_files(&self) {
        self.split_files.store(true, Ordering::Release);
    }

    /// Notes a new program.
    pub fn set_program(&self, path: &[u8]) {
        self.pretence.dumpable.store(true, Ordering::Relaxed);
        self.pretence.executed.store(true, Ordering::Relaxed);
        *self.program.lock() = Arc::from(path);
    }
}

/// One thread of a cage. Linux ties the descriptor table and the working directory to the thread; so do we.
#[derive(Debug)]
pub struct Thread {
    /// Its number, as the supervisor sees it.
    pub tid: Tid,
    /// Its cage.
    pub cage: Arc<Cage>,
    files: Mutex<Arc<Files>>,
    fs: Mutex<Arc<FsContext>>,
    inner_tid: OnceLock<i32>,
    /// A close or an install of this thread may not have reached the kernel yet, or it announced something.
    unsettled: AtomicBool,
    /// What the kernel does for this thread at this moment, unseen until its event comes (see the platforms).
    announced: Mutex<Option<Armed>>,
    /// Answers that wait for a private call of this thread, by its number (see the platforms).
    armed: Mutex<HashMap<u32, Armed>>,
    /// Absolute paths that the call under way named, as reached; for the log.
    paths: Mutex<Vec<Vec<u8>>>,
    /// A FIFO's end that an interrupted open held; the same call made again takes it up, any other lets it go.
    held_end: Mutex<Option<OwnedFd>>,
    holds_end: AtomicBool,
    /// The platform runs calls of its own in this thread.
    injected: AtomicBool,
    /// It was allowed to make a child that is not in the cage table yet; only told where children are counted.
    bearing: AtomicBool,
}

/// What a platform left for a thread's private call; opaque here.
pub type Armed = Box<dyn std::any::Any + Send>;

impl Thread {
    /// A thread.
    #[must_use]
    pub fn new(tid: Tid, cage: Arc<Cage>, files: Arc<Files>, fs: Arc<FsContext>) -> Self {
        Self {
            tid,
            cage,
            files: Mutex::new(files),
            fs: Mutex::new(fs),
            inner_tid: OnceLock::new(),
            unsettled: AtomicBool::new(false),
            announced: Mutex::new(None),
            armed: Mutex::new(HashMap::new()),
            paths: Mutex::default(),
            held_end: Mutex::new(None),
            holds_end: AtomicBool::new(false),
            injected: AtomicBool::new(false),
            bearing: AtomicBool::new(false),
        }
    }

    /// Whether the process's pid descriptor, which stands for its leader, may lead to another table than this thread's.
    #[must_use]
    pub fn needs_own_pidfd(&self) -> bool {
        self.tid != self.cage.tgid
    }

    /// Whether the leader's table is not to be asked at all.
    #[must_use]
    pub fn has_own_files(&self) -> bool {
        self.needs_own_pidfd() && self.cage.split_files.load(Ordering::Acquire)
    }

    /// Its descriptor table.
    #[must_use]
    pub fn files(&self) -> Arc<Files> {
        Arc::clone(&self.files.lock())
    }

    /// The thread is gone: nobody who still knows of it keeps what it had open.
    #[must_use]
    pub fn take_files(&self) -> Arc<Files> {
        std::mem::replace(&mut *self.files.lock(), Files::new(FdTable::default()))
    }

    /// Gives it another descriptor table (exec, `unshare(CLONE_FILES)`).
    pub fn set_files(&self, files: Arc<Files>) {
        self.cage.note_split_files();
        *self.files.lock() = files;
    }

    /// Its working directory and umask.
    #[must_use]
    pub fn fs(&self) -> Arc<FsContext> {
        Arc::clone(&self.fs.lock())
    }

    /// Gives it another working directory and umask (exec, `unshare(CLONE_FS)`).
    pub fn set_fs(&self, fs: Arc<FsContext>) {
        *self.fs.lock() = fs;
    }

    /// The thread's number inside the run; `find` is asked once.
    pub fn inner_tid(&self, find: impl FnOnce() -> i32) -> i32 {
        *self.inner_tid.get_or_init(find)
    }

    /// Notes that the descriptor table has marks of this thread: a close that it is about to run, a file on its way.
    pub fn mark_closing(&self) {
        self.unsettled.store(true, Ordering::Release);
    }

    /// Called at each event of the thread: whatever it was closing is closed, whatever it was promised is there, and
    /// what it had announced did not happen.
    pub fn settle(&self) {
        if self.unsettled.swap(false, Ordering::AcqRel) {
            self.files().lock().settle(self.tid);
            drop(self.take_announced());
        }
    }

    /// Called at its end: what it had announced did not happen, what it was closing may be open still where others share
    /// its table.
    pub fn bury(&self) {
        if self.unsettled.swap(false, Ordering::AcqRel) {
            self.files().lock().bury(self.tid);
            drop(self.take_announced());
        }
    }

    /// Notes what the kernel is to do for this thread; the event that tells of it takes the note up, any other drops it.
    pub fn announce(&self, what: Armed) {
        *self.announced.lock() = Some(what);
        self.unsettled.store(true, Ordering::Release);
    }

    /// Takes what was announced, where something was.
    #[must_use]
    pub fn take_announced(&self) -> Option<Armed> {
        self.announced.lock().take()
    }

    /// Whether something is announced.
    #[must_use]
    pub fn has_announced(&self) -> bool {
        self.announced.lock().is_some()
    }

    /// Whether a child of this thread is on its way.
    #[must_use]
    pub fn is_bearing(&self) -> bool {
        self.bearing.load(Ordering::Acquire)
    }

    /// Notes that one is, or that it came or never will.
    pub fn set_bearing(&self, bearing: bool) {
        self.bearing.store(bearing, Ordering::Release);
    }

    /// Holds a FIFO's end over an interruption: a peer that comes before the call is made again must find it.
    pub fn hold_end(&self, end: OwnedFd) {
        *self.held_end.lock() = Some(end);
        self.holds_end.store(true, Ordering::Release);
    }

    /// Takes the held end, where there is one.
    #[must_use]
    pub fn take_end(&self) -> Option<OwnedFd> {
        if self.holds_end.swap(false, Ordering::AcqRel) {
            return self.held_end.lock().take();
        }
        None
    }

    /// Says whether the platform runs calls of its own in this thread: nothing is decided about those.
    pub fn set_injected(&self, injected: bool) {
        self.injected.store(injected, Ordering::Release);
    }

    /// Whether the platform runs a call of its own in this thread.
    #[must_use]
    pub fn is_injected(&self) -> bool {
        self.injected.load(Ordering::Acquire)
    }

    /// Notes an absolute path that the call under way named.
    pub fn note_path(&self, path: Vec<u8>) {
        self.paths.lock().push(path);
    }

    /// The absolute paths that the call under way named.
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<u8>> {
        self.paths.lock().clone()
    }

    /// Another call begins.
    pub fn forget_paths(&self) {
        self.paths.lock().clear();
    }

    /// Leaves an answer for the private call with this number; an older one of the same number is dropped.
    pub fn arm(&self, number: u32, answer: Armed) {
        self.armed.lock().insert(number, answer);
    }

    /// Takes the answer for a private call.
    #[must_use]
    pub fn disarm(&self, number: u32) -> Option<Armed> {
        self.armed.lock().remove(&number)
    }
}
