//! Memory that has a file behind it.

use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::guest::{Addr, Fd, UserIn};

/// See mmap(2).
pub fn mmap(
    _cx: &Ctx<'_>,
    _addr: Addr,
    _length: usize,
    _prot: i32,
    _flags: i32,
    _fd: Fd,
    _offset: u64,
) -> SysResult {
    Ok(Outcome::Continue)
}

/// See memfd_create(2).
pub fn memfd_create(_cx: &Ctx<'_>, _name: UserIn, _flags: u32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
