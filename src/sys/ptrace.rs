//! ptrace(2) as types: a [`Stopped`] thread can be looked at and changed, resuming consumes it. A thread that is gone
//! is an ordinary result: SIGKILL may come at any moment.
#![expect(unsafe_code, reason = "the kernel is called here")]

use std::mem::MaybeUninit;

use super::usage::Used;
use crate::abi::Errno;

/// Why a ptrace operation did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The thread is gone, or no longer stopped: its end will be reported.
    #[error("thread {0} is gone")]
    Gone(i32),
    /// The kernel refused.
    #[error("{op} on thread {tid}: {errno}")]
    Host {
        /// The operation.
        op: &'static str,
        /// The thread.
        tid: i32,
        /// Why.
        errno: Errno,
    },
}

/// The registers of a thread.
pub type Regs = libc::user_regs_struct;

/// A siginfo_t, opaque: 128 bytes on x86_64, aligned as the kernel's.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub struct SignalInfo([u8; 128]);

impl SignalInfo {
    /// Whether the kernel made the signal for what the thread itself did, as a fault, and nobody sent it.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        let [_, _, _, _, _, _, _, _, code @ ..] = self.0;
        let [a, b, c, d, ..] = code;
        i32::from_ne_bytes([a, b, c, d]) > 0
    }

    /// Says that it happened at another address (`si_addr`).
    pub fn set_address(&mut self, addr: u64) {
        const ADDRESS: usize = 16;
        if let Some(bytes) = self.0.get_mut(ADDRESS..ADDRESS + size_of::<u64>()) {
            bytes.copy_from_slice(&addr.to_ne_bytes());
        }
    }
}

/// How a stopped thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Until the next event.
    Run,
    /// Until the next event or the end (or beginning) of a system call.
    ToCallEdge,
}

/// What wait4 reported.
#[derive(Debug)]
pub enum Event {
    /// At a `RET_TRACE` of the filter, before the call; `data` is the filter's.
    Seccomp {
        /// The filter's 16 bits.
        data: u16,
    },
    /// At the edge of a call (entry or exit).
    CallEdge,
    /// fork, vfork or clone made this child.
    NewChild(i32),
    /// exec succeeded; the thread's number before it.
    Exec(i32),
    /// A signal is about to be delivered.
    Signal(i32),
    /// Stopped by a job-control signal (the whole process).
    GroupStop,
    /// A stop without a cause of its own: a new child's first, an asked-for interrupt, after SIGCONT.
    Plain,
    /// Another ptrace event, not asked for.
    Other(i32),
}

/// What [`wait_any`] found.
#[derive(Debug)]
pub enum Waited {
    /// A thread stopped.
    Stopped(Stopped, Event),
    /// A thread or child ended, with its wait status, and what its process had used by then, where that was asked for.
    Ended(i32, i32, Used),
    /// Nothing at the moment.
    Nothing,
    /// No children or tracees are left.
    NoneLeft,
}

/// A thread in a ptrace stop.
#[derive(Debug)]
pub struct Stopped {
    tid: i32,
}

fn request(
    op: libc::c_uint,
    name: &'static str,
    tid: i32,
    addr: usize,
    data: usize,
) -> Result<(), Error> {
    // SAFETY: the requests used here either take no pointer or take one that the caller made from a live, exclusively
    // borrowed value of the size that the request writes or reads; it outlives the call.
    let result = unsafe { libc::ptrace(op, tid, addr, data) };
    if result == -1 {
        let errno = Errno::last();
        return Err(if errno == Errno::ESRCH {
            Error::Gone(tid)
        } else {
            Error::Host {
                op: name,
                tid,
                errno,
            }
        });
    }
    Ok(())
}

/// Attaches to a thread without stopping it; its children are attached with it, and all die with the tracer.
///
/// # Errors
/// Where the kernel refuses.
pub fn seize(tid: i32) -> Result<(), Error> {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC;
    request(
        libc::PTRACE_SEIZE,
        "PTRACE_SEIZE",
        tid,
        0,
        usize::try_from(options).unwrap_or(0),
    )
}

