//! fork, vfork, clone, clone3: the kernel makes the child, the platform gives it its entry in the cage table. A pid
//! descriptor that comes with it is made here, once the child is there.

use super::{Ctx, Forward, Outcome, Role, SysResult, proc};
use crate::abi::layout::CloneArgs;
use crate::abi::{Errno, Sysno};
use crate::cage::{FileKind, Sharing};
use crate::guest::{Addr, UserIn};

const CSIGNAL: u64 = 0xff;
pub(super) const CLONE_FS: u64 = 0x200;
pub(super) const CLONE_FILES: u64 = 0x400;
pub(super) const CLONE_VM: u64 = 0x100;
pub(super) const CLONE_SIGHAND: u64 = 0x800;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_PTRACE: u64 = 0x2000;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_NEWNS: u64 = 0x2_0000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_DETACHED: u64 = 0x40_0000;
const CLONE_NEWUSER: u64 = 0x1000_0000;
const CLONE_NEWPID: u64 = 0x2000_0000;
/// Of pidfd_open(2): a thread, not its process.
pub(super) const PIDFD_THREAD: u32 = libc::O_EXCL.cast_unsigned();
pub(super) const CLONE_THREAD: u64 = 0x1_0000;
const CLONE_UNTRACED: u64 = 0x80_0000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
pub(super) const CLONE_NEW: u64 = 0x80 | 0x2_0000 | 0x200_0000 | 0x7c00_0000;

/// See fork(2).
pub fn fork(cx: &Ctx<'_>) -> SysResult {
    limit_processes(cx)?;
    make(cx, Sysno::fork, [0; 6], Sharing::default())
}

/// See vfork(2).
pub fn vfork(cx: &Ctx<'_>) -> SysResult {
    limit_processes(cx)?;
    let sharing = Sharing {
        memory: true,
        awaited: true,
        ..Sharing::default()
    };
    make(cx, Sysno::vfork, [0; 6], sharing)
}

/// See clone(2).
pub fn clone(
    cx: &Ctx<'_>,
    flags: u64,
    stack: Addr,
    parent_tid: Addr,
    child_tid: Addr,
    tls: Addr,
) -> SysResult {
    // The kernel reads 32 bits here. Where a pid descriptor goes is where the child's number would.
    let flags = flags & 0xffff_ffff;
    if flags & CLONE_PIDFD != 0 && flags & CLONE_PARENT_SETTID != 0 {
        return Err(Errno::EINVAL);
    }
    clone_with(
        cx,
        flags,
        [stack.0, parent_tid.0, child_tid.0, tls.0],
        parent_tid.0,
    )
}

/// See clone3(2): decoded from one copy and run as clone(2), whose arguments are registers alone.
pub fn clone3(cx: &Ctx<'_>, cl_args: UserIn, size: usize) -> SysResult {
    const FIRST_SIZE: usize = 64;
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    if size < FIRST_SIZE {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0u8; size.max(size_of::<CloneArgs>())];
    cx.guest
        .read_exact(cl_args.0, bytes.get_mut(..size).unwrap_or_default())?;
    let (known, unknown) = bytes.split_at(size_of::<CloneArgs>());
    if unknown.iter().any(|&byte| byte != 0) {
        return Err(Errno::E2BIG);
    }
    let args: CloneArgs = zerocopy::FromBytes::read_from_bytes(known).map_err(|_| Errno::EINVAL)?;
    // clone(2) can neither choose pids or a cgroup, nor clear handlers: libc falls back.
    if args.set_tid != 0
        || args.set_tid_size != 0
        || args.flags & (CLONE_INTO_CGROUP | CLONE_CLEAR_SIGHAND) != 0
    {
        return Err(Errno::ENOSYS);
    }
    if args.flags & CSIGNAL != 0 || args.flags >> 32 != 0 || args.exit_signal & !CSIGNAL != 0 {
        return Err(Errno::EINVAL);
    }
    if (args.stack == 0) != (args.stack_size == 0) {
        return Err(Errno::EINVAL);
    }
    let both = CLONE_PIDFD | CLONE_PARENT_SETTID;
    if args.flags & both == both && args.pidfd == args.parent_tid {
        return Err(Errno::EINVAL);
    }
    let stack = args
        .stack
        .checked_add(args.stack_size)
        .ok_or(Errno::EINVAL)?;
    clone_with(
        cx,
        args.flags | args.exit_signal,
        [stack, args.parent_tid, args.child_tid, args.tls],
        args.pidfd,
    )
}

