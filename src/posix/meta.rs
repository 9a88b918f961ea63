//! Metadata changed by name: modes, owners, times, lengths. Extended attributes are in `xattr.rs`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::links::SET_ID;
use super::path::{Last, Path, Target};
use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::abi::layout::{Timespec, Timeval};
use crate::guest::{DirFd, Fd, Mode, UserIn, UserPath, UserPtr};
use crate::sys;

pub use super::xattr::{
    fgetxattr, flistxattr, fremovexattr, fsetxattr, getxattr, lgetxattr, listxattr, llistxattr,
    lremovexattr, lsetxattr, removexattr, setxattr,
};

/// Microseconds in a second.
const MICROS: i64 = 1_000_000;

/// A path as these calls take it: with their flags, perhaps the descriptor itself.
enum Named {
    Path(Path),
    Base(Fd),
}

fn named(cx: &Ctx<'_>, dirfd: DirFd, pathname: UserPath, flags: i32) -> Result<Named, Errno> {
    let bytes = cx.guest.get_path(pathname)?;
    if bytes.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
        if dirfd != DirFd::CWD {
            return Ok(Named::Base(Fd(dirfd.0)));
        }
        return Path::new(cx, dirfd, b".".to_vec(), Last::Follow).map(Named::Path);
    }
    let last = if flags & libc::AT_SYMLINK_NOFOLLOW == 0 {
        Last::Follow
    } else {
        Last::Keep
    };
    Path::new(cx, dirfd, bytes, last).map(Named::Path)
}

