//! ioctl(2), but for what passes: an allow-list.

use super::{Ctx, SysResult};
use crate::abi::Errno;
use crate::guest::{Addr, Fd};

/// See ioctl(2).
pub fn ioctl(_cx: &Ctx<'_>, _fd: Fd, _op: u64, _argp: Addr) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
