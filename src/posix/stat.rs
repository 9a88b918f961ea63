//! What is asked of a name: stat, access, readlink, statfs.

use zerocopy::IntoBytes;

use super::path::{Kind, Last, Path, Target};
use super::proc;
use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::abi::layout::{Stat, Statx};
use crate::cage::FileKind;
use crate::guest::{DirFd, Fd, UserOut, UserPath};
use crate::sys;

/// Whether a call with `AT_EMPTY_PATH` means the descriptor itself: no path at all, or an empty one.
fn is_empty(cx: &Ctx<'_>, path: UserPath) -> Result<bool, Errno> {
    if path.is_null() {
        return Ok(true);
    }
    let mut first = [1u8];
    cx.guest.read_exact(path.0, &mut first)?;
    Ok(first == [0])
}

/// Runs `act` on the open file at a number, or on the working directory.
fn with_base<T>(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    act: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> Result<T, Errno>,
) -> Result<T, Errno> {
    if dirfd == DirFd::CWD {
        let cwd = cx.fs().cwd();
        return act(cwd.host().ok_or(Errno::ENOENT)?);
    }
    cx.with_file(Fd(dirfd.0), act)
}

fn last(follow: bool) -> Last {
    if follow { Last::Follow } else { Last::Keep }
}

fn path_of(cx: &Ctx<'_>, dirfd: DirFd, path: UserPath, follow: bool) -> Result<Path, Errno> {
    let bytes = cx.guest.get_path(path)?;
    Path::new(cx, dirfd, bytes, last(follow))
}

/// A link of /proc that the host does not have: it looks like its directory's other links.
fn link_stat(target: &Target<'_>) -> Result<Stat, Errno> {
    let mut stat = sys::fs::stat(target.dir, c".", 0)?;
    stat.mode = libc::S_IFLNK | 0o500;
    stat.nlink = 1;
    stat.size = 64;
    Ok(stat)
}

fn stat_target(target: &Target<'_>, flags: i32) -> Result<Stat, Errno> {
    if let Kind::Object(object) = target.kind {
        return sys::fs::fstat(std::os::fd::AsFd::as_fd(&object.file));
    }
    match sys::fs::stat(target.dir, target.name, flags) {
        Err(Errno::ENOENT) if matches!(target.kind, Kind::Link(_)) => link_stat(target),
        result => result,
    }
}

fn stat_at(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    pathname: UserPath,
    statbuf: UserOut,
    flags: i32,
) -> SysResult {
    let path = path_of(cx, dirfd, pathname, flags & libc::AT_SYMLINK_NOFOLLOW == 0)?;
    let stat = path.run(cx, |target| stat_target(&target, flags))?;
    cx.guest.write_all(statbuf.0, stat.as_bytes())?;
    Outcome::DONE
}

/// See stat(2).
pub fn stat(cx: &Ctx<'_>, pathname: UserPath, statbuf: UserOut) -> SysResult {
    stat_at(cx, DirFd::CWD, pathname, statbuf, 0)
}

/// See lstat(2).
pub fn lstat(cx: &Ctx<'_>, pathname: UserPath, statbuf: UserOut) -> SysResult {
    stat_at(cx, DirFd::CWD, pathname, statbuf, libc::AT_SYMLINK_NOFOLLOW)
}

/// See fstat(2).
pub fn fstat(cx: &Ctx<'_>, fd: Fd, statbuf: UserOut) -> SysResult {
    let descriptor = cx.descriptor(fd)?;
    match (descriptor.file.kind(), descriptor.file.host()) {
        (FileKind::Place, Some(place)) => {
            let stat = sys::fs::fstat(place)?;
            cx.guest.write_all(statbuf.0, stat.as_bytes())?;
            Outcome::DONE
        }
        _ => Ok(Outcome::Continue),
    }
}

/// See newfstatat(2).
pub fn newfstatat(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    pathname: UserPath,
    statbuf: UserOut,
    flags: i32,
) -> SysResult {
    const KNOWN: i32 =
        libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH | 0x6000;
    if flags & libc::AT_EMPTY_PATH != 0 && is_empty(cx, pathname)? {
        if flags & !KNOWN != 0 {
            return Err(Errno::EINVAL);
        }
        let stat = with_base(cx, dirfd, sys::fs::fstat)?;
        cx.guest.write_all(statbuf.0, stat.as_bytes())?;
        return Outcome::DONE;
    }
    stat_at(cx, dirfd, pathname, statbuf, flags)
}

/// See statx(2).
pub fn statx(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    pathname: UserPath,
    flags: i32,
    mask: u32,
    statxbuf: UserOut,
) -> SysResult {
    let statx: Statx = if flags & libc::AT_EMPTY_PATH != 0 && is_empty(cx, pathname)? {
        with_base(cx, dirfd, |file| sys::fs::statx(file, c"", flags, mask))?
    } else {
        let path = path_of(cx, dirfd, pathname, flags & libc::AT_SYMLINK_NOFOLLOW == 0)?;
        path.run(cx, |target| {
            let flags = target.flags(flags, libc::AT_SYMLINK_NOFOLLOW);
            sys::fs::statx(target.dir, target.name, flags, mask)
        })?
    };
    cx.guest.write_all(statxbuf.0, statx.as_bytes())?;
    Outcome::DONE
}

