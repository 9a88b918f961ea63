//! connect(2) and bind(2): native, by the cage itself, on an address that it cannot change any more.

use super::address::{self, Target};
use super::lookup;
use crate::abi::{Errno, Sysno};
use crate::guest::{Fd, UserIn};
use crate::posix::{Ctx, Forward, Outcome, SysResult};
use crate::sys;

fn family(bytes: &[u8]) -> i32 {
    match bytes {
        [low, high, ..] => i32::from(u16::from_ne_bytes([*low, *high])),
        _ => libc::AF_UNSPEC,
    }
}

/// See connect(2).
pub fn connect(cx: &Ctx<'_>, sockfd: Fd, addr: UserIn, addrlen: i32) -> SysResult {
    let found = lookup(cx, sockfd);
    if found.as_ref().is_err_and(|&errno| errno == Errno::EBADF) {
        return Err(Errno::EBADF);
    }
    let bytes = address::copy_in(cx, addr.0, addrlen)?;
    found?;
    let family = family(&bytes);
    let target = address::judge(cx, bytes, || {
        cx.with_file(sockfd, |socket| {
            Ok(sys::socket::domain(socket)? == libc::AF_UNIX)
        })
    })?;
    let args = [u64::from(sockfd.0.cast_unsigned()), 0, 0, 0, 0, 0];
    let forward = target.lend(Forward::new(Sysno::connect, args), 1, 2);
    if family == libc::AF_INET || family == libc::AF_INET6 {
        // The dispatcher looks at the result: a network that is not there is worth a remark.
        forward.then(|_, _| Ok(Outcome::Continue)).into()
    } else {
        forward.into()
    }
}

/// See bind(2).
pub fn bind(cx: &Ctx<'_>, sockfd: Fd, addr: UserIn, addrlen: i32) -> SysResult {
    lookup(cx, sockfd)?;
    let bytes = address::copy_in(cx, addr.0, addrlen)?;
    let mut forward = Forward::new(
        Sysno::bind,
        [u64::from(sockfd.0.cast_unsigned()), 0, 0, 0, 0, 0],
    );
    // The kernel makes the name itself, so that getsockname shows the cage's spelling; what may be written it knows.
    if let Some(path) = address::path_of(&bytes) {
        address::note(cx, path);
        if path.first() != Some(&b'/') {
            forward = forward.at(cx.fs().cwd());
        }
    }
    Target { bytes, place: None }.lend(forward, 1, 2).into()
}
