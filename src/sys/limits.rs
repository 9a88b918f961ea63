//! Resource limits of other processes.
#![expect(
    unsafe_code,
    reason = "prlimit(2) has no safe wrapper for other processes"
)]

use super::privilege::{Capability, with, with_if_refused};
use crate::abi::Errno;

/// The soft `RLIMIT_NPROC` of a process; `None` where there is none, or no such process.
#[must_use]
pub fn nproc(pid: i32) -> Option<u64> {
    soft(pid, libc::RLIMIT_NPROC)
}

/// The soft `RLIMIT_NOFILE` of a process.
#[must_use]
pub fn nofile(pid: i32) -> Option<u64> {
    soft(pid, libc::RLIMIT_NOFILE)
}

fn soft(pid: i32, resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let read = || {
        // SAFETY: no new limit is passed; the old one goes to a live, exclusively borrowed structure.
        match unsafe { libc::prlimit64(pid, resource, std::ptr::null(), &raw mut limit) } {
            0 => Ok(()),
            _ => Err(Errno::last()),
        }
    };
    let result = with_if_refused(Capability::SYS_RESOURCE, read);
    (result.is_ok() && limit.rlim_cur != libc::RLIM64_INFINITY).then_some(limit.rlim_cur)
}

/// Raises this process's own soft `RLIMIT_NOFILE` to the hard one: it may hold a copy for each descriptor of a cage.
pub fn raise_own_nofile() {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both structures are live; a failure leaves the limit as it was.
    unsafe {
        if libc::prlimit64(0, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::prlimit64(
                0,
                libc::RLIMIT_NOFILE,
                &raw const limit,
                std::ptr::null_mut(),
            );
        }
    }
}

/// More numbers than a process's soft `RLIMIT_NOFILE` allows it, for as long as this lives: for descriptors that are
/// about only between two stops. The hard limit stays.
#[derive(Debug)]
pub struct MoreNumbers {
    pid: i32,
    old: libc::rlimit64,
}

impl MoreNumbers {
    /// Lends `count` numbers to a process; `None` where its hard limit forbids it.
    #[must_use]
    pub fn lend(pid: i32, count: u64) -> Option<Self> {
        let mut old = libc::rlimit64 {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: both structures are live; the first call only reads the limit, the second only sets it.
        let lent = with(Capability::SYS_RESOURCE, || unsafe {
            libc::prlimit64(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut old) == 0 && {
                let mut new = old;
                new.rlim_cur = old.rlim_cur.saturating_add(count).min(old.rlim_max);
                libc::prlimit64(
                    pid,
                    libc::RLIMIT_NOFILE,
                    &raw const new,
                    std::ptr::null_mut(),
                ) == 0
            }
        });
        lent.then_some(Self { pid, old })
    }
}

impl Drop for MoreNumbers {
    fn drop(&mut self) {
        // SAFETY: the structure is live; a process that is gone needs no limit.
        with(Capability::SYS_RESOURCE, || unsafe {
            libc::prlimit64(
                self.pid,
                libc::RLIMIT_NOFILE,
                &raw const self.old,
                std::ptr::null_mut(),
            )
        });
    }
}
