//! open(2), openat(2), openat2(2), creat(2): names become open files. Nothing here waits: what would is opened with
//! `O_NONBLOCK` and judged afterwards.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use zerocopy::FromBytes;

use super::links::SET_ID;
use super::path::{Kind, Last, Path, Reached, Target};
use super::{Ctx, Outcome, SysResult, fifo, tty};
use crate::abi::Errno;
use crate::abi::layout::{OpenHow, Stat};
use crate::cage::{FileKind, OpenFile};
use crate::guest::{DirFd, Fd, Mode, UserIn, UserPath};
use crate::sys;

/// The flags that open(2) knows; it ignores the others.
const KNOWN: i32 = 0o37_777_703;
/// The flags that count with `O_PATH`.
const WITH_PATH: i32 = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_PATH | libc::O_CLOEXEC;
/// The bit of `O_TMPFILE` that is not `O_DIRECTORY`.
const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
/// What `F_SETFL` sets.
const STATUS: i32 =
    libc::O_APPEND | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME | libc::O_NONBLOCK;
/// The longest `struct open_how` that Linux looks at.
const HOW_MAX: usize = 4096;

/// See open(2).
pub fn open(cx: &Ctx<'_>, pathname: UserPath, flags: i32, mode: Mode) -> SysResult {
    openat(cx, DirFd::CWD, pathname, flags, mode)
}

/// See creat(2).
pub fn creat(cx: &Ctx<'_>, pathname: UserPath, mode: Mode) -> SysResult {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    openat(cx, DirFd::CWD, pathname, flags, mode)
}

/// See openat(2).
pub fn openat(cx: &Ctx<'_>, dirfd: DirFd, pathname: UserPath, flags: i32, mode: Mode) -> SysResult {
    let mut flags = flags & KNOWN;
    if flags & libc::O_PATH != 0 {
        flags &= WITH_PATH;
    }
    let makes = flags & (libc::O_CREAT | TMPFILE) != 0;
    let wanted = Wanted {
        flags,
        mode: if makes { mode.0 & 0o7777 & !SET_ID } else { 0 },
        resolve: 0,
    };
    wanted.open_at(cx, dirfd, pathname)
}

/// See openat2(2).
pub fn openat2(
    cx: &Ctx<'_>,
    dirfd: DirFd,
    pathname: UserPath,
    how: UserIn,
    size: usize,
) -> SysResult {
    if size < size_of::<OpenHow>() {
        return Err(Errno::EINVAL);
    }
    if size > HOW_MAX {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0u8; size];
    cx.guest.read_exact(how.0, &mut bytes)?;
    let (how, rest) = OpenHow::read_from_prefix(&bytes).map_err(|_| Errno::EINVAL)?;
    // A newer structure is fine as long as it asks for nothing new.
    if rest.iter().any(|&byte| byte != 0) {
        return Err(Errno::E2BIG);
    }
    let flags = u32::try_from(how.flags).map_err(|_| Errno::EINVAL)?;
    let flags = flags.cast_signed();
    let makes = flags & (libc::O_CREAT | TMPFILE) != 0;
    let mode = u32::try_from(how.mode).map_err(|_| Errno::EINVAL)?;
    if flags & !KNOWN != 0
        || mode & !0o7777 != 0
        || (!makes && mode != 0)
        || (flags & libc::O_PATH != 0 && flags & !WITH_PATH != 0)
    {
        return Err(Errno::EINVAL);
    }
    let wanted = Wanted {
        flags,
        mode: mode & !SET_ID,
        resolve: how.resolve,
    };
    wanted.open_at(cx, dirfd, pathname)
}

/// What an open asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// `O_*`, as the cage gave them, known ones only.
    pub(super) flags: i32,
    /// Permission bits of a new file, set-id bits dropped.
    pub(super) mode: u32,
    /// `RESOLVE_*`.
    pub(super) resolve: u64,
}

impl Wanted {
    fn has(self, flag: i32) -> bool {
        self.flags & flag != 0
    }

    /// Whether it would write.
    pub(super) fn writes(self) -> bool {
        matches!(self.flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR)
    }

