//! recvmsg(2) and recvmmsg(2): the supervisor receives without waiting, since control data may bring descriptors that only
//! it can number; the cage waits.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::{self, Room};
use super::wait::{Wait, pause};
use super::{MAX_IOV, MSG_CMSG_COMPAT, address, lookup};
use crate::abi::Errno;
use crate::abi::layout::{Iovec, Msghdr, Timespec};
use crate::cage::OpenFile;
use crate::guest::{Addr, Fd, UserPtr};
use crate::posix::{Ctx, Outcome, SysResult};
use crate::sys::closer::Loan;
use crate::sys::socket as host;

/// The most that one call takes through the supervisor; a stream's reader may get less than it asked for.
const MAX_DATA: usize = 1 << 20;
/// The end of what a program can address.
const USER_END: u64 = 0x7fff_ffff_f000;
/// Offsets in `struct msghdr` and `struct mmsghdr`.
const NAMELEN_AT: u64 = 8;
const CONTROLLEN_AT: u64 = 40;
const FLAGS_AT: u64 = 48;
const MSG_LEN_AT: u64 = 56;
const MMSGHDR: u64 = 64;

/// A message header, as it was when it was read, once.
struct Shape {
    at: u64,
    header: Msghdr,
    iov: Vec<Iovec>,
    total: usize,
}

impl Shape {
    fn read(cx: &Ctx<'_>, at: u64) -> Result<Self, Errno> {
        let header: Msghdr = cx.guest.get(UserPtr::new(at))?;
        if header.name != 0 && header.namelen.cast_signed() < 0 {
            return Err(Errno::EINVAL);
        }
        let count = usize::try_from(header.iovlen).unwrap_or(usize::MAX);
        if count > MAX_IOV {
            return Err(Errno::EMSGSIZE);
        }
        let iov: Vec<Iovec> = cx.guest.get_array(UserPtr::new(header.iov), count)?;
        let mut total = 0usize;
        for part in &iov {
            if part.len.cast_signed() < 0 {
                return Err(Errno::EINVAL);
            }
            if part
                .base
                .checked_add(part.len)
                .is_none_or(|end| end > USER_END)
            {
                return Err(Errno::EFAULT);
            }
            total = total.saturating_add(usize::try_from(part.len).unwrap_or(usize::MAX));
        }
        Ok(Self {
            at,
            header,
            iov,
            total,
        })
    }

