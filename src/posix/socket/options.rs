//! getsockopt(2) and setsockopt(2): the kernel's own but for the peer of what the supervisor made, and for options that
//! make descriptors.

use super::lookup;
use crate::abi::Errno;
use crate::guest::{Addr, Fd, UserIn, UserOut};
use crate::posix::{Ctx, Outcome, SysResult};

/// `SO_PEERPIDFD`.
const SO_PEERPIDFD: i32 = 77;

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

/// Gives as much of an option's value as there is room for.
fn value(cx: &Ctx<'_>, bytes: &[u8], optval: UserOut, optlen: Addr) -> SysResult {
    let mut room = [0; 4];
    cx.guest.read_exact(optlen.0, &mut room)?;
    let room = usize::try_from(i32::from_ne_bytes(room)).map_err(|_| Errno::EINVAL)?;
    let bytes = bytes.get(..room).unwrap_or(bytes);
    cx.guest.write_all(optval.0, bytes)?;
    let len = u32::try_from(bytes.len()).map_err(|_| Errno::EINVAL)?;
    cx.guest.write_all(optlen.0, &len.to_ne_bytes())?;
    Outcome::DONE
}

/// See getsockopt(2).
pub fn getsockopt(
    cx: &Ctx<'_>,
    sockfd: Fd,
    level: i32,
    optname: i32,
    optval: UserOut,
    optlen: Addr,
) -> SysResult {
    let file = lookup(cx, sockfd)?;
    match (level, optname) {
        // It would make a descriptor that nobody knows of; Linux before 6.5 has none.
        (libc::SOL_SOCKET, SO_PEERPIDFD) | (libc::IPPROTO_SCTP, _) => Err(Errno::ENOPROTOOPT),
        (libc::SOL_SOCKET, libc::SO_PEERCRED) => match file.peer() {
            None => Ok(Outcome::Continue),
            Some(peer) => {
                let fields = [peer.pid.cast_unsigned(), peer.uid, peer.gid];
                let bytes: Vec<u8> = fields
                    .iter()
                    .flat_map(|field| field.to_ne_bytes())
                    .collect();
                value(cx, &bytes, optval, optlen)
            }
        },
        (libc::SOL_SOCKET, libc::SO_ERROR) => match file.take_error() {
            0 => Ok(Outcome::Continue),
            errno => value(cx, &errno.to_ne_bytes(), optval, optlen),
        },
        // The kernel translates pids and labels for whoever asks: the cage asks.
        _ => Ok(Outcome::Continue),
    }
}
