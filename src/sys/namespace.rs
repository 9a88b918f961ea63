//! New namespaces: leaving the host's, mapping ids, the loopback interface, the host name, and a process in a new pid namespace.
//!
//! Mounts live in [`super::mount`].
#![expect(
    unsafe_code,
    reason = "clone and the interface ioctls have no safe wrapper"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sched::CloneFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Leaves the host's user, mount, IPC, UTS and cgroup namespaces; the caller must still be single threaded. Never the pid
/// namespace: that would forbid threads.
pub fn leave_host() -> io::Result<()> {
    let left = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    nix::sched::unshare(left)?;
    Ok(())
}

/// Gives the calling thread a network namespace of its own.
pub fn leave_network() -> io::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
    Ok(())
}

/// Moves the calling thread into a network namespace.
pub fn enter_network(network: BorrowedFd<'_>) -> io::Result<()> {
    nix::sched::setns(network, CloneFlags::CLONE_NEWNET)?;
    Ok(())
}

/// Sets the host name and clears the NIS domain of this UTS namespace.
pub fn set_hostname(name: &str) -> io::Result<()> {
    nix::unistd::sethostname(name)?;
    let domain = "(none)";
    // SAFETY: the pointer and the length are those of a live string.
    if unsafe { libc::setdomainname(domain.as_ptr().cast(), domain.len()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Brings up `lo` in this network namespace.
pub fn loopback_up() -> io::Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero ifreq is a valid value of that plain structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which outlives the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Forks a child that is pid 1 of a new pid namespace and runs `child`, which should not return; gives its pid as this process sees it.
///
/// The caller must be single threaded: the child owns a copy of one thread and of all memory.
pub fn fork_init(child: impl FnOnce()) -> io::Result<i32> {
    let flags = (libc::CLONE_NEWPID | libc::SIGCHLD) as libc::c_ulong;
    // SAFETY: without CLONE_VM and with a null stack this is fork(2); the caller is single threaded, so every lock that the
    // child inherits is held by nobody else.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        0 => {
            child();
            super::process::exit_now(125)
        }
        pid if pid > 0 => Ok(pid as i32),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives the calling thread a umask and a working directory of its own.
pub fn own_fs_context() {
    // It cannot fail: no namespace is asked for, and memory for so small a structure is always found or waited for.
    let _ = nix::sched::unshare(CloneFlags::CLONE_FS);
}
