//! Names made, moved and removed: link, symlink, rename, unlink, mkdir, rmdir, mknod.

use super::{Ctx, SysResult};
use crate::abi::Errno;
use crate::guest::{DirFd, Mode, UserPath};

/// See rename(2).
pub fn rename(_cx: &Ctx<'_>, _oldpath: UserPath, _newpath: UserPath) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See mkdir(2).
pub fn mkdir(_cx: &Ctx<'_>, _pathname: UserPath, _mode: Mode) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See rmdir(2).
pub fn rmdir(_cx: &Ctx<'_>, _pathname: UserPath) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See link(2).
pub fn link(_cx: &Ctx<'_>, _oldpath: UserPath, _newpath: UserPath) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See unlink(2).
pub fn unlink(_cx: &Ctx<'_>, _pathname: UserPath) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See symlink(2).
pub fn symlink(_cx: &Ctx<'_>, _target: UserPath, _linkpath: UserPath) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See mknod(2).
pub fn mknod(_cx: &Ctx<'_>, _pathname: UserPath, _mode: Mode, _dev: u32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See mkdirat(2).
pub fn mkdirat(_cx: &Ctx<'_>, _dirfd: DirFd, _pathname: UserPath, _mode: Mode) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See mknodat(2).
pub fn mknodat(
    _cx: &Ctx<'_>,
    _dirfd: DirFd,
    _pathname: UserPath,
    _mode: Mode,
    _dev: u32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See unlinkat(2).
pub fn unlinkat(_cx: &Ctx<'_>, _dirfd: DirFd, _pathname: UserPath, _flags: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See renameat(2).
pub fn renameat(
    _cx: &Ctx<'_>,
    _olddirfd: DirFd,
    _oldpath: UserPath,
    _newdirfd: DirFd,
    _newpath: UserPath,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See linkat(2).
pub fn linkat(
    _cx: &Ctx<'_>,
    _olddirfd: DirFd,
    _oldpath: UserPath,
    _newdirfd: DirFd,
    _newpath: UserPath,
    _flags: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See symlinkat(2).
pub fn symlinkat(
    _cx: &Ctx<'_>,
    _target: UserPath,
    _newdirfd: DirFd,
    _linkpath: UserPath,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See renameat2(2).
pub fn renameat2(
    _cx: &Ctx<'_>,
    _olddirfd: DirFd,
    _oldpath: UserPath,
    _newdirfd: DirFd,
    _newpath: UserPath,
    _flags: u32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