    /// Whether the cage waits where there is something to wait for.
    pub(super) fn waits(self) -> bool {
        !self.has(libc::O_NONBLOCK)
    }

    fn cloexec(self) -> bool {
        self.has(libc::O_CLOEXEC)
    }

    /// As the host is asked: never waiting, never taking a terminal, closed on exec.
    pub(super) fn how(self) -> OpenHow {
        let mut flags = self.flags | libc::O_CLOEXEC;
        if !self.has(libc::O_PATH) {
            flags |= libc::O_NOCTTY | libc::O_LARGEFILE;
            if self.may_wait() {
                flags |= libc::O_NONBLOCK;
            }
        }
        OpenHow {
            flags: u64::from(flags.cast_unsigned()),
            mode: u64::from(self.mode),
            resolve: self.resolve | libc::RESOLVE_NO_MAGICLINKS,
        }
    }

    /// Whether what is opened might make an open wait: not a directory, nor what is new.
    fn may_wait(self) -> bool {
        !self.has(libc::O_DIRECTORY | TMPFILE)
            && self.flags & (libc::O_CREAT | libc::O_EXCL) != libc::O_CREAT | libc::O_EXCL
    }

    fn open_at(self, cx: &Ctx<'_>, dirfd: DirFd, pathname: UserPath) -> SysResult {
        let bytes = cx.guest.get_path(pathname)?;
        if bytes.is_empty() {
            return Err(Errno::ENOENT);
        }
        // Linux takes the number before it looks at the path; so a full table leaves no new file behind.
        has_room(cx)?;
        let keep = self.has(libc::O_NOFOLLOW)
            || self.flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL;
        let last = if keep { Last::Keep } else { Last::Follow };
        let mut path = if self.resolve & libc::RESOLVE_IN_ROOT == 0 {
            Path::new(cx, dirfd, bytes, last)?
        } else {
            Path::rooted(cx, dirfd, bytes)?
        };
        if self.resolve & libc::RESOLVE_NO_MAGICLINKS != 0 {
            path = path.without_magic();
        }
        // Rules about the way are the kernel's to hold; then nothing virtual is on it but what it says.
        let ruled = self.resolve & !(libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_CACHED) != 0;
        if ruled || !path.means_caller() {
            match self.open_target(cx, &path.whole(cx)) {
                Ok(file) => {
                    let seen = if ruled {
                        self.seen_through_proc(cx, file.as_fd())?
                    } else {
                        None
                    };
                    if let Some(seen) = seen {
                        return self.open_reached(cx, &seen, path.label());
                    }
                    if let Some(outcome) = self.opened(cx, file, path.label(), !ruled)? {
                        return Ok(outcome);
                    }
                }
                Err(Errno::ENXIO) => return self.absent(cx, &path.whole(cx), path.label()),
                Err(errno) if !ruled && path.may_be_virtual(cx, errno) => {}
                Err(errno) => return Err(errno),
            }
        }
        let reached = path.walk(cx)?;
        self.open_reached(cx, &reached, path.label())
    }

    fn open_target(self, cx: &Ctx<'_>, target: &Target<'_>) -> Result<OwnedFd, Errno> {
        if self.writes() {
            // A reader's end of this thread's own interrupted open is no reader.
            drop(cx.thread.take_end());
        }
        let mut how = self.how();
        if target.is_object() {
            // The host's own name for the object is a magic link; it was the way's last.
            how.resolve &= !libc::RESOLVE_NO_MAGICLINKS;
            how.flags &= !u64::from(libc::O_NOFOLLOW.cast_unsigned());
        }
        let open = || sys::fs::open(target.dir, target.name, how);
        if self.has(libc::O_CREAT | TMPFILE) {
            sys::fs::with_umask(cx.fs().umask(), open)
        } else {
            open()
        }
    }

