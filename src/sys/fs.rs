//! Files by name: the host's calls on (directory, path), each one call and no more. What a path means to a cage is
//! decided above; the only state here is a thread's own umask and working directory, which no other thread sees.
#![expect(unsafe_code, reason = "system calls by number, with pointers")]

use std::cell::Cell;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use syscalls::syscall;
use zerocopy::FromZeros;

use super::privilege::{Capability, with_if_refused};
use crate::abi::layout::{OpenHow, Rlimit, Stat, Statx, Timespec};
use crate::abi::{Errno, Sysno};

/// The longest symbolic link's text, or path, that the kernel gives back.
const LINK_MAX: usize = 4096;
/// The size of x86_64's `struct statfs`.
pub const STATFS_SIZE: usize = 120;
/// The file system type of /proc.
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// The file system type of what pipe(2) makes.
const PIPEFS_MAGIC: i64 = 0x5049_5045;

fn owned(fd: usize) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us, nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// openat2(2).
///
/// # Errors
/// Those of the call.
pub fn open(dir: BorrowedFd<'_>, path: &CStr, how: OpenHow) -> Result<OwnedFd, Errno> {
    // SAFETY: `path` is NUL-terminated and `how` is a whole open_how of the size given; both outlive the call.
    let fd = unsafe {
        syscall!(
            Sysno::openat2,
            dir.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<OpenHow>()
        )
    }?;
    owned(fd)
}

/// A place: openat2(2) with `O_PATH`, no magic link followed.
///
/// # Errors
/// Those of the call.
pub fn open_place(dir: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    let flags = u64::from((flags | libc::O_PATH | libc::O_CLOEXEC).cast_unsigned());
    let how = OpenHow {
        flags,
        mode: 0,
        resolve: libc::RESOLVE_NO_MAGICLINKS,
    };
    open(dir, path, how)
}

/// Whether the path, with no symbolic link anywhere in it, is there.
///
/// # Errors
/// `ELOOP` where a symbolic link is met; otherwise those of openat2(2).
pub fn probe_without_symlinks(dir: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let how = OpenHow {
        flags: u64::from((libc::O_PATH | libc::O_CLOEXEC).cast_unsigned()),
        mode: 0,
        resolve: libc::RESOLVE_NO_SYMLINKS,
    };
    open(dir, path, how).map(drop)
}

