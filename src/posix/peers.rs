//! What a cage may ask of other processes, and what not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::process::{
    CLONE_FILES, CLONE_FS, CLONE_NEW, CLONE_SIGHAND, CLONE_THREAD, CLONE_VM, PIDFD_THREAD,
};
use super::{Ctx, Forward, Outcome, Role, SysResult, fd, proc};
use crate::abi::{Errno, Sysno};
use crate::cage::{FileKind, FsContext};
use crate::guest::{Addr, Fd};

const PTRACE_TRACEME: i64 = 0;
const PTRACE_ATTACH: i64 = 16;
const PTRACE_SEIZE: i64 = 0x4206;
const KCMP_FILE: i32 = 0;
const MPOL_MF_MOVE: i32 = 2;
const MPOL_MF_MOVE_ALL: i32 = 4;
const PIDFD_NONBLOCK: u32 = libc::O_NONBLOCK.cast_unsigned();
const CLONE_SYSVSEM: u64 = 0x4_0000;

/// See ptrace(2). A cage has one tracer already. `PTRACE_TRACEME` pretends, as the first time on Linux, to a program that
/// asks whether it is traced; to what a debugger forked and is about to execute it says no, or the debugger would wait for
/// a stop that never comes.
pub fn ptrace(cx: &Ctx<'_>, op: i64, pid: i32, _addr: Addr, _data: Addr) -> SysResult {
    match op {
        PTRACE_TRACEME if !cx.cage().pretence.executed() => Err(Errno::EPERM),
        PTRACE_TRACEME if cx.cage().pretence.traced.swap(true, Ordering::Relaxed) => {
            Err(Errno::EPERM)
        }
        PTRACE_TRACEME => Outcome::DONE,
        PTRACE_ATTACH | PTRACE_SEIZE if proc::exists(cx, pid) => Err(Errno::EPERM),
        // Nobody is traced by a cage.
        _ => Err(Errno::ESRCH),
    }
}

/// Whether the number is the calling process's own; those of others are there, or not. A process that is about to run a
/// call does not end meanwhile: its number stays its own until the kernel has looked.
fn own(cx: &Ctx<'_>, pid: i32) -> SysResult {
    if pid == proc::inner_pid(cx) {
        Ok(Outcome::Continue)
    } else if pid > 0 && proc::exists(cx, pid) {
        Err(Errno::EPERM)
    } else {
        Err(Errno::ESRCH)
    }
}

/// See process_vm_readv(2) and process_vm_writev(2).
pub fn process_vm(
    cx: &Ctx<'_>,
    pid: i32,
    _local_iov: Addr,
    _liovcnt: u64,
    _remote_iov: Addr,
    _riovcnt: u64,
    flags: u64,
) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    own(cx, pid)
}

/// See move_pages(2).
pub fn move_pages(
    cx: &Ctx<'_>,
    pid: i32,
    _count: u64,
    _pages: Addr,
    _nodes: Addr,
    _status: Addr,
    flags: i32,
) -> SysResult {
    if flags & !(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) != 0 {
        return Err(Errno::EINVAL);
    }
    if pid == 0 {
        return Ok(Outcome::Continue);
    }
    own(cx, pid)
}

/// See migrate_pages(2).
pub fn migrate_pages(
    cx: &Ctx<'_>,
    pid: i32,
    _maxnode: u64,
    _old_nodes: Addr,
    _new_nodes: Addr,
) -> SysResult {
    if pid == 0 {
        return Ok(Outcome::Continue);
    }
    own(cx, pid)
}

/// See kcmp(2). Which open file a number is, the virtual table says; the rest of one process is the kernel's own to compare.
pub fn kcmp(cx: &Ctx<'_>, pid1: i32, pid2: i32, ty: i32, idx1: u64, idx2: u64) -> SysResult {
    own(cx, pid1)?;
    let outcome = own(cx, pid2)?;
    if ty != KCMP_FILE {
        return Ok(outcome);
    }
    let file = |index: u64| {
        let number = i32::try_from(index).map_err(|_| Errno::EBADF)?;
        Ok::<_, Errno>(cx.descriptor(Fd(number))?.file)
    };
    let (first, second) = (file(idx1)?, file(idx2)?);
    // Linux orders them by where they lie, in a way of its own.
    let order = match Arc::as_ptr(&first).cmp(&Arc::as_ptr(&second)) {
        std::cmp::Ordering::Equal => 0u64,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Greater => 2,
    };
    Outcome::value(order)
}