    fn open_reached(self, cx: &Ctx<'_>, reached: &Reached, label: Vec<u8>) -> SysResult {
        let target = reached.target(cx);
        let label = match target.kind {
            Kind::Object(object) => object.label.clone(),
            _ => label,
        };
        if let Kind::Refused(errno) = target.kind {
            return Err(errno);
        }
        if let Kind::Doctored(content) = target.kind
            && !self.has(libc::O_PATH)
        {
            return self.open_snapshot(cx, content, label);
        }
        if let Kind::Object(object) = target.kind
            && !self.has(libc::O_PATH)
            && let Some(seen) = self.seen_through_proc(cx, object.file.as_fd())?
        {
            return self.open_reached(cx, &seen, label);
        }
        match self.open_target(cx, &target) {
            Ok(file) => self.opened(cx, file, label, false)?.ok_or(Errno::ELOOP),
            Err(Errno::ENXIO) => self.absent(cx, &target, label),
            Err(errno) => Err(errno),
        }
    }

    /// A file of /proc that was opened as a place is opened through its name again, so that it is seen as the cage may.
    fn seen_through_proc(
        self,
        cx: &Ctx<'_>,
        file: std::os::fd::BorrowedFd<'_>,
    ) -> Result<Option<Reached>, Errno> {
        if sys::fs::fstat(file)?.kind() == libc::S_IFDIR || !sys::fs::is_on_procfs(file) {
            return Ok(None);
        }
        let name = sys::fs::own_name(std::os::fd::AsRawFd::as_raw_fd(&file));
        let path = sys::fs::readlink(cx.kernel.host_proc.as_fd(), &name)?;
        let reached = Path::new(cx, DirFd::CWD, path, Last::Keep)?.walk(cx)?;
        match reached {
            Reached::Object(..) | Reached::Link(..) => Err(Errno::EACCES),
            reached => Ok(Some(reached)),
        }
    }

    fn open_snapshot(self, cx: &Ctx<'_>, content: &[u8], label: Vec<u8>) -> SysResult {
        if self.has(libc::O_DIRECTORY) {
            return Err(Errno::ENOTDIR);
        }
        if self.writes() || self.has(libc::O_TRUNC) {
            return Err(Errno::EACCES);
        }
        let file = sys::fs::snapshot(cx.kernel.host_proc.as_fd(), content)?;
        let open = OpenFile::new(FileKind::File, label);
        Outcome::value(cx.open_lowest(open, file, self.cloexec())?)
    }

    /// Judges what was opened and hands it to the cage. `None` where the name must be walked after all: with `rewalk`, a
    /// file of /proc that a link led to.
    fn opened(
        self,
        cx: &Ctx<'_>,
        file: OwnedFd,
        label: Vec<u8>,
        rewalk: bool,
    ) -> Result<Option<Outcome>, Errno> {
        if self.has(libc::O_PATH) {
            let procfs = sys::fs::is_on_procfs(file.as_fd());
            if procfs && rewalk {
                return Ok(None);
            }
            return self
                .grant_kept(cx, FileKind::Place, file, label, procfs)
                .map(Some);
        }
        let stat = sys::fs::fstat(file.as_fd())?;
        let kind = match stat.kind() {
            libc::S_IFREG => {
                // Only what is made up has no size and yet contents.
                if rewalk && stat.size == 0 && sys::fs::is_on_procfs(file.as_fd()) {
                    return Ok(None);
                }
                FileKind::File
            }
            libc::S_IFDIR => {
                let procfs = sys::fs::is_on_procfs(file.as_fd());
                if procfs && rewalk {
                    return Ok(None);
                }
                self.settle_flags(&file)?;
                return self
                    .grant_kept(cx, FileKind::Directory, file, label, procfs)
                    .map(Some);
            }
            libc::S_IFIFO => return fifo::opened(cx, self, file, label).map(Some),
            libc::S_IFCHR => {
                if tty::is_alias(&stat) {
                    return tty::open(cx, self, label).map(Some);
                }
                if sys::fs::is_terminal(file.as_fd()) {
                    return self.grant_terminal(cx, file, &stat, label).map(Some);
                }
                FileKind::File
            }
            _ => FileKind::File,
        };
        self.grant(cx, kind, file, label).map(Some)
    }

    /// Gives the open file the status flags that the cage asked for.
    pub(super) fn settle_flags(self, file: &OwnedFd) -> Result<(), Errno> {
        if self.waits() && self.may_wait() {
            sys::fs::set_status_flags(file.as_fd(), self.flags & STATUS)?;
        }
        Ok(())
    }

