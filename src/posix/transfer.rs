//! Data calls on two descriptors.

use super::{Ctx, Outcome, SysResult};
use crate::guest::{Addr, Fd, UserIn};

/// See sendfile(2).
pub fn sendfile(cx: &Ctx<'_>, out_fd: Fd, in_fd: Fd, _offset: Addr, _count: usize) -> SysResult {
    cx.descriptor(out_fd)?;
    cx.descriptor(in_fd)?;
    Ok(Outcome::Continue)
}

/// See splice(2).
pub fn splice(
    cx: &Ctx<'_>,
    fd_in: Fd,
    _off_in: Addr,
    fd_out: Fd,
    _off_out: Addr,
    _len: usize,
    _flags: u32,
) -> SysResult {
    cx.descriptor(fd_in)?;
    cx.descriptor(fd_out)?;
    Ok(Outcome::Continue)
}

/// See tee(2).
pub fn tee(cx: &Ctx<'_>, fd_in: Fd, fd_out: Fd, _len: usize, _flags: u32) -> SysResult {
    cx.descriptor(fd_in)?;
    cx.descriptor(fd_out)?;
    Ok(Outcome::Continue)
}

/// See vmsplice(2).
pub fn vmsplice(cx: &Ctx<'_>, fd: Fd, _iov: UserIn, _nr_segs: usize, _flags: u32) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See copy_file_range(2).
pub fn copy_file_range(
    cx: &Ctx<'_>,
    fd_in: Fd,
    _off_in: Addr,
    fd_out: Fd,
    _off_out: Addr,
    _len: usize,
    _flags: u32,
) -> SysResult {
    cx.descriptor(fd_in)?;
    cx.descriptor(fd_out)?;
    Ok(Outcome::Continue)
}
