//! A call in the mailbox: which rows go by it, and the cage's memory as such a call sees it.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;

use crate::abi::{Errno, Sysno};
use crate::guest::{ArgKind, Guest, GuestMemory};
use crate::posix::row::{Action, Row};
use crate::posix::table::{self, ROWS};
use crate::sys::mailbox::Slot;
use crate::sys::shim::{Shape, slot};

/// Which calls go by the mailbox in a run, and in what shape.
#[derive(Debug)]
pub(super) struct Shapes(Vec<Option<Shape>>);

impl Shapes {
    /// Of a run where these rows reach the dispatcher.
    pub(super) fn new(is_mediated: impl Fn(&Row) -> bool) -> Self {
        let last = ROWS.last().map_or(0, |row| row.nr);
        let shape = |nr| table::row(u64::from(nr)).and_then(|row| shape_of(row, &is_mediated));
        Self((0..=last).map(shape).collect())
    }

    /// The shape of a call, where it goes by the mailbox.
    pub(super) fn of(&self, nr: u64) -> Option<Shape> {
        *self.0.get(usize::try_from(nr).ok()?)?
    }
}

/// The calls by which the thread itself changes its kernel table, once they are served.
const NUMBERS: [(Sysno, Shape); 8] = [
    (Sysno::open, Shape::First),
    (Sysno::close, Shape::Plain),
    (Sysno::dup, Shape::Plain),
    (Sysno::dup2, Shape::Plain),
    (Sysno::fcntl, Shape::Control),
    (Sysno::creat, Shape::First),
    (Sysno::openat, Shape::Second),
    (Sysno::dup3, Shape::Plain),
];

/// The calls about what is open that the supervisor can make itself, where they are mediated.
const DATA: [(Sysno, Shape); 7] = [
    (Sysno::read, Shape::Plain),
    (Sysno::write, Shape::Bytes),
    (Sysno::fstat, Shape::Plain),
    (Sysno::lseek, Shape::Plain),
    (Sysno::pread64, Shape::Plain),
    (Sysno::pwrite64, Shape::Bytes),
    (Sysno::getdents64, Shape::Plain),
];

fn listed(list: &[(Sysno, Shape)], nr: u32) -> Option<Shape> {
    let entry = list.iter().find(|(sysno, _)| sysno.id() as u32 == nr);
    entry.map(|&(_, shape)| shape)
}

/// Whether a call changes the thread's kernel table.
pub(super) fn is_about_numbers(nr: u64) -> bool {
    u32::try_from(nr).is_ok_and(|nr| listed(&NUMBERS, nr).is_some())
}

/// Whether it depends on the descriptor if a call is refused: it says nothing about how well its lane is served.
pub(super) fn is_often_refused(nr: u64) -> bool {
    is_about_numbers(nr) || u32::try_from(nr).is_ok_and(|nr| listed(&DATA, nr).is_some())
}

/// The shape of a row's calls, where they go by the mailbox: those about numbers, those about what is open where it is mediated, and
/// those that a handler answers for good by names, and that need nothing else of the cage's memory than their paths.
fn shape_of(row: &Row, is_mediated: &impl Fn(&Row) -> bool) -> Option<Shape> {
    let whole = |sysno: Sysno| table::row(sysno.id() as u64).is_some_and(is_mediated);
    if let Some(shape) = listed(&NUMBERS, row.nr) {
        // Whatever else fcntl does passes, unless it is mediated.
        let all = shape == Shape::Control && whole(Sysno::fstat);
        return Some(if all { Shape::Plain } else { shape });
    }
    if let Some(shape) = listed(&DATA, row.nr) {
        return is_mediated(row).then_some(shape);
    }
    let answers =
        matches!(row.action, Action::Run(_)) && !row.changes_files && row.passes.is_empty();
    let reads = |kind| matches!(kind, ArgKind::In | ArgKind::Addr);
    // A watch is put on the caller's own descriptor.
    if !answers || row.name == "inotify_add_watch" || row.args.iter().any(|arg| reads(arg.kind)) {
        return None;
    }
    let paths: Vec<usize> = row
        .args
        .iter()
        .enumerate()
        .filter(|(_, arg)| arg.kind == ArgKind::Path)
        .map(|(at, _)| at)
        .collect();
    if paths.is_empty() && !matches!(row.name, "getcwd" | "fchdir") {
        return None;
    }
    match row.name {
        // As fstat it passes, unless that is mediated.
        "newfstatat" if !whole(Sysno::fstat) => Some(Shape::Stat),
        _ => Shape::with_paths(&paths),
    }
}

/// Bytes that a call gives, and where they go.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) addr: u64,
    pub(super) bytes: Vec<u8>,
}

/// The memory of a thread whose call is in the mailbox: the paths and bytes as they were posted, copied once, and room for what the call
/// gives. The thread itself is never looked at, for it may end meanwhile and its number be another's: a handler that wants more
/// of it has strayed, and the call goes the kernel's way.
#[derive(Debug)]
pub(super) struct Letter {
    taken: Vec<(u64, Vec<u8>)>,
    given: RefCell<Given>,
    strayed: Cell<bool>,
}

