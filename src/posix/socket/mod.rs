//! Sockets. What blocks or is tied to its caller (connect, send) runs in the cage, its address on a page that the cage
//! cannot write; what makes descriptors (socket, accept, messages with rights) is done here, without waiting.

mod accept;
mod address;
mod connect;
mod control;
mod create;
mod identity;
mod options;
mod receive;
mod send;
mod wait;

pub use accept::{accept, accept4};
pub use connect::{bind, connect};
pub use create::{socket, socketpair};
pub use options::{getsockopt, setsockopt};
pub use receive::{recvmmsg, recvmsg};
pub use send::{sendmmsg, sendmsg, sendto};

use std::sync::Arc;

use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::cage::{FileKind, OpenFile};
use crate::guest::{Addr, Fd, UserOut};

/// The kernel's own bit for 32-bit callers; nobody may give it.
const MSG_CMSG_COMPAT: i32 = i32::MIN;
/// `UIO_MAXIOV`: buffers of one message, messages of one call.
const MAX_IOV: usize = 1024;

/// The open file of a call that works on sockets alone.
fn lookup(cx: &Ctx<'_>, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
    let file = cx.descriptor(fd)?.file;
    match file.kind() {
        FileKind::Socket => Ok(file),
        FileKind::Place => Err(Errno::EBADF),
        _ => Err(Errno::ENOTSOCK),
    }
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

/// See shutdown(2).
pub fn shutdown(cx: &Ctx<'_>, sockfd: Fd, _how: i32) -> SysResult {
    cx.descriptor(sockfd)?;
    Ok(Outcome::Continue)
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

#[cfg(test)]
mod tests;
