//! Names made, moved and removed: link, symlink, rename, unlink, mkdir, rmdir, mknod.

use std::ffi::CString;

use super::path::{self, Last, Path, Reached};
use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::guest::{DirFd, Fd, Mode, UserPath};
use crate::sys;

/// The set-id bits, which a cage cannot give to a file.
pub(crate) const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

/// The entry that a path names: a link in the last place is meant itself.
fn entry(cx: &Ctx<'_>, dirfd: DirFd, pathname: UserPath) -> Result<Path, Errno> {
    let bytes = cx.guest.get_path(pathname)?;
    Path::new(cx, dirfd, bytes, Last::Entry)
}

/// See rename(2).
pub fn rename(cx: &Ctx<'_>, oldpath: UserPath, newpath: UserPath) -> SysResult {
    renameat2(cx, DirFd::CWD, oldpath, DirFd::CWD, newpath, 0)
}

/// See renameat(2).
pub fn renameat(
    cx: &Ctx<'_>,
    olddirfd: DirFd,
    oldpath: UserPath,
    newdirfd: DirFd,
    newpath: UserPath,
) -> SysResult {
    renameat2(cx, olddirfd, oldpath, newdirfd, newpath, 0)
}

/// See renameat2(2).
pub fn renameat2(
    cx: &Ctx<'_>,
    olddirfd: DirFd,
    oldpath: UserPath,
    newdirfd: DirFd,
    newpath: UserPath,
    flags: u32,
) -> SysResult {
    const EXCHANGE: u32 = libc::RENAME_EXCHANGE;
    const ALONE: u32 = libc::RENAME_NOREPLACE | libc::RENAME_WHITEOUT;
    // Before any path is looked at, as Linux does.
    if flags & !(EXCHANGE | ALONE) != 0 || (flags & EXCHANGE != 0 && flags & ALONE != 0) {
        return Err(Errno::EINVAL);
    }
    let (from, to) = (cx.guest.get_path(oldpath)?, cx.guest.get_path(newpath)?);
    let from = Path::new(cx, olddirfd, from, Last::Entry)?;
    let to = Path::new(cx, newdirfd, to, Last::Entry)?;
    path::run_pair(cx, &from, &to, |from, to| {
        sys::fs::rename(from.pair(), to.pair(), flags)
    })?;
    Outcome::DONE
}

/// See mkdir(2).
pub fn mkdir(cx: &Ctx<'_>, pathname: UserPath, mode: Mode) -> SysResult {
    mkdirat(cx, DirFd::CWD, pathname, mode)
}

/// See mkdirat(2).
pub fn mkdirat(cx: &Ctx<'_>, dirfd: DirFd, pathname: UserPath, mode: Mode) -> SysResult {
    let path = entry(cx, dirfd, pathname)?;
    sys::fs::with_umask(cx.fs().umask(), || {
        path.run(cx, |target| {
            sys::fs::mkdir(target.dir, target.name, mode.0 & !SET_ID)
        })
    })?;
    Outcome::DONE
}

/// See rmdir(2).
pub fn rmdir(cx: &Ctx<'_>, pathname: UserPath) -> SysResult {
    unlinkat(cx, DirFd::CWD, pathname, libc::AT_REMOVEDIR)
}

/// See unlink(2).
pub fn unlink(cx: &Ctx<'_>, pathname: UserPath) -> SysResult {
    unlinkat(cx, DirFd::CWD, pathname, 0)
}

/// See unlinkat(2).
pub fn unlinkat(cx: &Ctx<'_>, dirfd: DirFd, pathname: UserPath, flags: i32) -> SysResult {
    if flags & !libc::AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let path = entry(cx, dirfd, pathname)?;
    path.run(cx, |target| sys::fs::unlink(target.dir, target.name, flags))?;
    Outcome::DONE
}

/// See link(2).
pub fn link(cx: &Ctx<'_>, oldpath: UserPath, newpath: UserPath) -> SysResult {
    linkat(cx, DirFd::CWD, oldpath, DirFd::CWD, newpath, 0)
}

/// See linkat(2).
pub fn linkat(
    cx: &Ctx<'_>,
    olddirfd: DirFd,
    oldpath: UserPath,
    newdirfd: DirFd,
    newpath: UserPath,
    flags: i32,
) -> SysResult {
    if flags & !(libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let from = cx.guest.get_path(oldpath)?;
    let to = entry(cx, newdirfd, newpath)?;
    if from.is_empty() && flags & libc::AT_EMPTY_PATH != 0 && olddirfd != DirFd::CWD {
        // The kernel wants a capability for it, or the very credentials that opened the file; through the name of our
        // copy it asks for neither, and the cage did open it.
        let copy = cx.with_file(Fd(olddirfd.0), |file| {
            file.try_clone_to_owned()
                .map_err(|error| Errno::from_io_error(error).unwrap_or(Errno::ENFILE))
        })?;
        let from = Reached::object(copy, Vec::new());
        to.run(cx, |to| {
            let from = from.target(cx).pair();
            sys::fs::link(from, to.pair(), libc::AT_SYMLINK_FOLLOW)
        })?;
        return Outcome::DONE;
    }
    let follow = flags & libc::AT_SYMLINK_FOLLOW != 0;
    let last = if follow { Last::Follow } else { Last::Keep };
    let from = Path::new(cx, olddirfd, from, last)?;
    path::run_pair(cx, &from, &to, |from, to| {
        let follow = if from.is_object() || follow {
            libc::AT_SYMLINK_FOLLOW
        } else {
            0
        };
        sys::fs::link(from.pair(), to.pair(), follow)
    })?;
    Outcome::DONE
}

/// See symlink(2).
pub fn symlink(cx: &Ctx<'_>, target: UserPath, linkpath: UserPath) -> SysResult {
    symlinkat(cx, target, DirFd::CWD, linkpath)
}

/// See symlinkat(2).
pub fn symlinkat(cx: &Ctx<'_>, target: UserPath, newdirfd: DirFd, linkpath: UserPath) -> SysResult {
    let text = cx.guest.get_path(target)?;
    if text.is_empty() {
        return Err(Errno::ENOENT);
    }
    let text = CString::new(text).map_err(|_| Errno::ENOENT)?;
    let path = entry(cx, newdirfd, linkpath)?;
    path.run(cx, |link| sys::fs::symlink(&text, link.dir, link.name))?;
    Outcome::DONE
}

/// See mknod(2).
pub fn mknod(cx: &Ctx<'_>, pathname: UserPath, mode: Mode, dev: u32) -> SysResult {
    mknodat(cx, DirFd::CWD, pathname, mode, dev)
}

/// See mknodat(2).
pub fn mknodat(cx: &Ctx<'_>, dirfd: DirFd, pathname: UserPath, mode: Mode, dev: u32) -> SysResult {
    // The type comes first: a wrong one is EINVAL whatever the path.
    match mode.0 & libc::S_IFMT {
        0 | libc::S_IFREG | libc::S_IFIFO | libc::S_IFSOCK | libc::S_IFCHR | libc::S_IFBLK => {}
        libc::S_IFDIR => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    }
    let path = entry(cx, dirfd, pathname)?;
    sys::fs::with_umask(cx.fs().umask(), || {
        path.run(cx, |target| {
            sys::fs::mknod(target.dir, target.name, mode.0 & !SET_ID, dev)
        })
    })?;
    Outcome::DONE
}
