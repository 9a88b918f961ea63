//! Landlock (landlock(7)), for the one thing that namespaces do not give: abstract sockets of a shared network stay out
//! of reach.
#![expect(unsafe_code, reason = "the calls have no wrapper in libc")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// `struct landlock_ruleset_attr` of ABI 6 (Linux 6.12).
#[repr(C)]
#[derive(Default)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;

/// From now on this process and all that it makes reach only those abstract sockets that they made themselves.
/// The caller is single threaded, and has `CAP_SYS_ADMIN` in its user namespace or no new privileges.
///
/// # Errors
/// `ENOSYS`, `EOPNOTSUPP` or `E2BIG` where the kernel knows no such scope.
pub fn keep_to_own_abstract_sockets() -> io::Result<()> {
    let attributes = Ruleset {
        scoped: SCOPE_ABSTRACT_UNIX_SOCKET,
        ..Ruleset::default()
    };
    // SAFETY: the structure lives through the call and has the size that is given.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attributes,
            size_of::<Ruleset>(),
            0,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us as new, so nobody else owns it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    // SAFETY: numbers only.
    if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