fn access_at(cx: &Ctx<'_>, dirfd: DirFd, pathname: UserPath, mode: i32, flags: i32) -> SysResult {
    const KNOWN: i32 = libc::AT_EACCESS | libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    if mode & !7 != 0 || flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    // Where the supervisor acts for the cage it has taken the ids that count, real or not, as its own.
    let taken = if cx.kernel.credentials.differ() {
        libc::AT_EACCESS
    } else {
        0
    };
    let flags = flags | taken;
    if flags & libc::AT_EMPTY_PATH != 0 && is_empty(cx, pathname)? {
        with_base(cx, dirfd, |file| sys::fs::access(file, c"", mode, flags))?;
        return Outcome::DONE;
    }
    let path = path_of(cx, dirfd, pathname, flags & libc::AT_SYMLINK_NOFOLLOW == 0)?;
    path.run(cx, |target| {
        let flags = target.flags(flags, libc::AT_SYMLINK_NOFOLLOW);
        sys::fs::access(target.dir, target.name, mode, flags)
    })?;
    Outcome::DONE
}

/// See access(2).
pub fn access(cx: &Ctx<'_>, pathname: UserPath, mode: i32) -> SysResult {
    access_at(cx, DirFd::CWD, pathname, mode, 0)
}

/// See faccessat(2).
pub fn faccessat(cx: &Ctx<'_>, dirfd: DirFd, pathname: UserPath, mode: i32) -> SysResult {
    access_at(cx, dirfd, pathname, mode, 0)
}

/// See faccessat2(2).
pub fn faccessat2(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    pathname: UserPath,
    mode: i32,
    flags: i32,
) -> SysResult {
    access_at(cx, dirfd, pathname, mode, flags)
}

/// See readlink(2).
pub fn readlink(cx: &Ctx<'_>, pathname: UserPath, buf: UserOut, bufsiz: i32) -> SysResult {
    readlinkat(cx, DirFd::CWD, pathname, buf, bufsiz)
}

/// See readlinkat(2).
pub fn readlinkat(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    pathname: UserPath,
    buf: UserOut,
    bufsiz: i32,
) -> SysResult {
    let room = match usize::try_from(bufsiz) {
        Ok(room) if room > 0 => room,
        _ => return Err(Errno::EINVAL),
    };
    let bytes = cx.guest.get_path(pathname)?;
    let mut text = if bytes.is_empty() {
        // The link itself is open as a place; anything else is EINVAL, or ENOENT as the empty name it is.
        with_base(cx, dirfd, |file| sys::fs::readlink(file, c""))?
    } else {
        // Every statically linked program asks for this at its start; the walk would come to the same.
        let is_own_program = bytes == b"/proc/self/exe" && cx.kernel.has_proc;
        let path = Path::new(cx, dirfd, bytes, Last::Keep)?;
        if is_own_program {
            proc::program(cx, cx.cage())
        } else {
            path.run(cx, |target| match target.kind {
                Kind::Link(text) => Ok(text.to_vec()),
                // A directory reached through a magic link and a slash, say.
                Kind::Object(_) => Err(Errno::EINVAL),
                Kind::Name | Kind::Doctored(_) | Kind::Refused(_) => {
                    sys::fs::readlink(target.dir, target.name)
                }
            })
        }?
    };
    text.truncate(room);
    cx.guest.write_all(buf.0, &text)?;
    Outcome::value(text.len())
}

/// See statfs(2).
pub fn statfs(cx: &Ctx<'_>, path: UserPath, buf: UserOut) -> SysResult {
    let path = path_of(cx, DirFd::CWD, path, true)?;
    let bytes = path.run(cx, |target| {
        if let Kind::Object(object) = target.kind {
            return sys::fs::fstatfs(std::os::fd::AsFd::as_fd(&object.file));
        }
        if target.name.to_bytes().starts_with(b"/") {
            return sys::fs::statfs(target.name);
        }
        sys::fs::in_dir(target.dir, || sys::fs::statfs(target.name))
    })?;
    cx.guest.write_all(buf.0, &bytes)?;
    Outcome::DONE
}

/// See fstatfs(2).
pub fn fstatfs(cx: &Ctx<'_>, fd: Fd, buf: UserOut) -> SysResult {
    let descriptor = cx.descriptor(fd)?;
    match (descriptor.file.kind(), descriptor.file.host()) {
        (FileKind::Place, Some(place)) => {
            let bytes = sys::fs::fstatfs(place)?;
            cx.guest.write_all(buf.0, &bytes)?;
            Outcome::DONE
        }
        _ => Ok(Outcome::Continue),
    }
}