/// Asks a running thread to stop.
///
/// # Errors
/// [`Error::Gone`].
pub fn interrupt(tid: i32) -> Result<(), Error> {
    request(libc::PTRACE_INTERRUPT, "PTRACE_INTERRUPT", tid, 0, 0)
}

/// Whom the next report is of, and whether it tells of an end; `None` where none is at hand, or the wait itself has to say why not.
fn peek() -> Option<(i32, bool)> {
    let options = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: all-zero is a valid siginfo_t, and the call fills it for a child as one of SIGCHLD.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        if libc::waitid(libc::P_ALL, 0, &raw mut info, options) == 0 && info.si_pid() > 0 {
            let ends = [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED];
            return Some((info.si_pid(), ends.contains(&info.si_code)));
        }
    }
    None
}

/// Takes the next report of any child or tracee of this process, without waiting. With `weigh`, an ended one's CPU time
/// is read while it is still there to be asked. `at_end` is told of an end before its parent can hear of it.
#[must_use]
pub fn wait_any(weigh: bool, at_end: Option<&dyn Fn(i32)>) -> Waited {
    let mut status = 0;
    loop {
        let mut whom = -1;
        let mut used = Used::default();
        if (weigh || at_end.is_some())
            && let Some((tid, ends)) = peek()
        {
            whom = tid;
            if weigh {
                used = Used::cpu_of(tid);
            }
            if let (Some(at_end), true) = (at_end, ends) {
                at_end(tid);
            }
        }
        // SAFETY: all-zero is a valid rusage.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `status` and `usage` are live and exclusively borrowed.
        let tid = unsafe {
            libc::wait4(
                whom,
                &raw mut status,
                libc::__WALL | libc::WNOHANG,
                &raw mut usage,
            )
        };
        if tid == 0 {
            return Waited::Nothing;
        }
        if tid < 0 {
            if Errno::last() == Errno::EINTR {
                continue;
            }
            return Waited::NoneLeft;
        }
        if !libc::WIFSTOPPED(status) {
            used.peak_memory = super::usage::kilobytes(usage.ru_maxrss);
            return Waited::Ended(tid, status, used);
        }
        let stopped = Stopped { tid };
        let event = match classify(&stopped, status) {
            Ok(event) => event,
            // Killed between the report and the question: its end is reported next.
            Err(_) => continue,
        };
        return Waited::Stopped(stopped, event);
    }
}

fn classify(stopped: &Stopped, status: i32) -> Result<Event, Error> {
    let signal = libc::WSTOPSIG(status);
    let event = status >> 16;
    Ok(match event {
        0 if signal == libc::SIGTRAP | 0x80 => Event::CallEdge,
        0 => Event::Signal(signal),
        libc::PTRACE_EVENT_SECCOMP => Event::Seccomp {
            data: u16::try_from(stopped.event_message()? & 0xffff).unwrap_or(0),
        },
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
            Event::NewChild(i32::try_from(stopped.event_message()?).unwrap_or(0))
        }
        libc::PTRACE_EVENT_EXEC => {
            Event::Exec(i32::try_from(stopped.event_message()?).unwrap_or(0))
        }
        libc::PTRACE_EVENT_STOP if signal == libc::SIGTRAP => Event::Plain,
        libc::PTRACE_EVENT_STOP => Event::GroupStop,
        other => Event::Other(other),
    })
}

