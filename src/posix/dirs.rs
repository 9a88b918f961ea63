//! The working directory and the umask.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use super::path::{Kind, Last, Path};
use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::cage::{FileKind, OpenFile};
use crate::guest::{Fd, Mode, PATH_MAX, UserOut, UserPath};
use crate::sys;

/// Where an open directory lies, as the kernel says it.
fn real_path(cx: &Ctx<'_>, dir: impl AsFd) -> Result<Vec<u8>, Errno> {
    let name = sys::fs::own_name(dir.as_fd().as_raw_fd());
    sys::fs::readlink(cx.kernel.host_proc.as_fd(), &name)
}

/// See getcwd(2).
pub fn getcwd(cx: &Ctx<'_>, buf: UserOut, size: usize) -> SysResult {
    let cwd = cx.fs().cwd();
    let dir = cwd.host().ok_or(Errno::ENOENT)?;
    if sys::fs::fstat(dir)?.nlink == 0 {
        return Err(Errno::ENOENT);
    }
    let mut path = real_path(cx, dir)?;
    path.push(0);
    if path.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if path.len() > size {
        return Err(Errno::ERANGE);
    }
    cx.guest.write_all(buf.0, &path)?;
    Outcome::value(path.len())
}

/// Makes a place the working directory, if it may be searched.
fn enter(cx: &Ctx<'_>, dir: OwnedFd, label: Vec<u8>) -> SysResult {
    let flags = libc::AT_EMPTY_PATH | libc::AT_EACCESS;
    sys::fs::access(dir.as_fd(), c"", libc::X_OK, flags)?;
    let procfs = sys::fs::is_on_procfs(dir.as_fd());
    let label = real_path(cx, &dir).unwrap_or(label);
    let place = OpenFile::kept(FileKind::Place, label, dir).on_procfs(procfs);
    cx.fs().set_cwd(Arc::new(place));
    Outcome::DONE
}

/// See chdir(2).
pub fn chdir(cx: &Ctx<'_>, path: UserPath) -> SysResult {
    let bytes = cx.guest.get_path(path)?;
    let path = Path::new(cx, crate::guest::DirFd::CWD, bytes, Last::Follow)?;
    let dir = path.run(cx, |target| {
        if let Kind::Refused(errno) = target.kind {
            return Err(errno);
        }
        if target.is_object() {
            // The host's own name for it is a magic link.
            let how = crate::abi::layout::OpenHow {
                flags: u64::from(
                    (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC).cast_unsigned(),
                ),
                ..Default::default()
            };
            return sys::fs::open(target.dir, target.name, how);
        }
        sys::fs::open_place(target.dir, target.name, libc::O_DIRECTORY)
    })?;
    enter(cx, dir, path.label())
}

/// See fchdir(2).
pub fn fchdir(cx: &Ctx<'_>, fd: Fd) -> SysResult {
    let file = cx.descriptor(fd)?.file;
    let Some(host) = file.host() else {
        return Err(Errno::ENOTDIR);
    };
    if sys::fs::fstat(host)?.kind() != libc::S_IFDIR {
        return Err(Errno::ENOTDIR);
    }
    // A place of its own: the descriptor's open file must end with its last descriptor.
    let dir = sys::fs::open_place(host, c".", libc::O_DIRECTORY)?;
    enter(cx, dir, file.label().to_vec())
}

/// See umask(2).
pub fn umask(cx: &Ctx<'_>, mask: Mode) -> SysResult {
    cx.fs().set_umask(mask.0);
    Ok(Outcome::Continue)
}
