//! fork, clone, pid descriptors and what a cage may not ask of other processes.

use super::{Ctx, SysResult};
use crate::abi::Errno;
use crate::guest::{Addr, UserIn};

/// See clone(2).
pub fn clone(
    _cx: &Ctx<'_>,
    _flags: u64,
    _stack: Addr,
    _parent_tid: Addr,
    _child_tid: Addr,
    _tls: Addr,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See fork(2).
pub fn fork(_cx: &Ctx<'_>) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See vfork(2).
pub fn vfork(_cx: &Ctx<'_>) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

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

/// See clone3(2).
pub fn clone3(_cx: &Ctx<'_>, _cl_args: UserIn, _size: usize) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
