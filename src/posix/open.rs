//! open(2), openat(2), openat2(2), creat(2): names become open files.

use super::{Ctx, SysResult};
use crate::abi::Errno;
use crate::guest::{DirFd, Mode, UserIn, UserPath};

/// See open(2).
pub fn open(_cx: &Ctx<'_>, _pathname: UserPath, _flags: i32, _mode: Mode) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See creat(2).
pub fn creat(_cx: &Ctx<'_>, _pathname: UserPath, _mode: Mode) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See openat(2).
pub fn openat(
    _cx: &Ctx<'_>,
    _dirfd: DirFd,
    _pathname: UserPath,
    _flags: i32,
    _mode: Mode,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See openat2(2).
pub fn openat2(
    _cx: &Ctx<'_>,
    _dirfd: DirFd,
    _pathname: UserPath,
    _how: UserIn,
    _size: usize,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
