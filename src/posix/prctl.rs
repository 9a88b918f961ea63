//! prctl(2): an allow-list. Most of it is the caller's own and harmless, and the kernel's answer is right.

use std::sync::atomic::Ordering;

use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::guest::Addr;

const PR_SET_PTRACER: i32 = 0x5961_6d61;
const PR_SET_VMA: i32 = 0x5356_4d41;
const PR_GET_AUXV: i32 = 0x4155_5856;
const PR_SET_IO_FLUSHER: i32 = 57;
const PR_GET_IO_FLUSHER: i32 = 58;
const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;
const PR_GET_MEMORY_MERGE: i32 = 68;
const PR_GET_MDWE: i32 = 66;

/// See arch_prctl(2): the caller's own registers and features, by registers or into the caller's memory.
pub fn arch_prctl(_cx: &Ctx<'_>, _op: i32, _addr: Addr) -> SysResult {
    Ok(Outcome::Continue)
}

/// See prctl(2).
pub fn prctl(cx: &Ctx<'_>, op: i32, arg2: u64, _arg3: u64, _arg4: u64, _arg5: u64) -> SysResult {
    let dumpable = &cx.cage().pretence.dumpable;
    match op {
        // Pretended: the kernel's flag decides who may read the process's memory and /proc, the supervisor among them.
        libc::PR_SET_DUMPABLE if arg2 > 1 => Err(Errno::EINVAL),
        libc::PR_SET_DUMPABLE => {
            dumpable.store(arg2 == 1, Ordering::Relaxed);
            Outcome::DONE
        }
        libc::PR_GET_DUMPABLE => Outcome::value(u8::from(dumpable.load(Ordering::Relaxed))),
        // The run's filter is not the program's business; one of its own could shadow it.
        libc::PR_GET_SECCOMP => Outcome::DONE,
        libc::PR_SET_SECCOMP | PR_SET_SYSCALL_USER_DISPATCH => Err(Errno::EINVAL),
        // Whom Yama lets trace: nobody may here, whatever is said.
        PR_SET_PTRACER => Outcome::DONE,
        // As on Linux without the capability; with PR_SET_MM_MAP none is needed there, but it moves what we look at.
        libc::PR_SET_MM | PR_SET_IO_FLUSHER | PR_GET_IO_FLUSHER => Err(Errno::EPERM),
        // It cannot be taken back, and would forbid what the platform must do in the cage's memory.
        PR_GET_MDWE => Outcome::DONE,
        // Names, death signals, reaping, slack, capabilities that it has not, secure bits, machine checks, counters,
        // time stamps, speculation, the auxiliary vector: the kernel's own, by registers or into the caller's memory.
        libc::PR_SET_PDEATHSIG
        | libc::PR_GET_PDEATHSIG
        | libc::PR_SET_KEEPCAPS
        | libc::PR_GET_KEEPCAPS
        | libc::PR_GET_TIMING
        | libc::PR_SET_TIMING
        | libc::PR_SET_NAME
        | libc::PR_GET_NAME
        | libc::PR_CAPBSET_READ
        | libc::PR_CAPBSET_DROP
        | libc::PR_GET_TSC
        | libc::PR_SET_TSC
        | libc::PR_GET_SECUREBITS
        | libc::PR_SET_SECUREBITS
        | libc::PR_SET_TIMERSLACK
        | libc::PR_GET_TIMERSLACK
        | libc::PR_TASK_PERF_EVENTS_DISABLE
        | libc::PR_TASK_PERF_EVENTS_ENABLE
        | libc::PR_MCE_KILL
        | libc::PR_MCE_KILL_GET
        | libc::PR_SET_CHILD_SUBREAPER
        | libc::PR_GET_CHILD_SUBREAPER
        | libc::PR_SET_NO_NEW_PRIVS
        | libc::PR_GET_NO_NEW_PRIVS
        | libc::PR_GET_TID_ADDRESS
        | libc::PR_SET_THP_DISABLE
        | libc::PR_GET_THP_DISABLE
        | libc::PR_CAP_AMBIENT
        | libc::PR_GET_SPECULATION_CTRL
        | libc::PR_SET_SPECULATION_CTRL
        | PR_GET_MEMORY_MERGE
        | PR_SET_VMA
        | PR_GET_AUXV => Ok(Outcome::Continue),
        // Other machines', those that act on other processes (core scheduling), and the unknown.
        _ => Err(Errno::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cage::Tid;
    use crate::posix::bench_cage::{TestCage, fails};

    #[test]
    fn dumpable_is_remembered_inherited_and_reset_by_exec() {
        let cage = TestCage::new();
        assert_eq!(cage.call("prctl", &[3]), 1);
        assert_eq!(cage.call("prctl", &[4, 2]), fails(Errno::EINVAL));
        assert_eq!(cage.call("prctl", &[4, 0]), 0);
        assert_eq!(cage.call("prctl", &[3]), 0);
        let child = cage.fork(Tid(2));
        assert_eq!(child.call("prctl", &[3]), 0);
        child.thread.cage.set_program(b"/bin/true");
        assert_eq!(child.call("prctl", &[3]), 1);
        assert_eq!(cage.call("prctl", &[3]), 0);
    }

    #[test]
    fn what_could_harm_the_run_is_refused() {
        let cage = TestCage::new();
        for (op, errno) in [
            (22, Errno::EINVAL),
            (59, Errno::EINVAL),
            (35, Errno::EPERM),
            (57, Errno::EPERM),
            (62, Errno::EINVAL),
            (65, Errno::EINVAL),
            (0x7fff_ffff, Errno::EINVAL),
        ] {
            assert_eq!(cage.call("prctl", &[op, 1]), fails(errno), "{op}");
        }
        assert_eq!(cage.call("prctl", &[21]), 0);
        let named = cage.outcome("prctl", &[15, 0]);
        assert!(matches!(named, Ok(Outcome::Continue)));
        let traced = cage.outcome("prctl", &[u64::from(PR_SET_PTRACER.cast_unsigned()), 1]);
        assert!(matches!(traced, Ok(Outcome::Emulated(0))));
    }
}
