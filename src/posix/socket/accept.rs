//! accept(2) and accept4(2): the supervisor takes the connection, the cage waits for it.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::create::label;
use super::wait::{Wait, pause};
use super::{address, lookup};
use crate::abi::Errno;
use crate::cage::{FileKind, OpenFile};
use crate::guest::{Addr, Fd, UserOut};
use crate::posix::{Ctx, Outcome, SysResult};
use crate::sys::closer::Loan;
use crate::sys::socket as host;

/// What the caller asked for.
#[derive(Clone, Copy)]
struct Request {
    listener: Fd,
    addr: UserOut,
    addrlen: Addr,
    flags: i32,
}

/// See accept(2).
pub fn accept(cx: &Ctx<'_>, sockfd: Fd, addr: UserOut, addrlen: Addr) -> SysResult {
    accept4(cx, sockfd, addr, addrlen, 0)
}

/// See accept4(2).
pub fn accept4(cx: &Ctx<'_>, sockfd: Fd, addr: UserOut, addrlen: Addr, flags: i32) -> SysResult {
    let found = lookup(cx, sockfd);
    if found.as_ref().is_err_and(|&errno| errno == Errno::EBADF) {
        return Err(Errno::EBADF);
    }
    if flags & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    if !cx.has_room(1) {
        return Err(Errno::EMFILE);
    }
    let request = Request {
        listener: sockfd,
        addr,
        addrlen,
        flags,
    };
    attempt(cx, request, found?, None)
}

fn attempt(cx: &Ctx<'_>, request: Request, file: Arc<OpenFile>, wait: Option<Wait>) -> SysResult {
    if cx.begin_change().is_err() {
        return pause(0, move |cx| attempt(cx, request, file, wait));
    }
    let listener = Loan::from(cx.guest.borrow_file(request.listener.0)?);
    let listener = listener.as_fd();
    // One that does not listen fails at once, and poll may say nothing of it.
    if host::ready(listener, libc::POLLIN)? || !host::listens(listener)? {
        let mut name = Vec::new();
        let wanted = (request.addr.0 != 0).then_some(&mut name);
        match host::accept_now(listener, request.flags & libc::SOCK_NONBLOCK, wanted) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(connection) => {
                if request.addr.0 != 0 {
                    address::copy_out(cx, &name, request.addr.0, request.addrlen.0)?;
                }
                let cloexec = request.flags & libc::SOCK_CLOEXEC != 0;
                let file = OpenFile::new(FileKind::Socket, label(&connection));
                return Outcome::value(cx.open_lowest(file, connection, cloexec)?);
            }
        }
    }
    if host::nonblocking(listener)? {
        return Err(Errno::EAGAIN);
    }
    let wait = match wait {
        Some(wait) => wait,
        None => {
            let patience = host::receive_timeout(listener)?;
            Wait::new(request.listener, Arc::clone(&file), libc::POLLIN, patience)
        }
    };
    drop(cx.take_change());
    wait.forward(0, move |cx, wait| attempt(cx, request, file, Some(wait)))
}