impl Letter {
    /// What a slot holds for a call of this shape.
    pub(super) fn new(posted: &Slot, shape: Shape, args: &[u64; 6]) -> Self {
        let paths = shape
            .paths()
            .iter()
            .zip([false, true])
            .filter_map(|(&at, second)| Some((*args.get(at)?, posted.path(second))));
        let [_, addr, len, ..] = *args;
        let bytes = (shape == Shape::Bytes).then(|| (addr, posted.taken(len)));
        let taken = paths.chain(bytes).collect();
        Self {
            taken,
            given: RefCell::default(),
            strayed: Cell::new(false),
        }
    }

    fn stray<T>(&self, errno: Errno) -> Result<T, Errno> {
        self.strayed.set(true);
        Err(errno)
    }

    /// Whether the handler wanted more than there is.
    pub(super) fn has_strayed(&self) -> bool {
        self.strayed.get()
    }

    /// What the call gives.
    pub(super) fn into_given(self) -> Given {
        self.given.into_inner()
    }
}

impl GuestMemory for Letter {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        for (at, bytes) in &self.taken {
            let rest = addr
                .checked_sub(*at)
                .and_then(|offset| bytes.get(usize::try_from(offset).ok()?..))
                .filter(|rest| !rest.is_empty());
            if let Some(rest) = rest {
                let len = rest.len().min(buf.len());
                if let (Some(to), Some(from)) = (buf.get_mut(..len), rest.get(..len)) {
                    to.copy_from_slice(from);
                }
                return Ok(len);
            }
        }
        self.stray(Errno::EFAULT)
    }

    fn write(&self, addr: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let mut given = self.given.borrow_mut();
        if !given.bytes.is_empty() || bytes.len() > slot::OUT_MAX {
            return self.stray(Errno::EFAULT);
        }
        given.addr = addr;
        given.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Guest for Letter {
    fn borrow_file(&self, _fd: i32) -> Result<OwnedFd, Errno> {
        self.stray(Errno::EBADF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mailbox::Mailbox;
    use crate::sys::sealed::memfd;
    use crate::sys::shim::MAILBOX;

    fn names(shapes: &Shapes) -> Vec<&'static str> {
        ROWS.iter()
            .filter(|row| shapes.of(u64::from(row.nr)).is_some())
            .map(|row| row.name)
            .collect()
    }

    #[test]
    fn the_rows_that_go_by_the_mailbox() {
        let few = Shapes::new(|row| !matches!(row.action, Action::Data(_) | Action::Pass));
        let all = Shapes::new(|_| true);
        let data = [
            "read",
            "write",
            "pread64",
            "pwrite64",
            "fstat",
            "lseek",
            "getdents64",
        ];
        for name in [
            "stat",
            "newfstatat",
            "statx",
            "access",
            "readlink",
            "getcwd",
            "fchdir",
            "renameat2",
            "open",
            "openat",
            "close",
            "dup3",
        ] {
            assert!(names(&few).contains(&name), "{name}");
            assert!(names(&all).contains(&name), "{name}");
        }
        for name in data {
            assert!(!names(&few).contains(&name), "{name}");
            assert!(names(&all).contains(&name), "{name}");
        }
        for name in [
            "openat2",
            "pipe2",
            "utimensat",
            "setxattr",
            "execve",
            "connect",
            "close_range",
            "mmap",
            "poll",
        ] {
            assert!(!names(&all).contains(&name), "{name}");
        }
        let shapes = |shapes: &Shapes| {
            [Sysno::newfstatat, Sysno::fcntl].map(|sysno| shapes.of(sysno.id() as u64).unwrap())
        };
        assert_eq!(shapes(&few), [Shape::Stat, Shape::Control]);
        assert_eq!(shapes(&all), [Shape::Second, Shape::Plain]);
    }

    #[test]
    fn a_letter_has_its_paths_and_one_answer() {
        let file = memfd(MAILBOX as i64).unwrap();
        let posted = Mailbox::map(&file, 0).unwrap().slot().unwrap();
        // What the slot says is what the cage wrote; nothing yet.
        let letter = Letter::new(&posted, Shape::First, &[0x1000, 0, 0, 0, 0, 0]);
        let guest: &dyn Guest = &letter;
        assert_eq!(guest.write_all(0x2000, b"answer"), Ok(()));
        assert!(!letter.has_strayed());
        let given = letter.into_given();
        assert_eq!(
            (given.addr, given.bytes.as_slice()),
            (0x2000, &b"answer"[..])
        );
        for stray in [
            |guest: &dyn Guest| guest.get_cstr(0x1000, 10).is_err(),
            |guest: &dyn Guest| guest.write_all(0, &[0; slot::OUT_MAX + 1]).is_err(),
            |guest: &dyn Guest| {
                guest.write_all(0, b"a").is_ok() && guest.write_all(0, b"b").is_err()
            },
            |guest: &dyn Guest| guest.borrow_file(3).is_err(),
        ] {
            let letter = Letter::new(&posted, Shape::First, &[0x1000, 0, 0, 0, 0, 0]);
            assert!(stray(&letter));
            assert!(letter.has_strayed());
        }
    }
}
