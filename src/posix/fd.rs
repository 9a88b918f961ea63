//! The lives of descriptors: close, dup, pipe.

use super::{Ctx, SysResult};
use crate::abi::Errno;
use crate::guest::{Fd, UserOut};

/// See close(2).
pub fn close(_cx: &Ctx<'_>, _fd: Fd) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See pipe(2).
pub fn pipe(_cx: &Ctx<'_>, _pipefd: UserOut) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See dup(2).
pub fn dup(_cx: &Ctx<'_>, _oldfd: Fd) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See dup2(2).
pub fn dup2(_cx: &Ctx<'_>, _oldfd: Fd, _newfd: Fd) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See dup3(2).
pub fn dup3(_cx: &Ctx<'_>, _oldfd: Fd, _newfd: Fd, _flags: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See pipe2(2).
pub fn pipe2(_cx: &Ctx<'_>, _pipefd: UserOut, _flags: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See close_range(2).
pub fn close_range(_cx: &Ctx<'_>, _first: u32, _last: u32, _flags: u32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