    /// Hands the file to the cage.
    pub(super) fn grant(
        self,
        cx: &Ctx<'_>,
        kind: FileKind,
        file: OwnedFd,
        label: Vec<u8>,
    ) -> SysResult {
        self.settle_flags(&file)?;
        let open = OpenFile::new(kind, label);
        Outcome::value(cx.open_lowest(open, file, self.cloexec())?)
    }

    /// Hands a terminal to the cage; a session leader without one takes it, unless it said `O_NOCTTY` (tty(4)).
    fn grant_terminal(self, cx: &Ctx<'_>, file: OwnedFd, stat: &Stat, label: Vec<u8>) -> SysResult {
        let takes = tty::is_taken(cx, stat, self.flags);
        let outcome = self.grant(cx, FileKind::Terminal, file, label)?;
        if let (true, Outcome::Emulated(fd)) = (takes, &outcome)
            && let Ok(fd) = i32::try_from(*fd)
        {
            cx.acquire_terminal(fd);
        }
        Ok(outcome)
    }

    /// Hands a directory or a place to the cage and keeps a copy: names start there.
    fn grant_kept(
        self,
        cx: &Ctx<'_>,
        kind: FileKind,
        file: OwnedFd,
        label: Vec<u8>,
        procfs: bool,
    ) -> SysResult {
        let file = Arc::new(file);
        let open = OpenFile::kept(kind, label, Arc::clone(&file)).on_procfs(procfs);
        Outcome::value(cx.open_lowest(open, file, self.cloexec())?)
    }

    /// What `ENXIO` meant: a FIFO without a reader, or `/dev/tty` where the supervisor has no terminal.
    fn absent(self, cx: &Ctx<'_>, target: &Target<'_>, label: Vec<u8>) -> SysResult {
        let mut how = OpenHow {
            flags: u64::from(
                (libc::O_PATH | libc::O_CLOEXEC | (self.flags & libc::O_NOFOLLOW)).cast_unsigned(),
            ),
            mode: 0,
            resolve: self.how().resolve,
        };
        if target.is_object() {
            how.resolve &= !libc::RESOLVE_NO_MAGICLINKS;
        }
        let place = sys::fs::open(target.dir, target.name, how)?;
        let stat: Stat = sys::fs::fstat(place.as_fd())?;
        match stat.kind() {
            libc::S_IFIFO => fifo::without_reader(cx, self, place, label),
            libc::S_IFCHR if tty::is_alias(&stat) => tty::open(cx, self, label),
            _ => Err(Errno::ENXIO),
        }
    }
}

/// Whether the table has a free number.
fn has_room(cx: &Ctx<'_>) -> Result<(), Errno> {
    let files = cx.files();
    let table = files.lock();
    let limit = cx.cage().nofile();
    if (table.len() as u64) < limit {
        return Ok(());
    }
    let last = i32::try_from(limit).unwrap_or(i32::MAX).saturating_sub(1);
    if (table.numbers_in(0, last).len() as u64) < limit {
        return Ok(());
    }
    Err(Errno::EMFILE)
}

/// Opens one of the supervisor's own descriptors again, as asked.
pub(super) fn reopen(cx: &Ctx<'_>, wanted: Wanted, file: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut how = wanted.how();
    how.resolve = 0;
    how.mode = 0;
    let drop = libc::O_NOFOLLOW | libc::O_CREAT | libc::O_EXCL;
    how.flags &= !u64::from(drop.cast_unsigned());
    let name = sys::fs::own_name(std::os::fd::AsRawFd::as_raw_fd(file));
    sys::fs::open(cx.kernel.host_proc.as_fd(), &name, how)
}

/// The terminals among a cage's descriptors.
pub(super) fn terminals(cx: &Ctx<'_>) -> Vec<Fd> {
    let files = cx.files();
    let table = files.lock();
    table
        .iter()
        .filter(|(_, descriptor)| descriptor.file.kind() == FileKind::Terminal)
        .map(|(fd, _)| Fd(fd))
        .collect()
}
