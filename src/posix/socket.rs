//! Sockets.

use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::guest::{Addr, Fd, UserIn, UserOut};

/// See socket(2).
pub fn socket(_cx: &Ctx<'_>, _domain: i32, _ty: i32, _protocol: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See connect(2).
pub fn connect(_cx: &Ctx<'_>, _sockfd: Fd, _addr: UserIn, _addrlen: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See accept(2).
pub fn accept(_cx: &Ctx<'_>, _sockfd: Fd, _addr: UserOut, _addrlen: Addr) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See sendto(2).
pub fn sendto(
    _cx: &Ctx<'_>,
    _sockfd: Fd,
    _buf: UserIn,
    _len: usize,
    _flags: i32,
    _dest_addr: UserIn,
    _addrlen: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See recvfrom(2).
pub fn recvfrom(
    cx: &Ctx<'_>,
    sockfd: Fd,
    _buf: UserOut,
    _len: usize,
    _flags: i32,
    _src_addr: UserOut,
    _addrlen: Addr,
) -> SysResult {
    cx.descriptor(sockfd)?;
    Ok(Outcome::Continue)
}

/// See sendmsg(2).
pub fn sendmsg(_cx: &Ctx<'_>, _sockfd: Fd, _msg: UserIn, _flags: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See recvmsg(2).
pub fn recvmsg(_cx: &Ctx<'_>, _sockfd: Fd, _msg: Addr, _flags: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See shutdown(2).
pub fn shutdown(cx: &Ctx<'_>, sockfd: Fd, _how: i32) -> SysResult {
    cx.descriptor(sockfd)?;
    Ok(Outcome::Continue)
}

/// See bind(2).
pub fn bind(_cx: &Ctx<'_>, _sockfd: Fd, _addr: UserIn, _addrlen: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See listen(2).
pub fn listen(cx: &Ctx<'_>, sockfd: Fd, _backlog: i32) -> SysResult {
    cx.descriptor(sockfd)?;
    Ok(Outcome::Continue)
}

/// See getsockname(2).
pub fn getsockname(cx: &Ctx<'_>, sockfd: Fd, _addr: UserOut, _addrlen: Addr) -> SysResult {
    cx.descriptor(sockfd)?;
    Ok(Outcome::Continue)
}

/// See getpeername(2).
pub fn getpeername(cx: &Ctx<'_>, sockfd: Fd, _addr: UserOut, _addrlen: Addr) -> SysResult {
    cx.descriptor(sockfd)?;
    Ok(Outcome::Continue)
}

/// See socketpair(2).
pub fn socketpair(
    _cx: &Ctx<'_>,
    _domain: i32,
    _ty: i32,
    _protocol: i32,
    _sv: UserOut,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See setsockopt(2).
pub fn setsockopt(
    cx: &Ctx<'_>,
    sockfd: Fd,
    _level: i32,
    _optname: i32,
    _optval: UserIn,
    _optlen: i32,
) -> SysResult {
    cx.descriptor(sockfd)?;
    Ok(Outcome::Continue)
}

/// See getsockopt(2).
pub fn getsockopt(
    _cx: &Ctx<'_>,
    _sockfd: Fd,
    _level: i32,
    _optname: i32,
    _optval: UserOut,
    _optlen: Addr,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See accept4(2).
pub fn accept4(
    _cx: &Ctx<'_>,
    _sockfd: Fd,
    _addr: UserOut,
    _addrlen: Addr,
    _flags: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See recvmmsg(2).
pub fn recvmmsg(
    _cx: &Ctx<'_>,
    _sockfd: Fd,
    _msgvec: Addr,
    _vlen: u32,
    _flags: i32,
    _timeout: Addr,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See sendmmsg(2).
pub fn sendmmsg(_cx: &Ctx<'_>, _sockfd: Fd, _msgvec: Addr, _vlen: u32, _flags: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}
