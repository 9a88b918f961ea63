//! Data calls on a descriptor. They pass unless they are to be mediated; then the number is looked up and the kernel runs them.

use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
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
pub fn pread64(cx: &Ctx<'_>, fd: Fd, _buf: UserOut, _count: usize, offset: i64) -> SysResult {
    if offset < 0 {
        return Err(Errno::EINVAL);
    }
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See pwrite64(2).
pub fn pwrite64(cx: &Ctx<'_>, fd: Fd, _buf: UserIn, _count: usize, offset: i64) -> SysResult {
    if offset < 0 {
        return Err(Errno::EINVAL);
    }
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
pub fn flock(_cx: &Ctx<'_>, _fd: Fd, _op: i32) -> SysResult {
    // Linux looks at the operation first; the kernel holds nothing here that the virtual table does not.
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
pub fn ftruncate(cx: &Ctx<'_>, fd: Fd, length: i64) -> SysResult {
    if length < 0 {
        return Err(Errno::EINVAL);
    }
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
    pos_l: u64,
    _pos_h: u64,
) -> SysResult {
    if pos_l.cast_signed() < 0 {
        return Err(Errno::EINVAL);
    }
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See pwritev(2).
pub fn pwritev(
    cx: &Ctx<'_>,
    fd: Fd,
    _iov: UserIn,
    _iovcnt: i32,
    pos_l: u64,
    _pos_h: u64,
) -> SysResult {
    if pos_l.cast_signed() < 0 {
        return Err(Errno::EINVAL);
    }
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
    pos_l: u64,
    _pos_h: u64,
    _flags: i32,
) -> SysResult {
    if pos_l.cast_signed() < -1 {
        return Err(Errno::EINVAL);
    }
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See pwritev2(2).
pub fn pwritev2(
    cx: &Ctx<'_>,
    fd: Fd,
    _iov: UserIn,
    _iovcnt: i32,
    pos_l: u64,
    _pos_h: u64,
    _flags: i32,
) -> SysResult {
    if pos_l.cast_signed() < -1 {
        return Err(Errno::EINVAL);
    }
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

#[cfg(test)]
mod tests {
    use crate::abi::Errno;
    use crate::posix::bench_cage::{TestCage, fails};

    #[test]
    fn a_number_that_is_not_open_is_told_in_linuxs_order() {
        let cage = TestCage::new();
        let below = u64::MAX - 1;
        for (name, args, errno) in [
            ("read", [0, 0, 1, 0], Errno::EBADF),
            ("pread64", [0, 0, 1, 0], Errno::EBADF),
            ("pread64", [0, 0, 1, u64::MAX], Errno::EINVAL),
            ("pwritev", [0, 0, 1, below], Errno::EINVAL),
            ("preadv2", [0, 0, 1, below], Errno::EINVAL),
            ("preadv2", [0, 0, 1, u64::MAX], Errno::EBADF),
            ("ftruncate", [0, u64::MAX, 0, 0], Errno::EINVAL),
            ("fsync", [0, 0, 0, 0], Errno::EBADF),
        ] {
            assert_eq!(cage.call(name, &args), fails(errno), "{name}{args:?}");
        }
        assert_eq!(cage.call("eventfd", &[0]), 0);
        assert_eq!(cage.call("read", &[0, 0, 1]), 0);
    }
}
