//! The working directory and the umask.

use super::{Ctx, SysResult};
use crate::abi::Errno;
use crate::guest::{Fd, Mode, UserOut, UserPath};

/// See getcwd(2).
pub fn getcwd(_cx: &Ctx<'_>, _buf: UserOut, _size: usize) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See chdir(2).
pub fn chdir(_cx: &Ctx<'_>, _path: UserPath) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See fchdir(2).
pub fn fchdir(_cx: &Ctx<'_>, _fd: Fd) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See umask(2).
pub fn umask(_cx: &Ctx<'_>, _mask: Mode) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
