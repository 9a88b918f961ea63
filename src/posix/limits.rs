//! Resource limits.

use super::{Ctx, SysResult};
use crate::abi::Errno;
use crate::guest::{UserIn, UserOut};

/// See setrlimit(2).
pub fn setrlimit(_cx: &Ctx<'_>, _resource: i32, _rlim: UserIn) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See prlimit64(2).
pub fn prlimit64(
    _cx: &Ctx<'_>,
    _pid: i32,
    _resource: i32,
    _new_limit: UserIn,
    _old_limit: UserOut,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
