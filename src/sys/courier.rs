//! A courier: a pair of sockets, one end in a cage at a number that its programs do not look at, by which files reach its
//! kernel table without a stop or a notification. The cage takes each file out by a call of its own, at once.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::descriptor::owned;
use crate::abi::Errno;

/// The number of a cage's end. Shells look for a number to put aside from 255 downwards, and skip what is open.
pub const COURIER: i32 = 250;

/// The ends that the supervisor holds.
#[derive(Debug)]
pub struct Courier {
    ours: OwnedFd,
    /// A copy of the cage's.
    theirs: OwnedFd,
}

impl Courier {
    /// A courier between this end and a copy of the cage's.
    #[must_use]
    pub fn new(ours: OwnedFd, theirs: OwnedFd) -> Self {
        Self { ours, theirs }
    }

    /// Sends a file.
    ///
    /// # Errors
    /// What sendmsg(2) gives: `EAGAIN` where the cage took none of many, `ETOOMANYREFS`.
    pub fn send(&self, file: impl AsFd) -> Result<(), Errno> {
        let files = [file.as_fd().as_raw_fd()];
        sendmsg::<()>(
            self.ours.as_raw_fd(),
            &[std::io::IoSlice::new(b"f")],
            &[ControlMessage::ScmRights(&files)],
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map(drop)
        .map_err(|error| Errno::new(error as i32))
    }

    /// Takes back what the cage has not taken.
    #[must_use]
    pub fn take_back(&self) -> Option<OwnedFd> {
        let mut byte = [0];
        let mut vector = [std::io::IoSliceMut::new(&mut byte)];
        let mut control = nix::cmsg_space!([RawFd; 1]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(
            self.theirs.as_raw_fd(),
            &mut vector,
            Some(&mut control),
            flags,
        )
        .ok()?;
        let file = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmRights(files) => files.first().copied(),
            _ => None,
        });
        let number = usize::try_from(file?).map_err(|_| Errno::EBADF);
        owned(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn what_was_not_taken_comes_back_once() {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::Datagram,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        let courier = Courier::new(ours, theirs);
        assert!(courier.take_back().is_none());
        let file = File::open("/dev/null").unwrap();
        courier.send(&file).unwrap();
        let back = courier.take_back().unwrap();
        let device = |file: &dyn AsFd| nix::sys::stat::fstat(file.as_fd()).unwrap().st_rdev;
        assert_eq!(device(&back), device(&file));
        assert!(courier.take_back().is_none());
    }
}
