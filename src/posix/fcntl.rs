//! fcntl(2), but for what passes.

use super::{Ctx, SysResult};
use crate::abi::Errno;
use crate::guest::Fd;

/// See fcntl(2).
pub fn fcntl(_cx: &Ctx<'_>, _fd: Fd, _op: i32, _arg: u64) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
