//! What an open file of the host's is: for descriptors that come from somewhere else than a call of ours.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::Kernel;
use crate::cage::{FileKind, OpenFile};

/// The kind of an open file.
#[must_use]
pub fn file_kind(file: impl AsFd) -> FileKind {
    let Ok(stat) = nix::sys::stat::fstat(file.as_fd()) else {
        return FileKind::File;
    };
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR => FileKind::Directory,
        libc::S_IFIFO => FileKind::Pipe,
        libc::S_IFSOCK => FileKind::Socket,
        libc::S_IFCHR if nix::unistd::isatty(file.as_fd()) == Ok(true) => FileKind::Terminal,
        // eventfd, epoll, timerfd and their like have no type at all.
        0 => FileKind::Event,
        _ => FileKind::File,
    }
}

/// The entry for a file that a cage's kernel table turned out to hold; the supervisor keeps what names may start from.
#[must_use]
pub fn adopt(kernel: &Kernel, file: OwnedFd) -> OpenFile {
    let label = host_label(kernel, &file);
    let is_place = fcntl(&file, FcntlArg::F_GETFL)
        .is_ok_and(|flags| OFlag::from_bits_retain(flags).contains(OFlag::O_PATH));
    match file_kind(&file) {
        _ if is_place => OpenFile::kept(FileKind::Place, label, file),
        FileKind::Directory => OpenFile::kept(FileKind::Directory, label, file),
        kind => OpenFile::new(kind, label),
    }
}

/// What the kernel calls an open file: its path, or `pipe:[…]` and the like.
#[must_use]
pub fn host_label(kernel: &Kernel, file: &OwnedFd) -> Vec<u8> {
    let name = format!("self/fd/{}", file.as_raw_fd());
    nix::fcntl::readlinkat(&kernel.host_proc, name.as_str())
        .map(OsStringExt::into_vec)
        .unwrap_or_default()
}
