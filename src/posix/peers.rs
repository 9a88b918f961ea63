//! What a cage may ask of other processes, and what not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Ctx, Outcome, SysResult, fd, proc};
use crate::abi::Errno;
use crate::cage::{FileKind, FsContext};
use crate::guest::Addr;

const PTRACE_TRACEME: i64 = 0;
const PTRACE_ATTACH: i64 = 16;
const PTRACE_SEIZE: i64 = 0x4206;
const PIDFD_NONBLOCK: u32 = libc::O_NONBLOCK.cast_unsigned();
const PIDFD_THREAD: u32 = libc::O_EXCL.cast_unsigned();

const CLONE_NEWTIME: u64 = 0x80;
const CLONE_VM: u64 = 0x100;
const CLONE_FS: u64 = 0x200;
const CLONE_FILES: u64 = 0x400;
const CLONE_SIGHAND: u64 = 0x800;
const CLONE_THREAD: u64 = 0x1_0000;
const CLONE_SYSVSEM: u64 = 0x4_0000;
/// NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWTIME.
const CLONE_NEW: u64 = CLONE_NEWTIME | 0x2_0000 | 0x200_0000 | 0x7c00_0000;

/// See ptrace(2). A cage has one tracer already; `PTRACE_TRACEME` pretends, as the first time on Linux.
pub fn ptrace(cx: &Ctx<'_>, op: i64, pid: i32, _addr: Addr, _data: Addr) -> SysResult {
    match op {
        PTRACE_TRACEME if cx.cage().pretence.traced.swap(true, Ordering::Relaxed) => {
            Err(Errno::EPERM)
        }
        PTRACE_TRACEME => Outcome::DONE,
        PTRACE_ATTACH | PTRACE_SEIZE if proc::exists(cx, pid) => Err(Errno::EPERM),
        // Nobody is traced by a cage.
        _ => Err(Errno::ESRCH),
    }
}

/// See unshare(2).
pub fn unshare(cx: &Ctx<'_>, flags: u64) -> SysResult {
    const ALONE: u64 = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
    if flags & !(ALONE | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_NEW) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & ALONE != 0 {
        let cages = cx.kernel.cages.read();
        let own = cages.threads().filter(|t| t.cage.id == cx.cage().id);
        // Who shares signal handlers or memory with another process, only the kernel knows; what it would refuse
        // must not be done by half here.
        let by_half =
            flags & (CLONE_FILES | CLONE_FS) != 0 && flags & (CLONE_SIGHAND | CLONE_VM) != 0;
        if own.count() > 1 || by_half {
            return Err(Errno::EINVAL);
        }
    }
    if flags & CLONE_NEW != 0 {
        return Err(Errno::EPERM);
    }
    if flags & CLONE_FILES != 0 {
        fd::unshare_files(cx);
    }
    if flags & CLONE_FS != 0 {
        cx.thread.set_fs(Arc::new(FsContext::copy(&cx.fs())));
    }
    Ok(Outcome::Continue)
}

/// See pidfd_open(2).
pub fn pidfd_open(cx: &Ctx<'_>, pid: i32, flags: u32) -> SysResult {
    if flags & !(PIDFD_NONBLOCK | PIDFD_THREAD) != 0 || pid <= 0 {
        return Err(Errno::EINVAL);
    }
    let host = proc::pidfd(cx, pid, flags)?;
    // A pid descriptor is close-on-exec from birth.
    Outcome::value(cx.grant(FileKind::Event, "anon_inode:[pidfd]", host, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posix::bench_cage::{TestCage, fails};

    #[test]
    fn a_program_may_ask_once_to_be_traced() {
        let cage = TestCage::new();
        assert_eq!(cage.call("ptrace", &[0, 0, 0, 0]), 0);
        assert_eq!(cage.call("ptrace", &[0, 0, 0, 0]), fails(Errno::EPERM));
        assert_eq!(cage.call("ptrace", &[16, 1, 0, 0]), fails(Errno::EPERM));
        let nobody = u64::from(i32::MAX.cast_unsigned());
        assert_eq!(
            cage.call("ptrace", &[16, nobody, 0, 0]),
            fails(Errno::ESRCH)
        );
        assert_eq!(cage.call("ptrace", &[2, 1, 0, 0]), fails(Errno::ESRCH));
    }

    #[test]
    fn unshare_splits_tables_and_makes_no_namespace() {
        let cage = TestCage::new();
        let (files, fs) = (cage.thread.files(), cage.thread.fs());
        assert_eq!(cage.call("unshare", &[CLONE_FILES]), 0);
        assert!(!Arc::ptr_eq(&files, &cage.thread.files()));
        assert!(Arc::ptr_eq(&fs, &cage.thread.fs()));
        assert_eq!(cage.call("unshare", &[CLONE_FS | CLONE_SYSVSEM]), 0);
        assert!(!Arc::ptr_eq(&fs, &cage.thread.fs()));
        for flags in [0x1000_0000, 0x2_0000, CLONE_NEWTIME, 0x1000_0000 | CLONE_FS] {
            assert_eq!(cage.call("unshare", &[flags]), fails(Errno::EPERM));
        }
        for flags in [1, 1 << 40, CLONE_VM | CLONE_FS] {
            assert_eq!(cage.call("unshare", &[flags]), fails(Errno::EINVAL));
        }
        assert_eq!(cage.call("unshare", &[0]), 0);
        assert_eq!(cage.call("unshare", &[CLONE_THREAD]), 0);
    }

    #[test]
    fn a_pidfd_is_of_the_run_alone() {
        let cage = TestCage::new();
        let own = u64::from(std::process::id());
        assert_eq!(cage.call("pidfd_open", &[own, 0]), 0);
        assert!(cage.cloexec(0));
        assert_eq!(cage.call("pidfd_open", &[1, 0]), fails(Errno::ESRCH));
        assert_eq!(cage.call("pidfd_open", &[own, 1]), fails(Errno::EINVAL));
        for pid in [0, u64::from(u32::MAX)] {
            assert_eq!(cage.call("pidfd_open", &[pid, 0]), fails(Errno::EINVAL));
        }
        assert_eq!(cage.numbers(), vec![0]);
    }
}
