//! Data calls on two descriptors. The kernel runs them where they are mediated, too: it holds nothing at a number that
//! the virtual table does not, so its `EBADF` is ours, and Linux looks at other arguments first.

use super::{Ctx, Outcome, SysResult};
use crate::guest::{Addr, Fd, UserIn};

/// See sendfile(2).
pub fn sendfile(_cx: &Ctx<'_>, _out_fd: Fd, _in_fd: Fd, _offset: Addr, _count: usize) -> SysResult {
    Ok(Outcome::Continue)
}

/// See splice(2).
pub fn splice(
    _cx: &Ctx<'_>,
    _fd_in: Fd,
    _off_in: Addr,
    _fd_out: Fd,
    _off_out: Addr,
    _len: usize,
    _flags: u32,
) -> SysResult {
    Ok(Outcome::Continue)
}

/// See tee(2).
pub fn tee(_cx: &Ctx<'_>, _fd_in: Fd, _fd_out: Fd, _len: usize, _flags: u32) -> SysResult {
    Ok(Outcome::Continue)
}

/// See vmsplice(2).
pub fn vmsplice(_cx: &Ctx<'_>, _fd: Fd, _iov: UserIn, _nr_segs: usize, _flags: u32) -> SysResult {
    Ok(Outcome::Continue)
}

/// See copy_file_range(2).
pub fn copy_file_range(
    _cx: &Ctx<'_>,
    _fd_in: Fd,
    _off_in: Addr,
    _fd_out: Fd,
    _off_out: Addr,
    _len: usize,
    _flags: u32,
) -> SysResult {
    Ok(Outcome::Continue)
}
