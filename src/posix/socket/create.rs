//! socket(2) and socketpair(2): which families there are, and the supervisor's own call for those.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::identity;
use crate::abi::Errno;
use crate::cage::{FileKind, OpenFile};
use crate::guest::UserOut;
use crate::posix::credentials::CAP_NET_RAW;
use crate::posix::{Ctx, Outcome, SysResult};
use crate::sys;

/// The kernel's `NPROTO`.
const FAMILIES: i32 = 46;
/// The kernel's `SOCK_MAX`.
const TYPES: i32 = 11;
/// The kernel's `SOCK_TYPE_MASK`.
const TYPE_MASK: i32 = 0xf;
/// The historic type that means `AF_PACKET`.
const SOCK_PACKET: i32 = 10;

/// What a socket is made of, once judged.
struct Kind {
    domain: i32,
    ty: i32,
    protocol: i32,
    nonblocking: i32,
    cloexec: bool,
}

/// Whether this family, type and protocol may be had: the errors are those of an unprivileged program on a kernel
/// without the other families.
fn judge(cx: &Ctx<'_>, domain: i32, ty: i32, protocol: i32) -> Result<Kind, Errno> {
    let flags = ty & !TYPE_MASK;
    if flags & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let ty = ty & TYPE_MASK;
    if !(0..FAMILIES).contains(&domain) {
        return Err(Errno::EAFNOSUPPORT);
    }
    if ty >= TYPES {
        return Err(Errno::EINVAL);
    }
    match domain {
        libc::AF_UNIX => {}
        libc::AF_INET if ty == SOCK_PACKET => return Err(Errno::EPERM),
        libc::AF_INET | libc::AF_INET6 => match (ty, protocol) {
            // Whether this thread has it in effect is the kernel's to say.
            (libc::SOCK_RAW, _) if cx.kernel.credentials.gave(CAP_NET_RAW) => {}
            (libc::SOCK_RAW, _) => return Err(Errno::EPERM),
            (
                _,
                0
                | libc::IPPROTO_TCP
                | libc::IPPROTO_UDP
                | libc::IPPROTO_ICMP
                | libc::IPPROTO_ICMPV6
                | libc::IPPROTO_UDPLITE
                | libc::IPPROTO_MPTCP,
            ) => {}
            // Other transports: a kernel without them says so (and would have to load a module to say otherwise).
            (_, protocol) if !(0..=libc::IPPROTO_MPTCP).contains(&protocol) => {
                return Err(Errno::EINVAL);
            }
            _ => return Err(Errno::EPROTONOSUPPORT),
        },
        libc::AF_NETLINK => {
            if ty != libc::SOCK_RAW && ty != libc::SOCK_DGRAM {
                return Err(Errno::ESOCKTNOSUPPORT);
            }
            if protocol != libc::NETLINK_ROUTE {
                return Err(Errno::EPROTONOSUPPORT);
            }
        }
        libc::AF_PACKET => return Err(Errno::EPERM),
        _ => return Err(Errno::EAFNOSUPPORT),
    }
    Ok(Kind {
        domain,
        ty,
        protocol,
        nonblocking: flags & libc::SOCK_NONBLOCK,
        cloexec: flags & libc::SOCK_CLOEXEC != 0,
    })
}

/// The number by which the kernel tells sockets apart.
pub(super) fn inode(socket: &OwnedFd) -> Option<u64> {
    nix::sys::stat::fstat(socket.as_fd())
        .ok()
        .map(|stat| stat.st_ino)
}

/// What the log and `/proc/self/fd` call a socket.
pub(super) fn label(socket: &OwnedFd) -> Vec<u8> {
    match inode(socket) {
        Some(inode) => format!("socket:[{inode}]").into_bytes(),
        None => b"socket:".to_vec(),
    }
}

/// See socket(2).
pub fn socket(cx: &Ctx<'_>, domain: i32, ty: i32, protocol: i32) -> SysResult {
    let kind = judge(cx, domain, ty, protocol)?;
    let host = sys::socket::socket(kind.domain, kind.ty | kind.nonblocking, kind.protocol)?;
    let file = OpenFile::new(FileKind::Socket, label(&host));
    Outcome::value(cx.open_lowest(file, host, kind.cloexec)?)
}

/// See socketpair(2).
pub fn socketpair(cx: &Ctx<'_>, domain: i32, ty: i32, protocol: i32, sv: UserOut) -> SysResult {
    if ty & !TYPE_MASK & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    if !cx.has_room(2) {
        return Err(Errno::EMFILE);
    }
    let pair = judge(cx, domain, ty, protocol).and_then(|kind| {
        let (a, b) = sys::socket::pair(kind.domain, kind.ty | kind.nonblocking, kind.protocol)?;
        Ok((a, b, kind.cloexec))
    });
    let (a, b, cloexec) = match pair {
        Ok(pair) => pair,
        Err(errno) => {
            // Linux writes the numbers before it makes the sockets: bad memory comes first.
            cx.guest.read_exact(sv.0, &mut [0; 8])?;
            return Err(errno);
        }
    };
    let peer = identity::caller(cx);
    let open = |host: &OwnedFd| {
        let file = Arc::new(OpenFile::new(FileKind::Socket, label(host)).with_peer(peer));
        let fd = cx.insert_from(0, &file, None, cloexec)?;
        Ok((fd, file))
    };
    let (first, first_file) = open(&a)?;
    let (second, second_file) = open(&b).inspect_err(|_| cx.undo_install(first))?;
    let mut numbers = [0; 8];
    let (low, high) = numbers.split_at_mut(4);
    low.copy_from_slice(&first.to_ne_bytes());
    high.copy_from_slice(&second.to_ne_bytes());
    if let Err(errno) = cx.guest.write_all(sv.0, &numbers) {
        cx.undo_install(first);
        cx.undo_install(second);
        return Err(errno);
    }
    for inode in [&a, &b].into_iter().filter_map(inode) {
        cx.kernel.pairs.note(inode, peer);
    }
    cx.install_if_grantable(first, &first_file, Some(a.into()), cloexec);
    cx.install_if_grantable(second, &second_file, Some(b.into()), cloexec);
    Outcome::DONE
}
