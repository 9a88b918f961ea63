//! Files without a name that only the supervisor can change.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, openat};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::unistd::ftruncate;

use crate::abi::Errno;

fn errno(error: nix::Error) -> Errno {
    Errno::new(error as i32)
}

/// A file of `size` bytes whose size is fixed: whoever maps it never meets SIGBUS.
///
/// # Errors
/// `EMFILE`, `ENOMEM`.
pub fn memfd(size: i64) -> Result<OwnedFd, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = memfd_create(c"cage", flags).map_err(errno)?;
    ftruncate(&file, size).map_err(errno)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(errno)?;
    Ok(file)
}

/// Another open file of the same, for reading only: a shared mapping of it can never become writable.
///
/// # Errors
/// `EMFILE`.
pub fn reopen_read_only(host_proc: BorrowedFd<'_>, file: &OwnedFd) -> Result<OwnedFd, Errno> {
    let name = format!("self/fd/{}", file.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    openat(host_proc, name.as_str(), flags, Mode::empty()).map_err(errno)
}