/// newfstatat(2).
///
/// # Errors
/// Those of the call.
pub fn stat(dir: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<Stat, Errno> {
    let mut stat = Stat::new_zeroed();
    // SAFETY: `path` is NUL-terminated, `stat` is a whole struct stat that the kernel may fill.
    unsafe {
        syscall!(
            Sysno::newfstatat,
            dir.as_raw_fd(),
            path.as_ptr(),
            &raw mut stat,
            flags
        )
    }?;
    Ok(stat)
}

/// fstat(2).
///
/// # Errors
/// Those of the call.
pub fn fstat(file: BorrowedFd<'_>) -> Result<Stat, Errno> {
    let mut stat = Stat::new_zeroed();
    // SAFETY: `stat` is a whole struct stat that the kernel may fill.
    unsafe { syscall!(Sysno::fstat, file.as_raw_fd(), &raw mut stat) }?;
    Ok(stat)
}

/// statx(2).
///
/// # Errors
/// Those of the call.
pub fn statx(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mask: u32) -> Result<Statx, Errno> {
    let mut statx = Statx::new_zeroed();
    // SAFETY: `path` is NUL-terminated, `statx` is a whole struct statx that the kernel may fill.
    unsafe {
        syscall!(
            Sysno::statx,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            mask,
            &raw mut statx
        )
    }?;
    Ok(statx)
}

/// The id of the mount that an open file lies on.
///
/// # Errors
/// Those of statx(2); `ENOSYS` where the kernel does not tell.
pub fn mount_id(file: BorrowedFd<'_>) -> Result<u64, Errno> {
    const STATX_MNT_ID: u32 = 0x1000;
    let statx = statx(file, c"", libc::AT_EMPTY_PATH, STATX_MNT_ID)?;
    if statx.mask & STATX_MNT_ID == 0 {
        return Err(Errno::ENOSYS);
    }
    Ok(statx.mnt_id)
}

/// statfs(2) in the thread's directory, see [`in_dir`]; the bytes of a `struct statfs`.
///
/// # Errors
/// Those of the call.
pub fn statfs(path: &CStr) -> Result<[u8; STATFS_SIZE], Errno> {
    let mut bytes = [0u8; STATFS_SIZE];
    // SAFETY: `path` is NUL-terminated, `bytes` is as long as a struct statfs.
    unsafe { syscall!(Sysno::statfs, path.as_ptr(), bytes.as_mut_ptr()) }?;
    Ok(bytes)
}

/// fstatfs(2): the bytes of a `struct statfs`.
///
/// # Errors
/// Those of the call.
pub fn fstatfs(file: BorrowedFd<'_>) -> Result<[u8; STATFS_SIZE], Errno> {
    let mut bytes = [0u8; STATFS_SIZE];
    // SAFETY: `bytes` is as long as a struct statfs.
    unsafe { syscall!(Sysno::fstatfs, file.as_raw_fd(), bytes.as_mut_ptr()) }?;
    Ok(bytes)
}

fn has_type(file: BorrowedFd<'_>, magic: i64) -> bool {
    fstatfs(file).is_ok_and(|bytes| {
        bytes
            .first_chunk::<8>()
            .is_some_and(|kind| i64::from_ne_bytes(*kind) == magic)
    })
}

/// Whether the file lies on a proc file system.
#[must_use]
pub fn is_on_procfs(file: BorrowedFd<'_>) -> bool {
    has_type(file, PROC_SUPER_MAGIC)
}

/// Whether the file is a pipe without a name.
#[must_use]
pub fn is_on_pipefs(file: BorrowedFd<'_>) -> bool {
    has_type(file, PIPEFS_MAGIC)
}

/// faccessat2(2).
///
/// # Errors
/// Those of the call.
pub fn access(dir: BorrowedFd<'_>, path: &CStr, mode: i32, flags: i32) -> Result<(), Errno> {
    // SAFETY: `path` is NUL-terminated.
    unsafe {
        syscall!(
            Sysno::faccessat2,
            dir.as_raw_fd(),
            path.as_ptr(),
            mode,
            flags
        )
    }
    .map(drop)
}

/// readlinkat(2): the whole text.
///
/// # Errors
/// Those of the call.
pub fn readlink(dir: BorrowedFd<'_>, path: &CStr) -> Result<Vec<u8>, Errno> {
    let mut text = vec![0u8; LINK_MAX];
    // SAFETY: `path` is NUL-terminated, `text` is as long as said.
    let len = unsafe {
        syscall!(
            Sysno::readlinkat,
            dir.as_raw_fd(),
            path.as_ptr(),
            text.as_mut_ptr(),
            text.len()
        )
    }?;
    text.truncate(len);
    Ok(text)
}

/// mkdirat(2).
///
/// # Errors
/// Those of the call.
pub fn mkdir(dir: BorrowedFd<'_>, path: &CStr, mode: u32) -> Result<(), Errno> {
    // SAFETY: `path` is NUL-terminated.
    unsafe { syscall!(Sysno::mkdirat, dir.as_raw_fd(), path.as_ptr(), mode) }.map(drop)
}

/// mknodat(2).
///
/// # Errors
/// Those of the call.
pub fn mknod(dir: BorrowedFd<'_>, path: &CStr, mode: u32, device: u32) -> Result<(), Errno> {
    // SAFETY: `path` is NUL-terminated.
    unsafe { syscall!(Sysno::mknodat, dir.as_raw_fd(), path.as_ptr(), mode, device) }.map(drop)
}

/// unlinkat(2).
///
/// # Errors
/// Those of the call.
pub fn unlink(dir: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<(), Errno> {
    // SAFETY: `path` is NUL-terminated.
    unsafe { syscall!(Sysno::unlinkat, dir.as_raw_fd(), path.as_ptr(), flags) }.map(drop)
}

/// symlinkat(2).
///
/// # Errors
/// Those of the call.
pub fn symlink(target: &CStr, dir: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    // SAFETY: both strings are NUL-terminated.
    unsafe {
        syscall!(
            Sysno::symlinkat,
            target.as_ptr(),
            dir.as_raw_fd(),
            path.as_ptr()
        )
    }
    .map(drop)
}

/// linkat(2).
///
/// # Errors
/// Those of the call.
pub fn link(
    from: (BorrowedFd<'_>, &CStr),
    to: (BorrowedFd<'_>, &CStr),
    flags: i32,
) -> Result<(), Errno> {
    // SAFETY: both paths are NUL-terminated.
    unsafe {
        syscall!(
            Sysno::linkat,
            from.0.as_raw_fd(),
            from.1.as_ptr(),
            to.0.as_raw_fd(),
            to.1.as_ptr(),
            flags
        )
    }
    .map(drop)
}

/// renameat2(2).
///
/// # Errors
/// Those of the call.
pub fn rename(
    from: (BorrowedFd<'_>, &CStr),
    to: (BorrowedFd<'_>, &CStr),
    flags: u32,
) -> Result<(), Errno> {
    // SAFETY: both paths are NUL-terminated.
    unsafe {
        syscall!(
            Sysno::renameat2,
            from.0.as_raw_fd(),
            from.1.as_ptr(),
            to.0.as_raw_fd(),
            to.1.as_ptr(),
            flags
        )
    }
    .map(drop)
}

/// fchmodat(2), and fchmodat2(2) where flags are given.
///
/// # Errors
/// Those of the call.
pub fn chmod(dir: BorrowedFd<'_>, path: &CStr, mode: u32, flags: i32) -> Result<(), Errno> {
    // The number is fchmodat2's, new in Linux 6.6.
    const FCHMODAT2: i32 = 452;
    if flags == 0 {
        // SAFETY: `path` is NUL-terminated.
        return unsafe { syscall!(Sysno::fchmodat, dir.as_raw_fd(), path.as_ptr(), mode) }
            .map(drop);
    }
    // SAFETY: `path` is NUL-terminated.
    unsafe {
        raw4(
            FCHMODAT2,
            dir.as_raw_fd(),
            path.as_ptr().addr(),
            mode as usize,
            flags,
        )
    }
}

/// A call by number that `Sysno` may not know.
///
/// # Safety
/// The call's pointers must be valid for it.
unsafe fn raw4(nr: i32, dir: RawFd, path: usize, third: usize, fourth: i32) -> Result<(), Errno> {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(i64::from(nr), dir, path, third, fourth) };
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(())
    }
}

/// fchmod(2).
///
/// # Errors
/// Those of the call.
pub fn fchmod(file: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    // SAFETY: registers alone.
    unsafe { syscall!(Sysno::fchmod, file.as_raw_fd(), mode) }.map(drop)
}

/// fchown(2).
///
/// # Errors
/// Those of the call.
pub fn fchown(file: BorrowedFd<'_>, owner: u32, group: u32) -> Result<(), Errno> {
    // SAFETY: registers alone.
    unsafe { syscall!(Sysno::fchown, file.as_raw_fd(), owner, group) }.map(drop)
}

/// fchownat(2).
///
/// # Errors
/// Those of the call.
pub fn chown(
    dir: BorrowedFd<'_>,
    path: &CStr,
    owner: u32,
    group: u32,
    flags: i32,
) -> Result<(), Errno> {
    // SAFETY: `path` is NUL-terminated.
    unsafe {
        syscall!(
            Sysno::fchownat,
            dir.as_raw_fd(),
            path.as_ptr(),
            owner,
            group,
            flags
        )
    }
    .map(drop)
}

/// utimensat(2); without a path on the file itself, without times to now.
///
/// # Errors
/// Those of the call.
pub fn utimens(
    dir: BorrowedFd<'_>,
    path: Option<&CStr>,
    times: Option<&[Timespec; 2]>,
    flags: i32,
) -> Result<(), Errno> {
    let path = path.map_or(std::ptr::null(), CStr::as_ptr);
    let times = times.map_or(std::ptr::null(), |times| times.as_ptr());
    // SAFETY: `path` is null or NUL-terminated, `times` is null or two timespecs.
    unsafe { syscall!(Sysno::utimensat, dir.as_raw_fd(), path, times, flags) }.map(drop)
}

/// truncate(2) in the thread's directory, see [`in_dir`].
///
/// # Errors
/// Those of the call.
pub fn truncate(path: &CStr, length: i64) -> Result<(), Errno> {
    // SAFETY: `path` is NUL-terminated.
    unsafe { syscall!(Sysno::truncate, path.as_ptr(), length) }.map(drop)
}

/// fcntl(2), `F_SETFL`.
///
/// # Errors
/// Those of the call.
pub fn set_status_flags(file: BorrowedFd<'_>, flags: i32) -> Result<(), Errno> {
    // SAFETY: registers alone.
    unsafe { syscall!(Sysno::fcntl, file.as_raw_fd(), libc::F_SETFL, flags) }.map(drop)
}

/// Whether the file is a terminal.
#[must_use]
pub fn is_terminal(file: BorrowedFd<'_>) -> bool {
    let mut termios = MaybeUninit::<libc::termios2>::uninit();
    // SAFETY: `termios` is larger than the struct termios that TCGETS writes; it is not read.
    unsafe {
        syscall!(
            Sysno::ioctl,
            file.as_raw_fd(),
            libc::TCGETS,
            termios.as_mut_ptr()
        )
    }
    .is_ok()
}

/// A memfd with this content, read-only from the first: written, sealed, opened again through `host_proc`.
///
/// # Errors
/// Those of memfd_create(2), write(2), fcntl(2) and openat2(2).
pub fn snapshot(host_proc: BorrowedFd<'_>, content: &[u8]) -> Result<OwnedFd, Errno> {
    use std::io::Write;
    // SAFETY: the name is NUL-terminated.
    let fd = unsafe {
        syscall!(
            Sysno::memfd_create,
            SNAPSHOT_NAME.as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING
        )
    }?;
    let mut file = std::fs::File::from(owned(fd)?);
    file.write_all(content)
        .map_err(|error| Errno::from_io_error(error).unwrap_or(Errno::EIO))?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: registers alone.
    unsafe { syscall!(Sysno::fcntl, file.as_raw_fd(), libc::F_ADD_SEALS, seals) }?;
    let name = own_name(file.as_raw_fd());
    let how = OpenHow {
        flags: u64::from((libc::O_RDONLY | libc::O_CLOEXEC).cast_unsigned()),
        mode: 0,
        resolve: 0,
    };
    open(host_proc, &name, how)
}

/// What the memfd of a doctored proc file is called.
pub const SNAPSHOT_NAME: &CStr = c"proc";

/// The name, below the host's /proc, of one of the supervisor's own descriptors.
#[must_use]
pub fn own_name(fd: RawFd) -> std::ffi::CString {
    std::ffi::CString::new(format!("self/fd/{fd}")).unwrap_or_default()
}

/// A limit of another process.
///
/// # Errors
/// Those of prlimit64(2).
pub fn limit_of(pid: i32, resource: u32) -> Result<Rlimit, Errno> {
    let mut limit = Rlimit::default();
    with_if_refused(Capability::SYS_RESOURCE, || {
        // SAFETY: no new limit is set, `limit` is a whole struct rlimit64.
        unsafe { syscall!(Sysno::prlimit64, pid, resource, 0, &raw mut limit) }
    })?;
    Ok(limit)
}

/// Sends a signal to a thread.
///
/// # Errors
/// Those of tgkill(2).
pub fn signal_thread(tgid: i32, tid: i32, signal: i32) -> Result<(), Errno> {
    let call = || {
        // SAFETY: registers alone.
        unsafe { syscall!(Sysno::tgkill, tgid, tid, signal) }.map(drop)
    };
    with_if_refused(Capability::KILL, call)
}

/// Copies an open file out of another process.
///
/// # Errors
/// Those of pidfd_getfd(2).
pub fn file_of(process: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: registers alone.
    owned(unsafe { syscall!(Sysno::pidfd_getfd, process.as_raw_fd(), fd, 0) }?)
}

/// Whether nothing and nobody was ever at the other end of this FIFO since it was opened for reading without waiting.
#[must_use]
pub fn nobody_wrote(fifo: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd {
        fd: fifo.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one whole pollfd.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    if ready != 0 {
        // Bytes, or a hang-up: a writer came, and may have gone.
        return false;
    }
    // tee(2) tells an absent writer (0) from a silent one (EAGAIN) and takes nothing out.
    let Ok((_read, write)) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC) else {
        return true;
    };
    // SAFETY: registers alone.
    let copied = unsafe {
        syscall!(
            Sysno::tee,
            fifo.as_raw_fd(),
            write.as_raw_fd(),
            1,
            libc::SPLICE_F_NONBLOCK
        )
    };
    copied == Ok(0)
}

thread_local! {
    /// The umask that this thread set last; `None` while its umask and directory are still the process's.
    static UMASK: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Gives this thread a umask and a working directory of its own.
fn detach() -> Result<Option<u32>, Errno> {
    let known = UMASK.get();
    if known.is_none() {
        // SAFETY: registers alone; it concerns the calling thread only.
        unsafe { syscall!(Sysno::unshare, libc::CLONE_FS) }?;
        // SAFETY: registers alone; the thread's own mask.
        unsafe { syscall!(Sysno::umask, 0o077) }?;
        UMASK.set(Some(0o077));
        return Ok(Some(0o077));
    }
    Ok(known)
}

/// Runs `act` under a umask; other threads keep theirs.
///
/// # Errors
/// Those of unshare(2), and what `act` gives.
pub fn with_umask<T>(mask: u32, act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    if detach()? != Some(mask) {
        // SAFETY: registers alone; the thread's own mask.
        unsafe { syscall!(Sysno::umask, mask) }?;
        UMASK.set(Some(mask));
    }
    act()
}

/// Runs `act` with a directory as the thread's working directory, for calls that take no directory; other threads keep
/// theirs, and the thread goes back to `/` afterwards.
///
/// # Errors
/// Those of unshare(2) and fchdir(2), and what `act` gives.
pub fn in_dir<T>(dir: BorrowedFd<'_>, act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    detach()?;
    // SAFETY: registers alone; the thread's own directory.
    unsafe { syscall!(Sysno::fchdir, dir.as_raw_fd()) }?;
    let result = act();
    // SAFETY: the path is NUL-terminated; the thread's own directory.
    unsafe { syscall!(Sysno::chdir, c"/".as_ptr()) }?;
    result
}
