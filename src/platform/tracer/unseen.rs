//! Signals that only a tracer sees. Natively a signal that is ignored wakes nobody; a traced thread is woken to show it,
//! and calls that never restart (epoll_wait, a receive with a time-out) would end with EINTR. Those are made again.

use std::os::fd::BorrowedFd;

use crate::sys::procfs;

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
