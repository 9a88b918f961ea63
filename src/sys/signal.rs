//! The supervisor's own signals: all are blocked, one thread takes them one by one.
#![expect(
    unsafe_code,
    reason = "signal sets and thread ids have no safe wrapper"
)]

use nix::sys::signal::{SigSet, Signal};

use super::privilege::{self, Capability};
use crate::abi::Errno;

/// Wakes the thread that waits in [`next`]; its default is to be ignored, and it is never forwarded.
const WAKE: libc::c_int = libc::SIGURG;

/// The signals that a run passes on to its program.
pub const FORWARDED: [libc::c_int; 7] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
];

fn awaited() -> SigSet {
    let mut set = SigSet::empty();
    for number in FORWARDED
        .into_iter()
        .chain([WAKE, libc::SIGCHLD, libc::SIGTSTP, libc::SIGCONT])
    {
        if let Ok(signal) = Signal::try_from(number) {
            set.add(signal);
        }
    }
    set
}

/// Blocks what [`next`] waits for, in this thread and those that it makes. SIGPIPE stays ignored.
///
/// # Errors
/// Never on Linux.
pub fn block() -> Result<(), nix::Error> {
    awaited().thread_block()
}

/// Waits for the next signal of the process.
#[must_use]
pub fn next() -> libc::c_int {
    awaited()
        .wait()
        .map_or(WAKE, |signal| signal as libc::c_int)
}

/// The calling thread's number.
#[must_use]
pub fn own_tid() -> i32 {
    // SAFETY: the call has no arguments and cannot fail.
    unsafe { libc::gettid() }
}

/// Wakes the thread of this process that waits in [`next`].
pub fn wake(tid: i32) {
    // SAFETY: the call takes numbers; the thread belongs to this process.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, WAKE) };
}

/// Whether a signal was sent; a process of the run that changed its ids needs a capability.
fn sent(mut call: impl FnMut() -> libc::c_long) -> bool {
    let call = || match call() {
        0 => Ok(()),
        _ => Err(Errno::last()),
    };
    privilege::with_if_refused(Capability::KILL, call).is_ok()
}

/// Sends a signal to a process by its descriptor: never to one that took over its number.
/// Says whether it was sent.
pub fn send(pidfd: std::os::fd::BorrowedFd<'_>, signal: libc::c_int) -> bool {
    use std::os::fd::AsRawFd;
    sent(|| {
        // SAFETY: no siginfo is passed; the descriptor is borrowed for the call.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                pidfd.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        }
    })
}

/// Sends a signal to one thread of a process.
pub fn send_to_thread(process: i32, thread: i32, signal: libc::c_int) {
    // SAFETY: the call takes numbers.
    sent(|| unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) });
}

/// Kills one thread's process.
pub fn kill_thread(tid: i32) {
    // SAFETY: the call takes numbers.
    sent(|| unsafe { libc::syscall(libc::SYS_tkill, tid, libc::SIGKILL) });
}

/// Stops this job, all processes of its group, as a typed ^Z does, and comes back when it is continued: at once where
/// nobody is there to continue it, since the kernel then ignores this stop. The SIGCONT is taken.
pub fn stop_job() {
    let set = |number| {
        let mut set = SigSet::empty();
        if let Ok(signal) = Signal::try_from(number) {
            set.add(signal);
        }
        set
    };
    let stop = set(libc::SIGTSTP);
    // SAFETY: the call takes numbers; 0 is the caller's own group.
    unsafe { libc::kill(0, libc::SIGTSTP) };
    // It is blocked in every thread: it comes here and now, and the whole process stops. Neither call fails on Linux.
    let _ = stop.thread_unblock();
    let _ = stop.thread_block();
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let go_on = set(libc::SIGCONT);
    // SAFETY: the set and the time are live; no information about the signal is asked for.
    unsafe { libc::sigtimedwait(go_on.as_ref(), std::ptr::null_mut(), &raw const now) };
}

/// Sends a signal to the process group that the process behind `leader` leads; nothing where it is gone, since its
/// number may be another's by then.
pub fn send_to_group_of(leader: std::os::fd::BorrowedFd<'_>, group: i32, signal: libc::c_int) {
    if send(leader, 0) {
        // SAFETY: the call takes numbers.
        sent(|| unsafe { libc::killpg(group, signal) }.into());
    }
}
