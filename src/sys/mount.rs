//! Mounts by descriptor: the kernel's mount API (`open_tree`, `move_mount`, `fsopen`, `mount_setattr`), `openat2` and `pivot_root`.
//!
//! Everything here names its object by a descriptor, so that a symlink in the tree cannot mislead it. What is mounted where is
//! decided in the `run` floor, never here.
#![expect(unsafe_code, reason = "the mount API has no safe wrapper")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::mount::MntFlags;
use nix::sys::stat::Mode;

/// `MOUNT_ATTR_*`: what a mount can be restricted to.
pub mod attr {
    /// Nothing below the mount can be changed.
    pub const RDONLY: u64 = 0x1;
    /// Set-id bits and file capabilities mean nothing.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Nothing can be executed.
    pub const NOEXEC: u64 = 0x8;
}

const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

/// How far a lookup may go, for [`resolve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// The path is canonical: a symlink anywhere in it is an error.
    Canonical,
    /// Symlinks are followed, with the directory as the root.
    InRoot,
}

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn check(value: libc::c_long) -> io::Result<libc::c_long> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

fn owned(value: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(value)? as RawFd;
    // SAFETY: the kernel has just returned this descriptor to us as new, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens `path` below `root` without access to its content (`O_PATH`). Magic links are never followed.
pub fn resolve(root: BorrowedFd<'_>, path: &Path, walk: Walk) -> io::Result<OwnedFd> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let name = if relative.as_os_str().is_empty() {
        c".".to_owned()
    } else {
        c_string(relative)?
    };
    let resolve = match walk {
        Walk::Canonical => {
            libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_BENEATH
        }
        Walk::InRoot => libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS,
    };
    let how = OpenHow {
        flags: (libc::O_PATH | libc::O_CLOEXEC) as u64,
        mode: 0,
        resolve,
    };
    // SAFETY: `name` and `how` outlive the call, and the size is that of `how`.
    owned(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            name.as_ptr(),
            &raw const how,
            size_of::<OpenHow>(),
        )
    })
}

/// A detached copy of the mount tree at `path` below `dir`; an empty path means `dir` itself.
pub fn clone_tree(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let path = c_string(path)?;
    let mut flags = OPEN_TREE_CLONE
        | libc::O_CLOEXEC as libc::c_uint
        | libc::AT_EMPTY_PATH as libc::c_uint
        | libc::AT_NO_AUTOMOUNT as libc::c_uint;
    if recursive {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    // SAFETY: `path` is NUL-terminated and outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })
}

fn set_attributes(
    dir: RawFd,
    path: &CStr,
    flags: libc::c_int,
    attributes: &MountAttr,
) -> io::Result<()> {
    // SAFETY: `path` and `attributes` outlive the call, and the size is that of the structure.
    let value = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir,
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttr>(),
        )
    };
    check(value).map(|_| ())
}

/// Adds restrictions ([`attr`]) to the mount `mount`, and to all below it if `recursive`.
pub fn restrict(mount: BorrowedFd<'_>, attributes: u64, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    set_attributes(
        mount.as_raw_fd(),
        c"",
        flags,
        &MountAttr {
            set: attributes,
            clear: 0,
            propagation: 0,
            userns_fd: 0,
        },
    )
}

/// Cuts the whole mount namespace off from the one it was copied from: nothing propagates either way.
pub fn make_all_private() -> io::Result<()> {
    set_attributes(
        libc::AT_FDCWD,
        c"/",
        libc::AT_RECURSIVE,
        &MountAttr {
            set: 0,
            clear: 0,
            propagation: libc::MS_PRIVATE,
            userns_fd: 0,
        },
    )
}

/// Puts the detached mount `mount` on `target`.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are static and NUL-terminated.
    let value = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    };
    check(value).map(|_| ())
}

/// A parameter of a file system: a key and its value, or a key alone.
pub type Setting = (String, Option<String>);

