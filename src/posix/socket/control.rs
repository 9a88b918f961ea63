//! Control data on its way to a cage: descriptors get numbers of the virtual table, pids those of the run. It is cut to the
//! room that the cage gave as the kernel would cut it; what does not fit is closed.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::create::inode;
use super::identity;
use crate::abi::Errno;
use crate::cage::{FileKind, OpenFile};
use crate::posix::{Ctx, probe};
use crate::sys;
use crate::sys::socket::Control;

/// `sizeof(struct cmsghdr)`.
const HEADER: usize = 16;
/// `SCM_PIDFD`.
const SCM_PIDFD: i32 = 4;

/// Where the cage wants its control data.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) at: u64,
    pub(super) len: u64,
    /// Whether received descriptors are closed by exec.
    pub(super) cloexec: bool,
}

/// What was written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    /// `msg_controllen` on return.
    pub(super) used: u64,
    /// `MSG_CTRUNC`.
    pub(super) truncated: bool,
}

/// Writes the control data of one message into the cage.
pub(super) fn deliver(cx: &Ctx<'_>, items: Vec<Control>, room: Room) -> Written {
    let mut written = Written::default();
    for item in items {
        // No message carries more than a few KiB, whatever room is alleged.
        let left = usize::try_from(room.len.saturating_sub(written.used)).unwrap_or(usize::MAX);
        let at = room.at.wrapping_add(written.used);
        if room.at == 0 || left < HEADER {
            written.truncated = true;
            continue;
        }
        let used = match item {
            Control::Rights(files) => {
                let wanted = files.len();
                let fits = (left - HEADER) / 4;
                let files = files.into_iter().take(fits).collect();
                let given = install(cx, files, (libc::SCM_RIGHTS, at), room.cloexec);
                written.truncated |= given < wanted;
                if given == 0 { 0 } else { space(given * 4) }
            }
            Control::Pidfd(pidfd) if left >= HEADER + 4 => {
                match install(cx, vec![pidfd], (SCM_PIDFD, at), room.cloexec) {
                    0 => 0,
                    _ => space(4),
                }
            }
            Control::Pidfd(_) => {
                written.truncated = true;
                0
            }
            Control::Credentials { pid, uid, gid } => {
                let pid = if pid == 0 {
                    0
                } else {
                    identity::inner_pid(cx, pid)
                };
                let fields = [pid.cast_unsigned(), uid, gid];
                let data: Vec<u8> = fields
                    .iter()
                    .flat_map(|field| field.to_ne_bytes())
                    .collect();
                let kind = (libc::SOL_SOCKET, libc::SCM_CREDENTIALS);
                written.truncated |= HEADER + data.len() > left;
                put(cx, at, left, kind, &data)
            }
            Control::Other(level, ty, data) => {
                written.truncated |= HEADER + data.len() > left;
                put(cx, at, left, (level, ty), &data)
            }
        };
        written.used += used.min(left) as u64;
    }
    written
}

/// `CMSG_SPACE`.
fn space(data: usize) -> usize {
    HEADER + data.next_multiple_of(8)
}

/// Writes one piece, cut to `left`; returns what it takes, or nothing where memory is bad.
fn put(cx: &Ctx<'_>, at: u64, left: usize, (level, ty): (i32, i32), data: &[u8]) -> usize {
    let len = (HEADER + data.len()).min(left);
    let mut bytes = Vec::with_capacity(HEADER + data.len());
    bytes.extend_from_slice(&(len as u64).to_ne_bytes());
    bytes.extend_from_slice(&level.to_ne_bytes());
    bytes.extend_from_slice(&ty.to_ne_bytes());
    bytes.extend_from_slice(data);
    bytes.truncate(len);
    match cx.guest.write_all(at, &bytes) {
        Ok(()) => space(data.len()),
        Err(_) => 0,
    }
}

/// Gives files the lowest free numbers, writes the numbers, and says how many there are: fewer where the table is full,
/// none where memory is bad.
fn install(cx: &Ctx<'_>, files: Vec<OwnedFd>, (ty, at): (i32, u64), cloexec: bool) -> usize {
    let mut given = Vec::new();
    let mut numbers = Vec::new();
    for host in files.into_iter().map(Arc::new) {
        let Ok(file) = describe(cx, &host).map(Arc::new) else {
            break;
        };
        let Ok(fd) = cx.insert_from(0, &file, None, cloexec) else {
            break;
        };
        numbers.extend_from_slice(&fd.to_ne_bytes());
        given.push((fd, file, host));
    }
    if given.is_empty() {
        return 0;
    }
    if put(cx, at, usize::MAX, (libc::SOL_SOCKET, ty), &numbers) == 0 {
        for (fd, ..) in given {
            cx.undo_install(fd);
        }
        return 0;
    }
    let count = given.len();
    for (fd, file, host) in given {
        cx.install_if_grantable(fd, &file, Some(host), cloexec);
    }
    count
}

/// What an open file that came from elsewhere is.
fn describe(cx: &Ctx<'_>, host: &Arc<OwnedFd>) -> Result<OpenFile, Errno> {
    let label = probe::host_label(cx.kernel, host);
    let procfs = sys::fs::is_on_procfs(host.as_fd());
    let flags = fcntl(host, FcntlArg::F_GETFL).map_err(|errno| Errno::new(errno as i32))?;
    let kind = match probe::file_kind(host) {
        _ if OFlag::from_bits_retain(flags).contains(OFlag::O_PATH) => FileKind::Place,
        FileKind::Event if label == b"anon_inode:[eventpoll]" => FileKind::Epoll,
        kind => kind,
    };
    let file = if matches!(kind, FileKind::Place | FileKind::Directory) {
        OpenFile::kept(kind, label, Arc::clone(host))
    } else {
        OpenFile::new(kind, label)
    };
    let maker = match kind {
        FileKind::Socket => inode(host).and_then(|inode| cx.kernel.pairs.maker(inode)),
        _ => None,
    };
    let file = match maker {
        Some(maker) => file.with_peer(maker),
        None => file,
    };
    Ok(file.on_procfs(procfs))
}
