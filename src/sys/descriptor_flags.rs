//! The status flags of the supervisor's own descriptors.

use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Whether a file was opened with `O_PATH`.
#[must_use]
pub fn is_path(file: &OwnedFd) -> bool {
    fcntl(file, FcntlArg::F_GETFL)
        .is_ok_and(|flags| OFlag::from_bits_retain(flags).contains(OFlag::O_PATH))
}