/// The kernel's refusal of a file system, with what it says of the reason.
#[derive(Debug)]
pub struct Refusal {
    /// The plain error.
    pub error: io::Error,
    /// The file system's own words; often none.
    pub said: String,
}

fn new_context(kind: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: `kind` is NUL-terminated and outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })
}

fn configure(context: &OwnedFd, key: &CStr, value: Option<&CStr>) -> io::Result<()> {
    let (command, value) = match value {
        Some(value) => (FSCONFIG_SET_STRING, value.as_ptr()),
        None => (FSCONFIG_SET_FLAG, std::ptr::null()),
    };
    // SAFETY: key and value are NUL-terminated and outlive the call; a flag has a null value.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            key.as_ptr(),
            value,
            0,
        )
    })?;
    Ok(())
}

fn create(context: &OwnedFd, attributes: u64) -> io::Result<OwnedFd> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: this command takes no key and no value.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            none,
            none,
            0,
        )
    })?;
    // SAFETY: only numbers are passed.
    owned(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            attributes,
        )
    })
}

/// A new, detached mount of a file system of the kernel's (`tmpfs`, `proc`, `devpts`).
pub fn new_filesystem(
    kind: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: u64,
) -> io::Result<OwnedFd> {
    let context = new_context(kind)?;
    for (key, value) in options {
        configure(&context, key, Some(value))?;
    }
    create(&context, attributes)
}

/// A new, detached mount of any file system, with settings that a user wrote.
pub fn configured_filesystem(
    kind: &str,
    settings: &[Setting],
    attributes: u64,
) -> Result<OwnedFd, Refusal> {
    let refuse = |error, said| Refusal { error, said };
    let text = |text: &str| {
        CString::new(text).map_err(|_| {
            let error = io::Error::from_raw_os_error(libc::EINVAL);
            refuse(error, String::new())
        })
    };
    let context = new_context(&text(kind)?).map_err(|error| refuse(error, String::new()))?;
    for (key, value) in settings {
        let value = value.as_deref().map(text).transpose()?;
        configure(&context, &text(key)?, value.as_deref())
            .map_err(|error| refuse(error, messages(&context)))?;
    }
    create(&context, attributes).map_err(|error| refuse(error, messages(&context)))
}

/// What the kernel has to say about a file system that it refused.
fn messages(context: &OwnedFd) -> String {
    let mut all = Vec::new();
    let mut message = [0u8; 512];
    // One read brings one message; at the end there is an error. Each is "e text".
    while let Ok(len @ 1..) = nix::unistd::read(context, &mut message) {
        let text = String::from_utf8_lossy(message.get(..len).unwrap_or_default());
        let text = text.trim_end();
        all.push(text.get(2..).unwrap_or(text).to_owned());
    }
    all.join("; ")
}

/// The id of the mount that `fd` lies on, as `/proc/self/mountinfo` and `STATX_MNT_ID` show it.
pub fn mount_id(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: an all-zero statx is a valid value of that plain structure.
    let mut out: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is static, and `out` is writable and outlives the call.
    let value = unsafe {
        libc::statx(
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_MNT_ID,
            &raw mut out,
        )
    };
    check(libc::c_long::from(value))?;
    Ok(out.stx_mnt_id)
}

/// Makes the mount `root` the root of every process of this mount namespace and drops the old one, with `stacked` mounts on top
/// of it.
pub fn pivot_into(root: BorrowedFd<'_>, stacked: usize) -> io::Result<()> {
    nix::unistd::fchdir(root.as_fd())?;
    // SAFETY: both paths are static. The old root is now on top of the new one, and what was stacked on it above that.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    for _ in 0..=stacked {
        nix::mount::umount2(".", MntFlags::MNT_DETACH)?;
    }
    nix::unistd::chdir("/")?;
    // `..` at the root crosses into whatever is still mounted on it: the one way to see a mount that was left behind.
    let above = open("/..", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    if mount_id(above.as_fd())? != mount_id(root)? {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    Ok(())
}
