//! execve(2) and execveat(2).

use super::{Ctx, SysResult};
use crate::abi::Errno;
use crate::guest::{DirFd, UserIn, UserPath};

/// See execve(2).
pub fn execve(_cx: &Ctx<'_>, _pathname: UserPath, _argv: UserIn, _envp: UserIn) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See execveat(2).
pub fn execveat(
    _cx: &Ctx<'_>,
    _dirfd: DirFd,
    _pathname: UserPath,
    _argv: UserIn,
    _envp: UserIn,
    _flags: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