    /// Puts data into the buffers, after the first `skip` bytes of them.
    fn scatter(&self, cx: &Ctx<'_>, mut skip: usize, mut data: &[u8]) -> Result<(), Errno> {
        for part in &self.iov {
            let len = usize::try_from(part.len).unwrap_or(usize::MAX);
            if skip >= len {
                skip -= len;
                continue;
            }
            let (now, later) = data.split_at(data.len().min(len - skip));
            cx.guest
                .write_all(part.base.wrapping_add(skip as u64), now)?;
            skip = 0;
            data = later;
            if data.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Receives once, without waiting, and tells the cage all of it.
    fn receive(
        &self,
        cx: &Ctx<'_>,
        socket: BorrowedFd<'_>,
        done: usize,
        flags: i32,
    ) -> Result<Received, Errno> {
        let mut data = vec![0; (self.total - done.min(self.total)).min(MAX_DATA)];
        let mut message = host::receive(socket, &mut data, flags & !libc::MSG_WAITALL)?;
        // TCP takes MSG_TRUNC for "throw it away": nothing was copied.
        let thrown_away = flags & libc::MSG_TRUNC != 0
            && host::kind(socket)? == libc::SOCK_STREAM
            && host::domain(socket)? != libc::AF_UNIX;
        if !thrown_away {
            self.scatter(cx, done, data.get(..message.len).unwrap_or(&data))?;
        }
        let control = std::mem::take(&mut message.control);
        let plain = control.is_empty();
        let room = Room {
            at: self.header.control,
            len: self.header.controllen,
            cloexec: flags & libc::MSG_CMSG_CLOEXEC != 0,
        };
        let written = control::deliver(cx, control, room);
        if self.header.name != 0 {
            let len_at = self.at.wrapping_add(NAMELEN_AT);
            address::copy_out(cx, &message.name, self.header.name, len_at)?;
        }
        let mut told = message.flags & !libc::MSG_CMSG_CLOEXEC;
        told |= flags & libc::MSG_CMSG_CLOEXEC;
        if written.truncated {
            told |= libc::MSG_CTRUNC;
        }
        cx.guest
            .write_all(self.at.wrapping_add(FLAGS_AT), &told.to_ne_bytes())?;
        cx.guest.write_all(
            self.at.wrapping_add(CONTROLLEN_AT),
            &written.used.to_ne_bytes(),
        )?;
        Ok(Received {
            len: message.len,
            flags: told,
            plain,
        })
    }
}

/// What came.
struct Received {
    len: usize,
    flags: i32,
    /// Without control data.
    plain: bool,
}

/// Whether a call with these flags waits on this socket.
fn waits(socket: BorrowedFd<'_>, flags: i32) -> Result<bool, Errno> {
    // Urgent data and the error queue are never waited for.
    let never = libc::MSG_DONTWAIT | libc::MSG_OOB | libc::MSG_ERRQUEUE;
    Ok(flags & never == 0 && !host::nonblocking(socket)?)
}

fn wait_for(
    fd: Fd,
    file: &Arc<OpenFile>,
    socket: BorrowedFd<'_>,
    wait: Option<Wait>,
) -> Result<Wait, Errno> {
    match wait {
        Some(wait) => Ok(wait),
        None => {
            let patience = host::receive_timeout(socket)?;
            Ok(Wait::new(fd, Arc::clone(file), libc::POLLIN, patience))
        }
    }
}

/// The error that an earlier recvmmsg came upon after it had messages to give.
fn kept_error(file: &OpenFile, flags: i32) -> Result<(), Errno> {
    if flags & libc::MSG_ERRQUEUE != 0 {
        return Ok(());
    }
    match file.take_error() {
        0 => Ok(()),
        errno => Err(Errno::new(errno)),
    }
}

/// A recvmsg under way.
struct One {
    sockfd: Fd,
    file: Arc<OpenFile>,
    shape: Shape,
    flags: i32,
    done: usize,
}

/// See recvmsg(2).
pub fn recvmsg(cx: &Ctx<'_>, sockfd: Fd, msg: Addr, flags: i32) -> SysResult {
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let file = lookup(cx, sockfd)?;
    let shape = Shape::read(cx, msg.0)?;
    kept_error(&file, flags)?;
    let call = One {
        sockfd,
        file,
        shape,
        flags,
        done: 0,
    };
    call.attempt(cx, None)
}

impl One {
    fn attempt(mut self, cx: &Ctx<'_>, wait: Option<Wait>) -> SysResult {
        if cx.begin_change().is_err() {
            return pause(self.done as u64, move |cx| self.attempt(cx, wait));
        }
        let loan = Loan::from(cx.guest.borrow_file(self.sockfd.0)?);
        let socket = loan.as_fd();
        loop {
            let received = match self.shape.receive(cx, socket, self.done, self.flags) {
                Ok(received) => received,
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(errno) => return self.end(errno),
            };
            let before = self.done;
            self.done = self.done.saturating_add(received.len);
            let more = self.flags & (libc::MSG_WAITALL | libc::MSG_PEEK) == libc::MSG_WAITALL
                && received.len > 0
                && received.plain
                && self.done < self.shape.total
                && before < self.shape.total
                && host::kind(socket)? == libc::SOCK_STREAM
                && waits(socket, self.flags)?;
            if !more {
                return Outcome::value(self.done);
            }
        }
        if !waits(socket, self.flags)? {
            return self.end(Errno::EAGAIN);
        }
        let wait = wait_for(self.sockfd, &self.file, socket, wait)?;
        drop(cx.take_change());
        wait.forward(self.done as u64, move |cx, wait| {
            self.attempt(cx, Some(wait))
        })
    }

    fn end(self, errno: Errno) -> SysResult {
        match self.done {
            0 => Err(errno),
            done => Outcome::value(done),
        }
    }
}

/// A recvmmsg under way.
struct Many {
    sockfd: Fd,
    file: Arc<OpenFile>,
    messages: u64,
    count: u64,
    flags: i32,
    timeout: Option<(u64, Instant)>,
    got: u64,
}

/// See recvmmsg(2). As on Linux the time-out is looked at only after a message.
pub fn recvmmsg(
    cx: &Ctx<'_>,
    sockfd: Fd,
    msgvec: Addr,
    vlen: u32,
    flags: i32,
    timeout: Addr,
) -> SysResult {
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let timeout = if timeout.0 == 0 {
        None
    } else {
        let spec: Timespec = cx.guest.get(UserPtr::new(timeout.0))?;
        let nanos = u32::try_from(spec.nsec).map_err(|_| Errno::EINVAL)?;
        let seconds = u64::try_from(spec.sec).map_err(|_| Errno::EINVAL)?;
        if nanos >= 1_000_000_000 {
            return Err(Errno::EINVAL);
        }
        let end = Instant::now().checked_add(Duration::new(seconds, nanos));
        end.map(|end| (timeout.0, end))
    };
    let file = lookup(cx, sockfd)?;
    kept_error(&file, flags)?;
    if flags & libc::MSG_ERRQUEUE == 0 {
        cx.with_file(sockfd, host::take_error)?;
    }
    let call = Many {
        sockfd,
        file,
        messages: msgvec.0,
        count: u64::from(vlen).min(MAX_IOV as u64),
        flags,
        timeout,
        got: 0,
    };
    call.attempt(cx, None)
}

impl Many {
    fn attempt(mut self, cx: &Ctx<'_>, mut wait: Option<Wait>) -> SysResult {
        if cx.begin_change().is_err() {
            return pause(self.got, move |cx| self.attempt(cx, wait));
        }
        let loan = Loan::from(cx.guest.borrow_file(self.sockfd.0)?);
        let socket = loan.as_fd();
        while self.got < self.count {
            match self.next(cx, socket) {
                Ok(true) => {
                    if let Some(wait) = &mut wait {
                        wait.begin();
                    }
                }
                Ok(false) => break,
                Err(Errno::EAGAIN | Errno::EINTR) if waits(socket, self.flags)? => {
                    let wait = wait_for(self.sockfd, &self.file, socket, wait)?;
                    drop(cx.take_change());
                    return wait.forward(self.got, move |cx, wait| self.attempt(cx, Some(wait)));
                }
                Err(errno) if self.got > 0 => {
                    // What came counts; the error is the next call's.
                    if errno != Errno::EAGAIN {
                        self.file.keep_error(errno.into_raw());
                    }
                    break;
                }
                Err(errno) => return Err(errno),
            }
        }
        Outcome::value(self.got)
    }

    /// Receives the next message; says whether there may be another.
    fn next(&mut self, cx: &Ctx<'_>, socket: BorrowedFd<'_>) -> Result<bool, Errno> {
        let entry = self
            .messages
            .checked_add(self.got * MMSGHDR)
            .ok_or(Errno::EFAULT)?;
        let shape = Shape::read(cx, entry)?;
        let received = shape.receive(cx, socket, 0, self.flags & !libc::MSG_WAITFORONE)?;
        let len = u32::try_from(received.len).map_err(|_| Errno::EINVAL)?;
        cx.guest
            .write_all(entry.wrapping_add(MSG_LEN_AT), &len.to_ne_bytes())?;
        self.got += 1;
        if self.flags & libc::MSG_WAITFORONE != 0 {
            self.flags |= libc::MSG_DONTWAIT;
        }
        if let Some((at, end)) = self.timeout {
            let left = end.saturating_duration_since(Instant::now());
            let spec = Timespec {
                sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                nsec: i64::from(left.subsec_nanos()),
            };
            cx.guest.put(UserPtr::new(at), &spec)?;
            if left.is_zero() {
                return Ok(false);
            }
        }
        Ok(received.flags & libc::MSG_OOB == 0)
    }
}
