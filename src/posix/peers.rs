//! What a cage may ask of other processes, and what not.

use super::{Ctx, SysResult};
use crate::abi::Errno;
use crate::guest::Addr;

/// See ptrace(2).
pub fn ptrace(_cx: &Ctx<'_>, _op: i64, _pid: i32, _addr: Addr, _data: Addr) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See unshare(2).
pub fn unshare(_cx: &Ctx<'_>, _flags: u64) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See pidfd_open(2).
pub fn pidfd_open(_cx: &Ctx<'_>, _pid: i32, _flags: u32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