/// See unshare(2).
pub fn unshare(cx: &Ctx<'_>, flags: u64) -> SysResult {
    const ALONE: u64 = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
    if flags & !(ALONE | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_NEW) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & CLONE_NEW != 0 {
        return Err(Errno::EPERM);
    }
    let mut forward = Forward::new(Sysno::unshare, [flags, 0, 0, 0, 0, 0]);
    if flags & CLONE_FILES != 0 && fd::shares_files(cx) {
        forward = forward.role(Role::Copy);
    }
    // Who shares handlers or memory with whom only the kernel knows: what is ours follows its yes.
    forward
        .then(move |cx, result| {
            if result == 0 && flags & CLONE_FS != 0 {
                cx.thread.set_fs(Arc::new(FsContext::copy(&cx.fs())));
            }
            Ok(Outcome::Continue)
        })
        .into()
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
    use crate::cage::{Thread, Tid};
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
    fn what_acts_on_a_process_by_number_acts_on_the_caller_alone() {
        let cage = TestCage::new();
        let own = u64::from(std::process::id());
        let nobody = u64::from(i32::MAX.cast_unsigned());
        for (call, args) in [
            ("process_vm_readv", [own, 0, 0, 0, 0, 0]),
            ("process_vm_writev", [own, 0, 0, 0, 0, 0]),
            ("move_pages", [own, 0, 0, 0, 0, 2]),
            ("move_pages", [0; 6]),
            ("migrate_pages", [own, 0, 0, 0, 0, 0]),
            ("migrate_pages", [0; 6]),
            ("kcmp", [own, own, 1, 0, 0, 0]),
        ] {
            let outcome = cage.outcome(call, &args);
            assert!(matches!(outcome, Ok(Outcome::Continue)), "{call}");
        }
        for call in ["process_vm_readv", "move_pages", "migrate_pages", "kcmp"] {
            assert_eq!(cage.call(call, &[1, own, 1, 0, 0, 0]), fails(Errno::EPERM));
            assert_eq!(
                cage.call(call, &[nobody, own, 1, 0, 0, 0]),
                fails(Errno::ESRCH)
            );
        }
        assert_eq!(
            cage.call("process_vm_readv", &[own, 0, 0, 0, 0, 1]),
            fails(Errno::EINVAL)
        );
        assert_eq!(cage.call("kcmp", &[own, own, 0, 0, 0]), fails(Errno::EBADF));
    }

    #[test]
    fn unshare_runs_in_the_cage_and_makes_no_namespace() {
        let cage = TestCage::new();
        let forwarded = |flags| match cage.outcome("unshare", &[flags]) {
            Ok(Outcome::Forward(forward)) => forward,
            other => panic!("{other:?}"),
        };
        assert_eq!(forwarded(CLONE_FILES).role, Role::Plain);
        let other = Thread::new(
            Tid(7),
            Arc::clone(&cage.thread.cage),
            cage.thread.files(),
            cage.thread.fs(),
        );
        cage.kernel.cages.write().insert(Arc::new(other));
        assert_eq!(forwarded(CLONE_FILES).role, Role::Copy);
        assert_eq!(forwarded(CLONE_THREAD | CLONE_SYSVSEM).role, Role::Plain);
        let fs = cage.thread.fs();
        for (result, split) in [(-22, false), (0, true)] {
            let then = forwarded(CLONE_FS).then.unwrap();
            let cx = Ctx::new(&cage.kernel, &cage.thread, &cage.ram, 0, [0; 6]);
            assert!(matches!(then(&cx, result), Ok(Outcome::Continue)));
            assert_eq!(!Arc::ptr_eq(&fs, &cage.thread.fs()), split);
        }
        for flags in [0x1000_0000, 0x2_0000, 0x80, 0x1000_0000 | CLONE_FS] {
            assert_eq!(cage.call("unshare", &[flags]), fails(Errno::EPERM));
        }
        for flags in [1, 1 << 40, 0x1000_0001] {
            assert_eq!(cage.call("unshare", &[flags]), fails(Errno::EINVAL));
        }
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