impl Named {
    /// Runs a call that knows `AT_EMPTY_PATH` on the path, or on the descriptor.
    fn run(
        &self,
        cx: &Ctx<'_>,
        flags: i32,
        act: impl Fn(BorrowedFd<'_>, &std::ffi::CStr, i32) -> Result<(), Errno>,
    ) -> SysResult {
        match self {
            Self::Path(path) => path.run(cx, |target| {
                let flags = target.flags(flags, libc::AT_SYMLINK_NOFOLLOW);
                act(target.dir, target.name, flags & !libc::AT_EMPTY_PATH)
            })?,
            Self::Base(fd) => cx.with_file(*fd, |file| act(file, c"", flags))?,
        }
        Outcome::DONE
    }
}

/// See truncate(2).
pub fn truncate(cx: &Ctx<'_>, path: UserPath, length: i64) -> SysResult {
    if length < 0 {
        return Err(Errno::EINVAL);
    }
    let bytes = cx.guest.get_path(path)?;
    let path = Path::new(cx, DirFd::CWD, bytes, Last::Follow)?;
    path.run(cx, |target| truncate_target(cx, &target, length))?;
    Outcome::DONE
}

fn truncate_target(cx: &Ctx<'_>, target: &Target<'_>, length: i64) -> Result<(), Errno> {
    let tgid = cx.cage().tgid.0;
    let limit = sys::fs::limit_of(tgid, libc::RLIMIT_FSIZE).map_or(u64::MAX, |limit| limit.soft);
    // The kernel would look at the supervisor's limit, so the cage's is looked at here; it only concerns growth.
    if length.cast_unsigned() > limit {
        let stat = sys::fs::stat(target.dir, target.name, 0)?;
        if stat.kind() == libc::S_IFREG && stat.size < length {
            sys::fs::access(target.dir, target.name, libc::W_OK, libc::AT_EACCESS)?;
            sys::fs::signal_thread(tgid, cx.thread.tid.0, libc::SIGXFSZ)?;
            return Err(Errno::EFBIG);
        }
    }
    if target.name.to_bytes().starts_with(b"/") {
        return sys::fs::truncate(target.name, length);
    }
    sys::fs::in_dir(target.dir, || sys::fs::truncate(target.name, length))
}

/// See chmod(2).
pub fn chmod(cx: &Ctx<'_>, pathname: UserPath, mode: Mode) -> SysResult {
    fchmodat2(cx, DirFd::CWD, pathname, mode, 0)
}

/// See fchmodat(2).
pub fn fchmodat(cx: &Ctx<'_>, dirfd: DirFd, pathname: UserPath, mode: Mode) -> SysResult {
    fchmodat2(cx, dirfd, pathname, mode, 0)
}

/// See fchmodat2(2).
pub fn fchmodat2(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    pathname: UserPath,
    mode: Mode,
    flags: i32,
) -> SysResult {
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    named(cx, dirfd, pathname, flags)?.run(cx, flags, |dir, name, flags| {
        if mode.0 & SET_ID != 0
            && let Some(done) = chmod_directory(cx, dir, name, mode, flags)
        {
            return done;
        }
        sys::fs::chmod(dir, name, mode.0 & !SET_ID, flags)
    })
}

/// Gives a mode with set-id bits to a directory, where they only say whose group is inherited; `None` where it is none. Of
/// a name it is the directory held here that changes, never a file that takes its place.
fn chmod_directory(
    cx: &Ctx<'_>,
    dir: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    mode: Mode,
    flags: i32,
) -> Option<Result<(), Errno>> {
    let name = if name.is_empty() { c"." } else { name };
    let keeps_link = match flags & libc::AT_SYMLINK_NOFOLLOW {
        0 => 0,
        _ => libc::O_NOFOLLOW,
    };
    let place = sys::fs::open_place(dir, name, libc::O_DIRECTORY | keeps_link).ok()?;
    let own_name = sys::fs::own_name(place.as_raw_fd());
    let host_proc = cx.kernel.host_proc.as_fd();
    Some(sys::fs::chmod(host_proc, &own_name, mode.0 & 0o7777, 0))
}

/// See fchmod(2).
pub fn fchmod(cx: &Ctx<'_>, fd: Fd, mode: Mode) -> SysResult {
    cx.with_file(fd, |file| {
        let is_directory = sys::fs::fstat(file)?.kind() == libc::S_IFDIR;
        let dropped = if is_directory { 0 } else { SET_ID };
        sys::fs::fchmod(file, mode.0 & 0o7777 & !dropped)
    })?;
    Outcome::DONE
}

/// See chown(2).
pub fn chown(cx: &Ctx<'_>, pathname: UserPath, owner: u32, group: u32) -> SysResult {
    fchownat(cx, DirFd::CWD, pathname, owner, group, 0)
}

/// See lchown(2).
pub fn lchown(cx: &Ctx<'_>, pathname: UserPath, owner: u32, group: u32) -> SysResult {
    fchownat(
        cx,
        DirFd::CWD,
        pathname,
        owner,
        group,
        libc::AT_SYMLINK_NOFOLLOW,
    )
}

/// To give a file to somebody takes a capability. The kernel says EINVAL instead where the run's user namespace does not
/// map the id, which the program cannot see: for it all ids exist.
fn given_to(owner: u32, group: u32, given: Result<(), Errno>) -> Result<(), Errno> {
    const KEEP: u32 = u32::MAX;
    match given {
        Err(Errno::EINVAL) if (owner, group) != (KEEP, KEEP) => Err(Errno::EPERM),
        given => given,
    }
}

/// See fchown(2).
pub fn fchown(cx: &Ctx<'_>, fd: Fd, owner: u32, group: u32) -> SysResult {
    let given = cx.with_file(fd, |file| sys::fs::fchown(file, owner, group));
    given_to(owner, group, given)?;
    Outcome::DONE
}

/// See fchownat(2).
pub fn fchownat(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    pathname: UserPath,
    owner: u32,
    group: u32,
    flags: i32,
) -> SysResult {
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    named(cx, dirfd, pathname, flags)?.run(cx, flags, |dir, name, flags| {
        let given = sys::fs::chown(dir, name, owner, group, flags);
        given_to(owner, group, given)
    })
}

/// Two times, out of microseconds.
fn from_timevals(times: &[Timeval]) -> Result<Option<[Timespec; 2]>, Errno> {
    let [access, change] = times else {
        return Ok(None);
    };
    let spec = |time: &Timeval| {
        if (0..MICROS).contains(&time.usec) {
            Ok(Timespec {
                sec: time.sec,
                nsec: time.usec * 1000,
            })
        } else {
            Err(Errno::EINVAL)
        }
    };
    Ok(Some([spec(access)?, spec(change)?]))
}

/// See utime(2).
pub fn utime(cx: &Ctx<'_>, filename: UserPath, times: UserIn) -> SysResult {
    let times = if times.0 == 0 {
        None
    } else {
        // struct utimbuf: two seconds.
        let seconds: [i64; 2] = cx.guest.get(UserPtr::new(times.0))?;
        Some(seconds.map(|sec| Timespec { sec, nsec: 0 }))
    };
    set_times(cx, DirFd::CWD, filename, times, 0)
}

/// See utimes(2).
pub fn utimes(cx: &Ctx<'_>, filename: UserPath, times: UserIn) -> SysResult {
    futimesat(cx, DirFd::CWD, filename, times)
}

/// See futimesat(2).
pub fn futimesat(cx: &Ctx<'_>, dirfd: DirFd, pathname: UserPath, times: UserIn) -> SysResult {
    let times = if times.0 == 0 {
        None
    } else {
        from_timevals(&cx.guest.get_array(UserPtr::<Timeval>::new(times.0), 2)?)?
    };
    set_times(cx, dirfd, pathname, times, 0)
}

/// See utimensat(2).
pub fn utimensat(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    pathname: UserPath,
    times: UserIn,
    flags: i32,
) -> SysResult {
    let times = if times.0 == 0 {
        None
    } else {
        let both = cx.guest.get_array(UserPtr::<Timespec>::new(times.0), 2)?;
        let both: Option<[Timespec; 2]> = both.try_into().ok();
        // Nothing to do, nothing to look up: Linux does not even read the path.
        if both.is_some_and(|both| both.iter().all(|time| time.nsec == libc::UTIME_OMIT)) {
            return Outcome::DONE;
        }
        both
    };
    set_times(cx, dirfd, pathname, times, flags)
}

fn set_times(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    pathname: UserPath,
    times: Option<[Timespec; 2]>,
    flags: i32,
) -> SysResult {
    let times = times.as_ref();
    if pathname.is_null() && dirfd != DirFd::CWD {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        cx.with_file(Fd(dirfd.0), |file| sys::fs::utimens(file, None, times, 0))?;
        return Outcome::DONE;
    }
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    named(cx, dirfd, pathname, flags)?.run(cx, flags, |dir, name, flags| {
        sys::fs::utimens(dir, Some(name), times, flags)
    })
}
