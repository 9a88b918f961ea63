//! Metadata changed by name: modes, owners, times, lengths, extended attributes.

use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::guest::{DirFd, Fd, Mode, UserIn, UserOut, UserPath};

/// See truncate(2).
pub fn truncate(_cx: &Ctx<'_>, _path: UserPath, _length: i64) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See chmod(2).
pub fn chmod(_cx: &Ctx<'_>, _pathname: UserPath, _mode: Mode) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See fchmod(2).
pub fn fchmod(_cx: &Ctx<'_>, _fd: Fd, _mode: Mode) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See chown(2).
pub fn chown(_cx: &Ctx<'_>, _pathname: UserPath, _owner: u32, _group: u32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See fchown(2).
pub fn fchown(cx: &Ctx<'_>, fd: Fd, _owner: u32, _group: u32) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See lchown(2).
pub fn lchown(_cx: &Ctx<'_>, _pathname: UserPath, _owner: u32, _group: u32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See utime(2).
pub fn utime(_cx: &Ctx<'_>, _filename: UserPath, _times: UserIn) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See setxattr(2).
pub fn setxattr(
    _cx: &Ctx<'_>,
    _path: UserPath,
    _name: UserIn,
    _value: UserIn,
    _size: usize,
    _flags: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See lsetxattr(2).
pub fn lsetxattr(
    _cx: &Ctx<'_>,
    _path: UserPath,
    _name: UserIn,
    _value: UserIn,
    _size: usize,
    _flags: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See fsetxattr(2).
pub fn fsetxattr(
    cx: &Ctx<'_>,
    fd: Fd,
    _name: UserIn,
    _value: UserIn,
    _size: usize,
    _flags: i32,
) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See getxattr(2).
pub fn getxattr(
    _cx: &Ctx<'_>,
    _path: UserPath,
    _name: UserIn,
    _value: UserOut,
    _size: usize,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See lgetxattr(2).
pub fn lgetxattr(
    _cx: &Ctx<'_>,
    _path: UserPath,
    _name: UserIn,
    _value: UserOut,
    _size: usize,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See fgetxattr(2).
pub fn fgetxattr(cx: &Ctx<'_>, fd: Fd, _name: UserIn, _value: UserOut, _size: usize) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See listxattr(2).
pub fn listxattr(_cx: &Ctx<'_>, _path: UserPath, _list: UserOut, _size: usize) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See llistxattr(2).
pub fn llistxattr(_cx: &Ctx<'_>, _path: UserPath, _list: UserOut, _size: usize) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See flistxattr(2).
pub fn flistxattr(cx: &Ctx<'_>, fd: Fd, _list: UserOut, _size: usize) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See removexattr(2).
pub fn removexattr(_cx: &Ctx<'_>, _path: UserPath, _name: UserIn) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See lremovexattr(2).
pub fn lremovexattr(_cx: &Ctx<'_>, _path: UserPath, _name: UserIn) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See fremovexattr(2).
pub fn fremovexattr(cx: &Ctx<'_>, fd: Fd, _name: UserIn) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See utimes(2).
pub fn utimes(_cx: &Ctx<'_>, _filename: UserPath, _times: UserIn) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See fchownat(2).
pub fn fchownat(
    _cx: &Ctx<'_>,
    _dirfd: DirFd,
    _pathname: UserPath,
    _owner: u32,
    _group: u32,
    _flags: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See futimesat(2).
pub fn futimesat(_cx: &Ctx<'_>, _dirfd: DirFd, _pathname: UserPath, _times: UserIn) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See fchmodat(2).
pub fn fchmodat(_cx: &Ctx<'_>, _dirfd: DirFd, _pathname: UserPath, _mode: Mode) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See utimensat(2).
pub fn utimensat(
    _cx: &Ctx<'_>,
    _dirfd: DirFd,
    _pathname: UserPath,
    _times: UserIn,
    _flags: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See fchmodat2(2).
pub fn fchmodat2(
    _cx: &Ctx<'_>,
    _dirfd: DirFd,
    _pathname: UserPath,
    _mode: Mode,
    _flags: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