impl Stopped {
    /// The thread.
    #[must_use]
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// Whether the thread has left this stop and waits to be reported in another: an exec gave its number to another
    /// thread of its process.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let Ok(id) = libc::id_t::try_from(self.tid) else {
            return true;
        };
        let options = libc::WSTOPPED | libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the structure is live and exclusively borrowed; zeroed, it is a valid siginfo_t that names no process.
        unsafe {
            libc::waitid(libc::P_PID, id, info.as_mut_ptr(), options) != 0
                || info.assume_init().si_pid() != 0
        }
    }

    fn event_message(&self) -> Result<u64, Error> {
        let mut message: libc::c_ulong = 0;
        request(
            libc::PTRACE_GETEVENTMSG,
            "PTRACE_GETEVENTMSG",
            self.tid,
            0,
            (&raw mut message).expose_provenance(),
        )?;
        Ok(message)
    }

    /// Its registers.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn regs(&self) -> Result<Regs, Error> {
        let mut regs = MaybeUninit::<Regs>::uninit();
        request(
            libc::PTRACE_GETREGS,
            "PTRACE_GETREGS",
            self.tid,
            0,
            regs.as_mut_ptr().expose_provenance(),
        )?;
        // SAFETY: the request succeeded, and then the kernel has written the whole structure.
        Ok(unsafe { regs.assume_init() })
    }

    /// Sets its registers.
    ///
    /// # Errors
    /// [`Error::Gone`], or what the kernel thinks of the values.
    pub fn set_regs(&self, regs: &Regs) -> Result<(), Error> {
        request(
            libc::PTRACE_SETREGS,
            "PTRACE_SETREGS",
            self.tid,
            0,
            std::ptr::from_ref(regs).expose_provenance(),
        )
    }

    /// What is told of the signal that it stopped for, as the kernel has it.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn signal_info(&self) -> Result<SignalInfo, Error> {
        let mut info = SignalInfo([0; 128]);
        request(
            libc::PTRACE_GETSIGINFO,
            "PTRACE_GETSIGINFO",
            self.tid,
            0,
            (&raw mut info).expose_provenance(),
        )?;
        Ok(info)
    }

    /// Tells something else of the signal that it stopped for.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn set_signal_info(&self, info: &SignalInfo) -> Result<(), Error> {
        request(
            libc::PTRACE_SETSIGINFO,
            "PTRACE_SETSIGINFO",
            self.tid,
            0,
            std::ptr::from_ref(info).expose_provenance(),
        )
    }

    /// Its signal mask.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn signal_mask(&self) -> Result<u64, Error> {
        let mut mask = 0u64;
        request(
            libc::PTRACE_GETSIGMASK,
            "PTRACE_GETSIGMASK",
            self.tid,
            8,
            (&raw mut mask).expose_provenance(),
        )?;
        Ok(mask)
    }

    /// Sets its signal mask.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn set_signal_mask(&self, mask: u64) -> Result<(), Error> {
        request(
            libc::PTRACE_SETSIGMASK,
            "PTRACE_SETSIGMASK",
            self.tid,
            8,
            (&raw const mask).expose_provenance(),
        )
    }

    /// Writes eight bytes of its memory, whatever the protection of the page.
    ///
    /// # Errors
    /// [`Error::Gone`], `EIO` where nothing is mapped.
    pub fn poke(&self, addr: u64, bytes: [u8; 8]) -> Result<(), Error> {
        let addr = usize::try_from(addr).unwrap_or(usize::MAX);
        request(
            libc::PTRACE_POKEDATA,
            "PTRACE_POKEDATA",
            self.tid,
            addr,
            usize::from_ne_bytes(bytes),
        )
    }

    /// Lets it go on, delivering `signal` (0: none).
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn resume(self, how: Resume, signal: i32) -> Result<(), Error> {
        let (op, name) = match how {
            Resume::Run => (libc::PTRACE_CONT, "PTRACE_CONT"),
            Resume::ToCallEdge => (libc::PTRACE_SYSCALL, "PTRACE_SYSCALL"),
        };
        request(op, name, self.tid, 0, usize::try_from(signal).unwrap_or(0))
    }

    /// Leaves it in a job-control stop, listening for SIGCONT.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn listen(self) -> Result<(), Error> {
        request(libc::PTRACE_LISTEN, "PTRACE_LISTEN", self.tid, 0, 0)
    }
}
