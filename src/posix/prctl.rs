//! prctl(2), but for what passes.

use super::{Ctx, SysResult};
use crate::abi::Errno;

/// See prctl(2).
pub fn prctl(_cx: &Ctx<'_>, _op: i32, _arg2: u64, _arg3: u64, _arg4: u64, _arg5: u64) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
