//! Signals by descriptor.

use super::{Ctx, Outcome, SysResult};
use crate::guest::{Fd, UserIn};

/// See pidfd_send_signal(2).
pub fn pidfd_send_signal(
    cx: &Ctx<'_>,
    pidfd: Fd,
    _sig: i32,
    _info: UserIn,
    _flags: u32,
) -> SysResult {
    cx.descriptor(pidfd)?;
    Ok(Outcome::Continue)
}
