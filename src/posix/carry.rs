//! Data calls that the supervisor makes itself, on its own copy of the open file, for a thread that has posted its bytes
//! and waits for those that the call gives. It never waits for anything but a disk: what would, and whatever fails, is the
//! kernel's to do in the cage, as if nothing had been tried.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use zerocopy::IntoBytes;

use super::Ctx;
use crate::abi::Sysno;
use crate::cage::{FileKind, OpenFile};
use crate::guest::{Fd, FromArg};
use crate::sys::{self, data};

/// The most bytes of one call.
const MOST: usize = 32 << 10;
/// A pipe takes so many bytes at once or none (`PIPE_BUF`).
const PIPE_BUF: usize = 4096;

/// So many files may be kept, by the numbers that they have in the supervisor.
const KEPT: i32 = 1024;

/// Keeps a copy of a file that is handed out, where calls on it could be made here with the same result: not where the kernel looks at who
/// makes them, or would wait for more than a disk.
pub(super) fn keep(open: &OpenFile, host: &Arc<OwnedFd>) {
    let is_plain = || {
        let odd = libc::O_DIRECT | libc::O_DSYNC | libc::O_PATH;
        let set_id = libc::S_ISUID | libc::S_ISGID;
        let stat = sys::fs::fstat(host.as_fd());
        stat.is_ok_and(|stat| stat.mode & libc::S_IFMT == libc::S_IFREG && stat.mode & set_id == 0)
            && data::status_flags(host.as_fd()).is_ok_and(|flags| flags & odd == 0)
            && !sys::fs::is_on_procfs(host.as_fd())
    };
    if open.copy().is_some() {
        return;
    }
    let keeps = match open.kind() {
        FileKind::Pipe => true,
        FileKind::File => is_plain(),
        _ => false,
    };
    if keeps && host.as_raw_fd() < KEPT {
        open.keep(host);
    }
}

/// A call that was made.
#[derive(Debug)]
pub struct Carried {
    /// Its result.
    pub value: u64,
    /// What must be undone where the cage cannot take the bytes that it gave.
    pub taken: Option<Taken>,
}

/// What a call took from a file.
#[derive(Debug)]
pub enum Taken {
    /// The offset moved: from here.
    From(Arc<OwnedFd>, i64),
    /// What was taken is gone.
    Gone,
}

impl Taken {
    /// Takes the file back to where it was; says whether that can be done.
    #[must_use]
    pub fn undo(&self) -> bool {
        match self {
            Self::From(file, offset) => data::seek(file.as_fd(), *offset, libc::SEEK_SET).is_ok(),
            Self::Gone => false,
        }
    }
}

