//! Signals that only a tracer sees. Natively a signal that is ignored wakes nobody; a traced thread is woken to show it,
//! and calls that never restart (epoll_wait, a receive with a time-out) would end with EINTR. Those are made again. A
//! write or a receive that waits for all of its bytes would end with some of them: it is made again for the rest.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::super::process_guest::ProcessGuest;
use super::tracee::args;
use crate::abi::Sysno;
use crate::cage::{FileKind, Thread};
use crate::guest::Guest;
use crate::posix::{Forward, Outcome};
use crate::sys::closer::Loan;
use crate::sys::ptrace::Regs;
use crate::sys::{procfs, socket};

/// Ignored unless a program says otherwise. Not SIGCONT: it ends a stop, which natively interrupts too.
const IGNORED_BY_DEFAULT: u64 = bit(libc::SIGCHLD) | bit(libc::SIGURG) | bit(libc::SIGWINCH);

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Whether this signal, about to be delivered to this thread, would natively have gone by unnoticed, and no other is about
/// to be handled.
pub(super) fn is_unseen(host_proc: BorrowedFd<'_>, tid: i32, signal: i32) -> bool {
    (1..=64).contains(&signal)
        && procfs::read(host_proc, &format!("{tid}/status"))
            .is_ok_and(|status| judge(&String::from_utf8_lossy(&status), signal))
}

/// The rest of a call that ended with some of its bytes, where without a signal it would have gone on waiting.
pub(super) fn rest(thread: &Arc<Thread>, regs: &Regs) -> Option<Forward> {
    let mut rest = args(regs);
    let sysno = Sysno::new(usize::try_from(regs.orig_rax).ok()?)?;
    let (done, wanted) = (regs.rax, rest[2]);
    if done == 0 || done >= wanted || done.cast_signed() < 0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a descriptor and flags are the registers' lower halves"
    )]
    let (fd, flags) = (rest[0] as u32 as i32, rest[3] as u32 as i32);
    let kind = thread.files().get(fd).ok()?.file.kind();
    let waits = match sysno {
        Sysno::write => matches!(kind, FileKind::Pipe | FileKind::Socket),
        // With an address it would have to be judged again; a stream takes none.
        Sysno::sendto => kind == FileKind::Socket && rest[4] == 0,
        Sysno::recvfrom => {
            let all = flags & (libc::MSG_WAITALL | libc::MSG_PEEK) == libc::MSG_WAITALL;
            all && kind == FileKind::Socket
        }
        _ => false,
    };
    if !waits || kind == FileKind::Socket && !is_stream(thread, fd) {
        return None;
    }
    rest[1] = rest[1].wrapping_add(done);
    rest[2] = wanted - done;
    // Where more does not come, what there was counts.
    let forward = Forward::new(sysno, rest).then(move |_, more| {
        let more = u64::try_from(more).unwrap_or(0);
        Ok(Outcome::Emulated(done.saturating_add(more)))
    });
    Some(forward)
}

/// Whether a socket carries bytes and no messages.
fn is_stream(thread: &Arc<Thread>, fd: i32) -> bool {
    ProcessGuest::stopped(thread)
        .borrow_file(fd)
        .map(Loan::from)
        .is_ok_and(|file| socket::kind(file.as_fd()) == Ok(libc::SOCK_STREAM))
}

fn judge(status: &str, signal: i32) -> bool {
    let set = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
    };
    let (Some(own), Some(shared), Some(blocked), Some(ignored), Some(caught)) = (
        set("SigPnd:"),
        set("ShdPnd:"),
        set("SigBlk:"),
        set("SigIgn:"),
        set("SigCgt:"),
    ) else {
        return false;
    };
    let unseen = ignored | (IGNORED_BY_DEFAULT & !caught);
    let coming = (own | shared) & !blocked & !unseen;
    unseen & bit(signal) != 0 && coming == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pending: u64, blocked: u64, ignored: u64, caught: u64) -> String {
        format!(
            "Name:\tx\nSigPnd:\t{pending:016x}\nShdPnd:\t0000000000000000\nSigBlk:\t{blocked:016x}\n\
             SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
        )
    }

    #[test]
    fn what_is_ignored_is_unseen_unless_something_else_comes() {
        let (child, alarm, user) = (bit(libc::SIGCHLD), bit(libc::SIGALRM), bit(libc::SIGUSR1));
        assert!(judge(&status(0, 0, 0, 0), libc::SIGCHLD));
        assert!(!judge(&status(0, 0, 0, child), libc::SIGCHLD));
        assert!(!judge(&status(0, 0, 0, 0), libc::SIGUSR1));
        assert!(judge(&status(0, 0, user, 0), libc::SIGUSR1));
        assert!(!judge(&status(alarm, 0, 0, alarm), libc::SIGCHLD));
        assert!(judge(&status(alarm, alarm, 0, alarm), libc::SIGCHLD));
        assert!(judge(&status(child, 0, 0, 0), libc::SIGCHLD));
        assert!(!judge(&status(0, 0, 0, 0), libc::SIGCONT));
        assert!(!judge("", libc::SIGCHLD));
    }
}
