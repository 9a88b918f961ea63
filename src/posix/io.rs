//! Data calls on a descriptor. They pass unless they are to be mediated; then the number is looked up and the kernel runs them.

use super::{Ctx, Outcome, SysResult};
use crate::guest::{Fd, UserIn, UserOut};

/// See read(2).
pub fn read(cx: &Ctx<'_>, fd: Fd, _buf: UserOut, _count: usize) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See write(2).
pub fn write(cx: &Ctx<'_>, fd: Fd, _buf: UserIn, _count: usize) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See lseek(2).
pub fn lseek(cx: &Ctx<'_>, fd: Fd, _offset: i64, _whence: i32) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See pread64(2).
pub fn pread64(cx: &Ctx<'_>, fd: Fd, _buf: UserOut, _count: usize, _offset: i64) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See pwrite64(2).
pub fn pwrite64(cx: &Ctx<'_>, fd: Fd, _buf: UserIn, _count: usize, _offset: i64) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See readv(2).
pub fn readv(cx: &Ctx<'_>, fd: Fd, _iov: UserIn, _iovcnt: i32) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See writev(2).
pub fn writev(cx: &Ctx<'_>, fd: Fd, _iov: UserIn, _iovcnt: i32) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See flock(2).
pub fn flock(cx: &Ctx<'_>, fd: Fd, _op: i32) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See fsync(2).
pub fn fsync(cx: &Ctx<'_>, fd: Fd) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See fdatasync(2).
pub fn fdatasync(cx: &Ctx<'_>, fd: Fd) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See ftruncate(2).
pub fn ftruncate(cx: &Ctx<'_>, fd: Fd, _length: i64) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See getdents(2).
pub fn getdents(cx: &Ctx<'_>, fd: Fd, _dirp: UserOut, _count: u32) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See readahead(2).
pub fn readahead(cx: &Ctx<'_>, fd: Fd, _offset: i64, _count: usize) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See getdents64(2).
pub fn getdents64(cx: &Ctx<'_>, fd: Fd, _dirp: UserOut, _count: u32) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See fadvise64(2).
pub fn fadvise64(cx: &Ctx<'_>, fd: Fd, _offset: i64, _len: i64, _advice: i32) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See sync_file_range(2).
pub fn sync_file_range(cx: &Ctx<'_>, fd: Fd, _offset: i64, _nbytes: i64, _flags: u32) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See fallocate(2).
pub fn fallocate(cx: &Ctx<'_>, fd: Fd, _mode: i32, _offset: i64, _len: i64) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See preadv(2).
pub fn preadv(
    cx: &Ctx<'_>,
    fd: Fd,
    _iov: UserIn,
    _iovcnt: i32,
    _pos_l: u64,
    _pos_h: u64,
) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See pwritev(2).
pub fn pwritev(
    cx: &Ctx<'_>,
    fd: Fd,
    _iov: UserIn,
    _iovcnt: i32,
    _pos_l: u64,
    _pos_h: u64,
) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See syncfs(2).
pub fn syncfs(cx: &Ctx<'_>, fd: Fd) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See preadv2(2).
pub fn preadv2(
    cx: &Ctx<'_>,
    fd: Fd,
    _iov: UserIn,
    _iovcnt: i32,
    _pos_l: u64,
    _pos_h: u64,
    _flags: i32,
) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See pwritev2(2).
pub fn pwritev2(
    cx: &Ctx<'_>,
    fd: Fd,
    _iov: UserIn,
    _iovcnt: i32,
    _pos_l: u64,
    _pos_h: u64,
    _flags: i32,
) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See cachestat(2).
pub fn cachestat(
    cx: &Ctx<'_>,
    fd: Fd,
    _cstat_range: UserIn,
    _cstat: UserOut,
    _flags: u32,
) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}