/// Makes the call; `None` where it is the kernel's to make.
#[must_use]
pub fn carry(cx: &Ctx<'_>) -> Option<Carried> {
    let nr = usize::try_from(cx.nr).ok().and_then(Sysno::new)?;
    let [fd, second, third, fourth, ..] = cx.args;
    let descriptor = cx.descriptor(Fd::from_arg(fd)).ok()?;
    let kind = descriptor.file.kind();
    if nr == Sysno::fcntl && i32::from_arg(second) == libc::F_GETFD {
        return value(u64::from(descriptor.cloexec));
    }
    let copy = descriptor.file.copy()?;
    let _acting = cx.kernel.act_for(cx.thread, false).ok()?;
    match nr {
        Sysno::read => read(cx, kind, &copy, second, third),
        Sysno::pread64 if kind == FileKind::File => {
            let mut bytes = room(third)?;
            let offset = i64::try_from(fourth).ok()?;
            let len = nix::sys::uio::pread(&copy, &mut bytes, offset).ok()?;
            give(cx, second, &bytes, len, None)
        }
        Sysno::write => write(cx, kind, &copy, second, third, None),
        Sysno::pwrite64 => {
            let offset = i64::try_from(fourth).ok()?;
            write(cx, kind, &copy, second, third, Some(offset))
        }
        Sysno::getdents64 if kind == FileKind::Directory => {
            let mut bytes = room(u64::from(u32::from_arg(third)))?;
            let from = data::seek(copy.as_fd(), 0, libc::SEEK_CUR).ok()?;
            let from = Taken::From(Arc::clone(&copy), i64::try_from(from).ok()?);
            let len = data::read_entries(copy.as_fd(), &mut bytes).ok()?;
            give(cx, second, &bytes, len, Some(from))
        }
        Sysno::lseek => {
            let whence = i32::from_arg(third);
            value(data::seek(copy.as_fd(), second.cast_signed(), whence).ok()?)
        }
        Sysno::fstat => {
            let stat = sys::fs::fstat(copy.as_fd()).ok()?;
            cx.guest.write_all(second, stat.as_bytes()).ok()?;
            value(0)
        }
        Sysno::fcntl if i32::from_arg(second) == libc::F_GETFL => {
            let flags = data::status_flags(copy.as_fd()).ok()?;
            value(u64::from(flags.cast_unsigned()))
        }
        _ => None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the last line of a call")]
fn value(value: u64) -> Option<Carried> {
    Some(Carried { value, taken: None })
}

/// Room for the bytes of a call, where they are few enough.
fn room(len: u64) -> Option<Vec<u8>> {
    let len = usize::try_from(len).ok().filter(|&len| len <= MOST)?;
    Some(vec![0; len])
}

/// Gives the cage the first `len` bytes.
fn give(
    cx: &Ctx<'_>,
    addr: u64,
    bytes: &[u8],
    len: usize,
    taken: Option<Taken>,
) -> Option<Carried> {
    if cx.guest.write_all(addr, bytes.get(..len)?).is_err() {
        let _ = taken.map(|taken| taken.undo());
        return None;
    }
    Some(Carried {
        value: len as u64,
        taken,
    })
}

fn read(cx: &Ctx<'_>, kind: FileKind, copy: &Arc<OwnedFd>, addr: u64, len: u64) -> Option<Carried> {
    let mut bytes = room(len)?;
    match kind {
        FileKind::Pipe => {
            let len = data::read_ready(copy.as_fd(), &mut bytes).ok()?;
            give(cx, addr, &bytes, len, Some(Taken::Gone))
        }
        FileKind::File => {
            let len = nix::unistd::read(copy, &mut bytes).ok()?;
            let now = data::seek(copy.as_fd(), 0, libc::SEEK_CUR).ok()?;
            let from = i64::try_from(now)
                .ok()?
                .checked_sub(i64::try_from(len).ok()?)?;
            give(
                cx,
                addr,
                &bytes,
                len,
                Some(Taken::From(Arc::clone(copy), from)),
            )
        }
        _ => None,
    }
}

fn write(
    cx: &Ctx<'_>,
    kind: FileKind,
    copy: &Arc<OwnedFd>,
    addr: u64,
    len: u64,
    offset: Option<i64>,
) -> Option<Carried> {
    let mut bytes = room(len)?;
    cx.guest.read_exact(addr, &mut bytes).ok()?;
    let written = match (kind, offset) {
        (FileKind::Pipe, None) if bytes.len() <= PIPE_BUF => {
            data::write_ready(copy.as_fd(), &bytes).ok()?
        }
        (FileKind::File, _) if is_unlimited(cx)? => match offset {
            Some(offset) => nix::sys::uio::pwrite(copy, &bytes, offset).ok()?,
            None => nix::unistd::write(copy, &bytes).ok()?,
        },
        _ => return None,
    };
    value(written as u64)
}

/// Whether the cage's files may become as large as they will: where not the kernel tells it by a signal.
fn is_unlimited(cx: &Ctx<'_>) -> Option<bool> {
    let limit = sys::fs::limit_of(cx.cage().tgid.0, libc::RLIMIT_FSIZE).ok()?;
    Some(limit.soft == u64::MAX)
}
