//! What is asked of a name: stat, access, readlink, statfs.

use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::guest::{DirFd, Fd, UserOut, UserPath};

/// See stat(2).
pub fn stat(_cx: &Ctx<'_>, _pathname: UserPath, _statbuf: UserOut) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See fstat(2).
pub fn fstat(cx: &Ctx<'_>, fd: Fd, _statbuf: UserOut) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See lstat(2).
pub fn lstat(_cx: &Ctx<'_>, _pathname: UserPath, _statbuf: UserOut) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See access(2).
pub fn access(_cx: &Ctx<'_>, _pathname: UserPath, _mode: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See readlink(2).
pub fn readlink(_cx: &Ctx<'_>, _pathname: UserPath, _buf: UserOut, _bufsiz: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See statfs(2).
pub fn statfs(_cx: &Ctx<'_>, _path: UserPath, _buf: UserOut) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See fstatfs(2).
pub fn fstatfs(cx: &Ctx<'_>, fd: Fd, _buf: UserOut) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See newfstatat(2).
pub fn newfstatat(
    _cx: &Ctx<'_>,
    _dirfd: DirFd,
    _pathname: UserPath,
    _statbuf: UserOut,
    _flags: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See readlinkat(2).
pub fn readlinkat(
    _cx: &Ctx<'_>,
    _dirfd: DirFd,
    _pathname: UserPath,
    _buf: UserOut,
    _bufsiz: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See faccessat(2).
pub fn faccessat(_cx: &Ctx<'_>, _dirfd: DirFd, _pathname: UserPath, _mode: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See statx(2).
pub fn statx(
    _cx: &Ctx<'_>,
    _dirfd: DirFd,
    _pathname: UserPath,
    _flags: i32,
    _mask: u32,
    _statxbuf: UserOut,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See faccessat2(2).
pub fn faccessat2(
    _cx: &Ctx<'_>,
    _dirfd: DirFd,
    _pathname: UserPath,
    _mode: i32,
    _flags: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
