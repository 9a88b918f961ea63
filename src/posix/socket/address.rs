//! Socket addresses: copied once, judged on the copy, handed to the kernel as that copy. A path becomes an open place, and
//! the kernel is given that place's name instead.

use std::os::fd::{AsFd, OwnedFd};

use crate::abi::Errno;
use crate::guest::DirFd;
use crate::posix::path::{Kind, Last, Path};
use crate::posix::{Ctx, Forward, Lent};
use crate::sys;
use crate::sys::socket::ADDRESS_MAX;

/// `sizeof(struct sockaddr_un)`.
const UNIX_MAX: usize = 110;
/// Where `sun_path` begins.
const PATH_AT: usize = 2;

/// An address as the kernel is to read it.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// A socket's place, to be named in the bytes.
    pub(super) place: Option<OwnedFd>,
}

/// The path of a path socket's address.
pub(super) fn path_of(bytes: &[u8]) -> Option<&[u8]> {
    let family = bytes.get(..2)?;
    if family != u16::try_from(libc::AF_UNIX).ok()?.to_ne_bytes() {
        return None;
    }
    let path = bytes.get(PATH_AT..)?;
    let end = path.iter().position(|&byte| byte == 0);
    let path = path.get(..end.unwrap_or(path.len()))?;
    (!path.is_empty()).then_some(path)
}

/// Copies an address in, as the kernel's `move_addr_to_kernel` does.
pub(super) fn copy_in(cx: &Ctx<'_>, addr: u64, len: i32) -> Result<Vec<u8>, Errno> {
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    if len > ADDRESS_MAX {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; len];
    cx.guest.read_exact(addr, &mut bytes)?;
    Ok(bytes)
}

/// Copies an address out, as the kernel's `move_addr_to_user` does: cut to the room, its real length told.
pub(super) fn copy_out(cx: &Ctx<'_>, name: &[u8], addr: u64, len_at: u64) -> Result<(), Errno> {
    let mut room = [0; 4];
    cx.guest.read_exact(len_at, &mut room)?;
    let room = usize::try_from(i32::from_ne_bytes(room)).map_err(|_| Errno::EINVAL)?;
    cx.guest.write_all(addr, name.get(..room).unwrap_or(name))?;
    let len = u32::try_from(name.len()).map_err(|_| Errno::EINVAL)?;
    cx.guest.write_all(len_at, &len.to_ne_bytes())
}

/// Judges an address to connect or send to. `walks` says whether the socket would look up a path at all.
///
/// A path goes to the kernel only as the place that was judged. Where the socket looks up none, the path's bytes are
/// taken out: another thread may put another socket at the number before the kernel looks.
pub(super) fn judge(
    cx: &Ctx<'_>,
    mut bytes: Vec<u8>,
    walks: impl FnOnce() -> Result<bool, Errno>,
) -> Result<Target, Errno> {
    let Some(path) = path_of(&bytes) else {
        return Ok(Target { bytes, place: None });
    };
    if bytes.len() > UNIX_MAX || !walks()? {
        bytes.iter_mut().skip(PATH_AT).for_each(|byte| *byte = 0);
        return Ok(Target { bytes, place: None });
    }
    let place = find(cx, path)?;
    let mount = sys::fs::mount_id(place.as_fd()).map_err(|_| Errno::ECONNREFUSED)?;
    if !cx.kernel.private_mounts.contains(&mount) {
        return Err(Errno::ECONNREFUSED);
    }
    bytes.resize(UNIX_MAX, 0);
    bytes.iter_mut().skip(PATH_AT).for_each(|byte| *byte = 0);
    Ok(Target {
        bytes,
        place: Some(place),
    })
}

/// Opens a path as the cage sees it, as a place.
fn find(cx: &Ctx<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = Path::new(cx, DirFd::CWD, path.to_vec(), Last::Follow)?;
    path.run(cx, |target| match target.kind {
        Kind::Name => sys::fs::open_place(target.dir, target.name, 0),
        Kind::Object(object) => object.file.try_clone().map_err(|_| Errno::ENFILE),
        // Never a socket.
        Kind::Link(_) => Err(Errno::ELOOP),
        Kind::Doctored(_) | Kind::Refused(_) => Err(Errno::ECONNREFUSED),
    })
}

/// Notes a path for the log.
pub(super) fn note(cx: &Ctx<'_>, path: &[u8]) {
    // Making a path of it notes it; whether it is there the kernel will say.
    let _ = Path::new(cx, DirFd::CWD, path.to_vec(), Last::Keep);
}

impl Target {
    /// The call with this address on the page that the cage cannot write: `arg` points at it, `len_arg` tells its length.
    pub(super) fn lend(self, mut forward: Forward, arg: usize, len_arg: usize) -> Forward {
        if let Some(len) = forward.args.get_mut(len_arg) {
            *len = self.bytes.len() as u64;
        }
        let mut lent = Lent {
            arg,
            bytes: self.bytes,
            ..Lent::default()
        };
        if lent.bytes.is_empty() {
            // An address of no bytes is not the same as no address.
            lent.bytes.push(0);
        }
        if let Some(place) = self.place {
            lent.path_at = Some(PATH_AT);
            forward = forward.lend_file(place);
        }
        forward.lend(lent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &[u8]) -> Vec<u8> {
        [&1u16.to_ne_bytes()[..], path].concat()
    }

    #[test]
    fn only_a_path_is_a_path() {
        assert_eq!(path_of(&unix(b"a/b\0junk")), Some(&b"a/b"[..]));
        assert_eq!(path_of(&unix(b"/no/end")), Some(&b"/no/end"[..]));
        assert_eq!(path_of(&unix(b"\0abstract")), None);
        assert_eq!(path_of(&unix(b"")), None);
        assert_eq!(path_of(&[1]), None);
        assert_eq!(path_of(&[]), None);
        assert_eq!(path_of(&[2, 0, b'x', b'y']), None);
    }
}