/// What no child can be asked to share or to have of its own, as Linux looks at it first.
fn is_possible(flags: u64) -> bool {
    let all = |bits: u64| flags & bits == bits;
    !(all(CLONE_NEWNS | CLONE_FS)
        || all(CLONE_NEWUSER | CLONE_FS)
        || flags & CLONE_THREAD != 0 && flags & CLONE_SIGHAND == 0
        || flags & CLONE_SIGHAND != 0 && flags & CLONE_VM == 0
        || flags & CLONE_THREAD != 0 && flags & (CLONE_NEWUSER | CLONE_NEWPID) != 0
        || all(CLONE_PIDFD | CLONE_DETACHED))
}

fn clone_with(
    cx: &Ctx<'_>,
    flags: u64,
    [stack, parent, child, tls]: [u64; 4],
    pidfd_at: u64,
) -> SysResult {
    if !is_possible(flags) {
        return Err(Errno::EINVAL);
    }
    if flags & CLONE_NEW != 0 {
        return Err(Errno::EPERM);
    }
    limit_processes(cx)?;
    let pidfd = (flags & CLONE_PIDFD != 0).then_some(PidFd {
        at: pidfd_at,
        flags: if flags & CLONE_THREAD != 0 {
            PIDFD_THREAD
        } else {
            0
        },
    });
    if let Some(pidfd) = &pidfd {
        pidfd.prepare(cx)?;
    }
    let sharing = Sharing {
        thread: flags & CLONE_THREAD != 0,
        memory: flags & CLONE_VM != 0,
        awaited: flags & CLONE_VFORK != 0,
        files: flags & CLONE_FILES != 0,
        fs: flags & CLONE_FS != 0,
    };
    // A child that is not attached would run what passes unseen.
    let flags = flags & !(CLONE_UNTRACED | CLONE_PTRACE | CLONE_PIDFD);
    let forward =
        Forward::new(Sysno::clone, [flags, stack, parent, child, tls, 0]).role(Role::Fork(sharing));
    match pidfd {
        None => forward.into(),
        Some(pidfd) => forward.then(move |cx, child| pidfd.give(cx, child)).into(),
    }
}

/// A pid descriptor that a clone asked for: the kernel's own would be at a number that nobody here knows of.
struct PidFd {
    /// Where its number goes.
    at: u64,
    flags: u32,
}

impl PidFd {
    /// What would fail with it fails before there is a child.
    fn prepare(&self, cx: &Ctx<'_>) -> Result<(), Errno> {
        if !cx.has_room(1) {
            return Err(Errno::EMFILE);
        }
        let mut before = [0; 4];
        cx.guest.read_exact(self.at, &mut before)?;
        cx.guest.write_all(self.at, &before)
    }

    /// The child is there, stopped or dead at most: only its maker can reap it.
    fn give(self, cx: &Ctx<'_>, child: i64) -> SysResult {
        let Some(pid) = i32::try_from(child).ok().filter(|&pid| pid > 0) else {
            return Ok(Outcome::Continue);
        };
        if cx.begin_change().is_err() {
            // The table is being copied: a moment later, whatever signals come.
            return Forward::new(Sysno::poll, [0, 0, 1, 0, 0, 0])
                .then(move |cx, _| self.give(cx, child))
                .into();
        }
        let number = proc::pidfd(cx, pid, self.flags)
            .and_then(|file| cx.grant(FileKind::Event, "anon_inode:[pidfd]", file, true));
        // A reaper that ignores SIGCHLD may have lost it already, another thread taken the last number.
        let number = number.unwrap_or(-1);
        let _ = cx.guest.write_all(self.at, &number.to_ne_bytes());
        Outcome::value(pid)
    }
}

fn make(_cx: &Ctx<'_>, sysno: Sysno, args: [u64; 6], sharing: Sharing) -> SysResult {
    Ok(Outcome::Forward(
        Forward::new(sysno, args).role(Role::Fork(sharing)),
    ))
}

/// The run's own limit, where the supervisor keeps it, and `RLIMIT_NPROC`, which the kernel does not apply to the host's
/// root: in such a run it is counted here, for the run.
fn limit_processes(cx: &Ctx<'_>) -> Result<(), Errno> {
    let of_process = if cx.kernel.host_root {
        crate::sys::limits::nproc(cx.cage().tgid.0)
    } else {
        None
    };
    let Some(limit) = of_process.into_iter().chain(cx.kernel.pids_limit).min() else {
        return Ok(());
    };
    if cx.kernel.cages.write().may_bear(cx.thread, limit) {
        Ok(())
    } else {
        Err(Errno::EAGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_namespaces_are_told_from_what_threads_share() {
        assert_eq!(
            CLONE_NEW & (CLONE_FILES | CLONE_FS | CLONE_THREAD | CLONE_UNTRACED),
            0
        );
        assert_eq!(CLONE_NEW & 0x1000_0000, 0x1000_0000, "CLONE_NEWUSER");
    }
}
