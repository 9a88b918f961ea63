//! Data calls that the supervisor makes itself, on its own copy of the open file, for a thread that has posted its bytes
//! and waits for those that the call gives. It never waits for anything but a disk: what would, and whatever fails, is the
//! kernel's to do in the cage, as if nothing had been tried.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};

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
    /// The offset moved: from here, in a file that nobody keeps for this.
    From(Weak<OwnedFd>, i64),
    /// What was taken is gone.
    Gone,
}

impl Taken {
    /// Takes the file back to where it was; says whether that can be done.
    #[must_use]
    pub fn undo(&self) -> bool {
        match self {
            Self::From(file, offset) => file
                .upgrade()
                .is_some_and(|file| data::seek(file.as_fd(), *offset, libc::SEEK_SET).is_ok()),
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
            let mut bytes = room(second, third)?;
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
            let mut bytes = room(second, u64::from(u32::from_arg(third)))?;
            let from = data::seek(copy.as_fd(), 0, libc::SEEK_CUR).ok()?;
            let from = Taken::From(Arc::downgrade(&copy), i64::try_from(from).ok()?);
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

/// Room for the bytes of a call, where they are few enough, and at an address that a program can have: what Linux looks at
/// first, whatever the file has.
fn room(addr: u64, len: u64) -> Option<Vec<u8>> {
    const USER: u64 = 1 << 47;
    let end = addr.checked_add(len)?;
    let len = usize::try_from(len).ok().filter(|&len| len <= MOST)?;
    (end < USER).then(|| vec![0; len])
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
    let mut bytes = room(addr, len)?;
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
                Some(Taken::From(Arc::downgrade(copy), from)),
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
    let mut bytes = room(addr, len)?;
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};

    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use crate::guest::Guest;
    use crate::posix::bench_cage::TestCage;

    struct Bench {
        cage: TestCage,
        fd: u64,
        file: File,
    }

    /// A cage with a file of which a copy is kept.
    fn bench(content: &[u8]) -> Bench {
        let cage = TestCage::new();
        let memfd = memfd_create(c"file", MFdFlags::empty()).unwrap();
        let mut file = File::from(memfd.try_clone().unwrap());
        file.write_all(content).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let fd = cage.adopt(FileKind::File, "/file", memfd);
        let open = cage.thread.files().get(fd).unwrap().file;
        assert!(open.copy().is_none());
        keep(&open, &Arc::new(OwnedFd::from(file.try_clone().unwrap())));
        let fd = u64::try_from(fd).unwrap();
        Bench { cage, fd, file }
    }

    impl Bench {
        fn carry(&self, sysno: Sysno, args: [u64; 3]) -> Option<Carried> {
            let [second, third, fourth] = args;
            let args = [self.fd, second, third, fourth, 0, 0];
            let nr = sysno.id() as u64;
            let cage = &self.cage;
            carry(&Ctx::new(&cage.kernel, &cage.thread, &cage.ram, nr, args))
        }

        fn value(&self, sysno: Sysno, args: [u64; 3]) -> Option<u64> {
            self.carry(sysno, args).map(|carried| carried.value)
        }

        fn offset(&self) -> u64 {
            (&self.file).stream_position().unwrap()
        }
    }

    #[test]
    fn what_a_read_took_can_be_put_back() {
        let bench = bench(b"content");
        let room = bench.cage.put(&[0; 16]);
        let carried = bench.carry(Sysno::read, [room, 16, 0]).unwrap();
        assert_eq!((carried.value, bench.offset()), (7, 7));
        let mut read = [0; 7];
        let guest: &dyn Guest = &bench.cage.ram;
        guest.read_exact(room, &mut read).unwrap();
        assert_eq!(&read, b"content");
        assert!(carried.taken.unwrap().undo());
        assert_eq!(bench.offset(), 0);
        // Nowhere to put it: nothing was taken.
        assert!(bench.carry(Sysno::read, [1, 16, 0]).is_none());
        assert_eq!(bench.offset(), 0);
        assert!(bench.carry(Sysno::read, [room, 1 << 40, 0]).is_none());
        assert_eq!(bench.value(Sysno::pread64, [room, 3, 4]), Some(3));
        assert!(bench.carry(Sysno::pread64, [room, 3, u64::MAX]).is_none());
        assert_eq!(bench.offset(), 0);
    }

    #[test]
    fn bytes_offsets_and_flags_are_the_files_own() {
        let bench = bench(b"content");
        let bytes = bench.cage.put(b"new");
        assert_eq!(bench.value(Sysno::write, [bytes, 3, 0]), Some(3));
        assert_eq!(bench.value(Sysno::pwrite64, [bytes, 3, 5]), Some(3));
        assert_eq!(bench.offset(), 3);
        assert_eq!(bench.value(Sysno::lseek, [2, 0, 0]), Some(2));
        assert_eq!(bench.offset(), 2);
        let fail = i64::from(-1).cast_unsigned();
        assert_eq!(bench.value(Sysno::lseek, [fail, 0, 0]), None);
        let op = |op: i32| u64::from(op.cast_unsigned());
        assert_eq!(
            bench.value(Sysno::fcntl, [op(libc::F_GETFD), 0, 0]),
            Some(0)
        );
        let flags = bench.value(Sysno::fcntl, [op(libc::F_GETFL), 0, 0]);
        assert_eq!(flags.unwrap() & 3, u64::from(libc::O_RDWR.cast_unsigned()));
        assert_eq!(bench.value(Sysno::fcntl, [op(libc::F_SETFL), 0, 0]), None);
        let stat = bench.cage.put(&[0; 144]);
        assert_eq!(bench.value(Sysno::fstat, [stat, 0, 0]), Some(0));
        // Another kind of file, another call, another number.
        assert_eq!(bench.value(Sysno::getdents64, [bytes, 3, 0]), None);
        assert_eq!(bench.value(Sysno::fsync, [0; 3]), None);
        let other = Bench { fd: 99, ..bench };
        assert_eq!(other.value(Sysno::lseek, [0; 3]), None);
    }

    #[test]
    fn a_pipe_gives_what_it_has_and_takes_what_it_has_room_for() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let cage = TestCage::new();
        let ends = [reader, writer].map(|end| {
            let fd = cage.adopt(FileKind::Pipe, "pipe", end.try_clone().unwrap());
            let open = cage.thread.files().get(fd).unwrap().file;
            keep(&open, &Arc::new(end));
            u64::try_from(fd).unwrap()
        });
        let at = cage.put(&[1; 8192]);
        let call = |sysno: Sysno, fd, len| {
            let args = [fd, at, len, 0, 0, 0];
            let nr = sysno.id() as u64;
            carry(&Ctx::new(&cage.kernel, &cage.thread, &cage.ram, nr, args))
        };
        let [reader, writer] = ends;
        assert!(call(Sysno::read, reader, 1).is_none(), "it would wait");
        assert!(call(Sysno::write, writer, 4097).is_none(), "it might wait");
        assert_eq!(call(Sysno::write, writer, 4096).unwrap().value, 4096);
        let carried = call(Sysno::read, reader, 8192).unwrap();
        assert_eq!(carried.value, 4096);
        assert!(!carried.taken.unwrap().undo());
        while call(Sysno::write, writer, 4096).is_some() {}
        assert!(call(Sysno::write, writer, 1).is_none());
    }

    #[test]
    fn not_every_file_is_kept() {
        let kept = |kind, file: File| {
            let open = OpenFile::new(kind, Vec::new());
            keep(&open, &Arc::new(file.into()));
            open.copy().is_some()
        };
        let open = |path| File::open(path).unwrap();
        assert!(kept(FileKind::File, open("/etc/passwd")));
        assert!(!kept(FileKind::File, open("/proc/self/status")));
        assert!(!kept(FileKind::File, open("/dev/null")));
        assert!(!kept(FileKind::Socket, open("/etc/passwd")));
        let setuid = File::from(memfd_create(c"file", MFdFlags::empty()).unwrap());
        sys::fs::fchmod(setuid.as_fd(), 0o4755).unwrap();
        assert!(!kept(FileKind::File, setuid));
    }
}
