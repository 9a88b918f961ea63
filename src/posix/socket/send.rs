//! sendto(2), sendmsg(2) and sendmmsg(2) with what a register cannot hold: native, by the cage itself (credentials, SIGPIPE
//! and blocking are its own), with the address and the header that points at it out of the cage's reach.
//!
//! Data, buffer lists and control data stay in the cage's memory: nothing is decided on them here. The numbers of an
//! `SCM_RIGHTS` are looked up by the kernel in the cage's real table, which holds nothing that the virtual one does not.

use zerocopy::IntoBytes;

use super::{MAX_IOV, MSG_CMSG_COMPAT, address, lookup};
use crate::abi::layout::{Iovec, Msghdr};
use crate::abi::{Errno, Sysno};
use crate::guest::{Addr, Fd, UserIn, UserPtr};
use crate::posix::{Ctx, Forward, Lent, Outcome, SysResult};
use crate::sys;
use crate::sys::socket::ADDRESS_MAX;

/// The kernel's `MAX_RW_COUNT`: where sendto and sendmsg begin to treat a length differently.
const MAX_RW_COUNT: u64 = 0x7fff_f000;
/// `sizeof(struct mmsghdr)`, and where its `msg_len` is.
const MMSGHDR: u64 = 64;
const MSG_LEN_AT: u64 = 56;

fn register(fd: Fd) -> u64 {
    u64::from(fd.0.cast_unsigned())
}

/// Whether a send on this socket looks up a path.
fn walks(cx: &Ctx<'_>, fd: Fd) -> Result<bool, Errno> {
    cx.with_file(fd, |socket| {
        Ok(sys::socket::domain(socket)? == libc::AF_UNIX
            && sys::socket::kind(socket)? == libc::SOCK_DGRAM)
    })
}

/// See sendto(2).
pub fn sendto(
    cx: &Ctx<'_>,
    sockfd: Fd,
    buf: UserIn,
    len: usize,
    flags: i32,
    dest_addr: UserIn,
    addrlen: i32,
) -> SysResult {
    lookup(cx, sockfd)?;
    if dest_addr.0 == 0 {
        return Ok(Outcome::Continue);
    }
    let bytes = address::copy_in(cx, dest_addr.0, addrlen)?;
    let target = address::judge(cx, bytes, || walks(cx, sockfd))?;
    let flags = u64::from(flags.cast_unsigned());
    let args = [register(sockfd), buf.0, len as u64, flags, 0, 0];
    target.lend(Forward::new(Sysno::sendto, args), 4, 5).into()
}

/// The native call that sends one message.
fn message(cx: &Ctx<'_>, sockfd: Fd, at: u64, flags: i32) -> Result<Forward, Errno> {
    let mut header: Msghdr = cx.guest.get(UserPtr::new(at))?;
    header.pad0 = 0;
    header.pad1 = 0;
    let mut target = address::Target::default();
    if header.name == 0 {
        header.namelen = 0;
    }
    let namelen = usize::try_from(header.namelen.cast_signed()).map_err(|_| Errno::EINVAL)?;
    if namelen > 0 {
        let len = i32::try_from(namelen.min(ADDRESS_MAX)).map_err(|_| Errno::EINVAL)?;
        let bytes = address::copy_in(cx, header.name, len)?;
        target = address::judge(cx, bytes, || walks(cx, sockfd))?;
    }
    let flags = u64::from(flags.cast_unsigned());
    if target.bytes.is_empty() {
        header.name = 0;
        if header.controllen == 0 && header.iovlen == 1 {
            let iov: Iovec = cx.guest.get(UserPtr::new(header.iov))?;
            if iov.len <= MAX_RW_COUNT {
                let args = [register(sockfd), iov.base, iov.len, flags, 0, 0];
                return Ok(Forward::new(Sysno::sendto, args));
            }
        }
    }
    let mut lent = Lent {
        arg: 1,
        ..Lent::default()
    };
    let name_at = size_of::<Msghdr>();
    if !target.bytes.is_empty() {
        header.name = name_at as u64;
        header.namelen = u32::try_from(target.bytes.len()).map_err(|_| Errno::EINVAL)?;
        lent.relocations.push(0);
    }
    lent.bytes = header.as_bytes().to_vec();
    lent.bytes.extend_from_slice(&target.bytes);
    let mut forward = Forward::new(Sysno::sendmsg, [register(sockfd), 0, flags, 0, 0, 0]);
    if let Some(place) = target.place {
        lent.path_at = Some(name_at + 2);
        forward = forward.lend_file(place);
    }
    Ok(forward.lend(lent))
}

/// See sendmsg(2).
pub fn sendmsg(cx: &Ctx<'_>, sockfd: Fd, msg: UserIn, flags: i32) -> SysResult {
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    lookup(cx, sockfd)?;
    message(cx, sockfd, msg.0, flags)?.into()
}

/// A sendmmsg under way.
#[derive(Clone, Copy)]
struct Batch {
    sockfd: Fd,
    messages: u64,
    count: u64,
    flags: i32,
    sent: u64,
}

/// See sendmmsg(2).
pub fn sendmmsg(cx: &Ctx<'_>, sockfd: Fd, msgvec: Addr, vlen: u32, flags: i32) -> SysResult {
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    lookup(cx, sockfd)?;
    let batch = Batch {
        sockfd,
        messages: msgvec.0,
        count: u64::from(vlen).min(MAX_IOV as u64),
        flags,
        sent: 0,
    };
    batch.step(cx)
}

impl Batch {
    /// Sends the next message; the kernel's answer to it leads to the one after.
    fn step(mut self, cx: &Ctx<'_>) -> SysResult {
        if self.sent >= self.count {
            return Outcome::value(self.sent);
        }
        let entry = match self.messages.checked_add(self.sent * MMSGHDR) {
            Some(entry) => entry,
            None => return self.end(Errno::EFAULT),
        };
        let forward = match message(cx, self.sockfd, entry, self.flags) {
            Ok(forward) => forward,
            Err(errno) => return self.end(errno),
        };
        forward
            .then(move |cx, result| {
                let Ok(len) = u32::try_from(result) else {
                    return match self.sent {
                        0 => Ok(Outcome::Continue),
                        sent => Outcome::value(sent),
                    };
                };
                if let Err(errno) = cx
                    .guest
                    .write_all(entry.wrapping_add(MSG_LEN_AT), &len.to_ne_bytes())
                {
                    return self.end(errno);
                }
                self.sent += 1;
                self.step(cx)
            })
            .into()
    }

    /// An error counts only where nothing was sent.
    fn end(self, errno: Errno) -> SysResult {
        match self.sent {
            0 => Err(errno),
            sent => Outcome::value(sent),
        }
    }
}
