//! A cage for unit tests: a run whose world is the host's own root, one thread, and a [`Ram`] in place of a process.
//! Calls go through the table's rows as the dispatcher sends them; nothing here is compiled into the program.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::credentials::Credentials;
use super::row::{Action, Row};
use super::{Ctx, Kernel, Outcome, SysResult, table};
use crate::cage::{
    Cage, CageTable, FdTable, FileKind, Files, FsContext, OpenFile, Pairs, Sharing, Thread, Tid,
};
use crate::guest::{Guest, GuestMemory, Ram};

/// Where a test cage's memory begins.
pub(crate) const BASE: u64 = 0x10000;
/// How much of it there is.
pub(crate) const SIZE: usize = 64 * 1024;
/// An address where nothing is.
pub(crate) const NOWHERE: u64 = 8;

/// A cage without a process.
#[derive(Debug)]
pub(crate) struct TestCage {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) thread: Arc<Thread>,
    pub(crate) ram: Ram,
    /// The absolute paths that the last call noted.
    pub(crate) paths: parking_lot::Mutex<Vec<Vec<u8>>>,
    next: AtomicU64,
}

fn o_path(path: &Path) -> OwnedFd {
    File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
        .open(path)
        .unwrap()
        .into()
}

fn row(name: &str) -> &'static Row {
    table::ROWS
        .iter()
        .find(|row| row.name == name)
        .unwrap_or_else(|| panic!("no row is called {name}"))
}

impl TestCage {
    /// A cage in `/` with nothing open.
    pub(crate) fn new() -> Self {
        Self::at(Path::new("/"))
    }

    /// A cage in this directory.
    pub(crate) fn at(cwd: &Path) -> Self {
        let pid = i32::try_from(std::process::id()).unwrap();
        Self::of_process(cwd, Tid(pid))
    }

    /// A cage that stands for this process.
    pub(crate) fn of_process(cwd: &Path, tgid: Tid) -> Self {
        let mut cages = CageTable::default();
        let cage = Arc::new(Cage::new(cages.next_id(), None, tgid, None, 1024));
        let label = cwd.as_os_str().as_bytes().to_vec();
        let place = Arc::new(OpenFile::kept(FileKind::Place, label, o_path(cwd)));
        let fs = Arc::new(FsContext::new(place, 0o022));
        let files = Files::new(FdTable::default());
        let thread = Arc::new(Thread::new(tgid, cage, files, fs));
        cages.insert(Arc::clone(&thread));
        let kernel = Kernel {
            cages: RwLock::new(cages),
            host_proc: o_path(Path::new("/proc")),
            root: o_path(Path::new("/")),
            has_proc: true,
            private_mounts: HashSet::new(),
            pairs: Pairs::default(),
            host_root: nix::unistd::geteuid().is_root(),
            credentials: Credentials::new(vec![(0, u32::MAX)], vec![(0, u32::MAX)], 0, false),
            pids_limit: None,
            keeps_files: false,
        };
        Self {
            kernel: Arc::new(kernel),
            thread,
            ram: Ram::new(BASE, SIZE),
            paths: parking_lot::Mutex::default(),
            next: AtomicU64::new(BASE),
        }
    }

    /// A child, as fork makes it: copies of the table, of the files that the kernel holds and of the memory.
    pub(crate) fn fork(&self, tgid: Tid) -> Self {
        let mut cages = self.kernel.cages.write();
        let parent = self.thread.cage.as_ref();
        let cage = Cage::new(cages.next_id(), Some(parent), tgid, None, parent.nofile());
        let lineage = cages.child(&self.thread, tgid, Sharing::default(), Some(cage));
        drop(cages);
        let ram = Ram::new(BASE, SIZE);
        let mut bytes = vec![0; SIZE];
        self.ram.read(BASE, &mut bytes).unwrap();
        ram.write(BASE, &bytes).unwrap();
        for fd in self.ram.open_numbers() {
            ram.install(fd, self.ram.borrow_file(fd).unwrap());
        }
        Self {
            kernel: Arc::clone(&self.kernel),
            thread: lineage.thread,
            ram,
            paths: parking_lot::Mutex::default(),
            next: AtomicU64::new(self.next.load(Ordering::Relaxed)),
        }
    }

    /// Puts bytes into the cage's memory, each time at another place, 8-aligned.
    pub(crate) fn put(&self, bytes: &[u8]) -> u64 {
        let room = bytes.len().next_multiple_of(8).max(8) as u64;
        let at = self.next.fetch_add(room, Ordering::Relaxed);
        assert!(at + room <= BASE + SIZE as u64, "the test cage is full");
        self.ram.write(at, bytes).unwrap();
        at
    }

    /// Puts a NUL-terminated string into the cage's memory.
    pub(crate) fn put_str(&self, text: impl AsRef<[u8]>) -> u64 {
        let mut bytes = text.as_ref().to_vec();
        bytes.push(0);
        self.put(&bytes)
    }

    /// Room for a result.
    pub(crate) fn room(&self, len: usize) -> u64 {
        self.put(&vec![0; len])
    }

    /// Bytes out of the cage's memory.
    pub(crate) fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        assert_eq!(self.ram.read(at, &mut bytes), Ok(len));
        bytes
    }

    /// An `int` out of the cage's memory.
    pub(crate) fn int(&self, at: u64) -> i32 {
        i32::from_ne_bytes(self.bytes(at, 4).try_into().unwrap())
    }

    /// Puts a host file into the cage, as if the cage had opened it.
    pub(crate) fn adopt(&self, kind: FileKind, label: &str, host: OwnedFd) -> i32 {
        let cx = Ctx::new(&self.kernel, &self.thread, &self.ram, 0, [0; 6]);
        let file = if matches!(kind, FileKind::Directory | FileKind::Place) {
            let copy = host.as_fd().try_clone_to_owned().unwrap();
            OpenFile::kept(kind, label.into(), copy)
        } else {
            OpenFile::new(kind, label.into())
        };
        let fd = cx.open_lowest(file, host, false).unwrap();
        self.install(&cx);
        fd
    }

    fn install(&self, cx: &Ctx<'_>) {
        for install in cx.take_installs() {
            self.ram.install(install.fd, install.file);
        }
    }

    /// What the call's row and handler answer; installs are in the cage afterwards.
    pub(crate) fn outcome(&self, name: &str, args: &[u64]) -> SysResult {
        let row = row(name);
        let mut registers = [0; 6];
        registers[..args.len()].copy_from_slice(args);
        self.thread.settle();
        self.thread.forget_paths();
        let cx = Ctx::new(
            &self.kernel,
            &self.thread,
            &self.ram,
            u64::from(row.nr),
            registers,
        );
        let result = match row.action {
            Action::Pass => Ok(Outcome::Continue),
            Action::Fail(errno) => Err(errno),
            Action::Data(handler)
            | Action::Run(handler)
            | Action::Shared(handler)
            | Action::Announce(handler)
            | Action::Trace(handler) => handler(&cx, registers),
        };
        if result.is_ok() {
            self.install(&cx);
        }
        *self.paths.lock() = cx.paths();
        if matches!(result, Ok(Outcome::Continue)) {
            self.run_natively(name, registers);
        }
        result
    }

    /// What the kernel would do to the cage's files where a call goes on to it.
    fn run_natively(&self, name: &str, args: [u64; 6]) {
        let low = |register: u64| u32::try_from(register & 0xffff_ffff).unwrap();
        match name {
            "close" => {
                self.ram.close(low(args[0]).cast_signed());
            }
            "close_range" if low(args[2]) & libc::CLOSE_RANGE_CLOEXEC == 0 => {
                for fd in self.ram.open_numbers() {
                    if (low(args[0])..=low(args[1])).contains(&fd.cast_unsigned()) {
                        self.ram.close(fd);
                    }
                }
            }
            _ => {}
        }
    }

    /// The call's result as the cage sees it: a value or a negative errno. What goes on to the kernel counts as 0 here.
    ///
    /// # Panics
    /// Where the call is forwarded: look at its [`outcome`](Self::outcome) then.
    pub(crate) fn call(&self, name: &str, args: &[u64]) -> i64 {
        match self.outcome(name, args) {
            Ok(Outcome::Emulated(value)) => value.cast_signed(),
            Ok(Outcome::Continue) => 0,
            Ok(Outcome::Deny(errno)) | Err(errno) => -i64::from(errno.into_raw()),
            Ok(Outcome::Forward(forward)) => panic!("{name} is forwarded: {forward:?}"),
        }
    }

    /// The open numbers of the virtual table.
    pub(crate) fn numbers(&self) -> Vec<i32> {
        let files = self.thread.files();
        let table = files.lock();
        table.iter().map(|(fd, _)| fd).collect()
    }

    /// Whether exec closes this number.
    pub(crate) fn cloexec(&self, fd: i32) -> bool {
        self.thread.files().get(fd).unwrap().cloexec
    }
}

/// A call's failure, as the cage sees it.
pub(crate) fn fails(errno: crate::abi::Errno) -> i64 {
    -i64::from(errno.into_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Errno;

    #[test]
    fn memory_and_files_are_those_of_one_cage() {
        let cage = TestCage::new();
        let at = cage.put_str("name");
        assert_eq!(cage.bytes(at, 5), b"name\0");
        let fd = cage.adopt(
            FileKind::File,
            "/dev/null",
            File::open("/dev/null").unwrap().into(),
        );
        assert_eq!((fd, cage.numbers()), (0, vec![0]));
        assert_eq!(cage.ram.open_numbers(), vec![0]);
        let child = cage.fork(Tid(2));
        child.ram.close(0);
        assert_eq!(cage.ram.open_numbers(), vec![0]);
        assert_eq!(child.numbers(), vec![0]);
        assert_eq!(cage.call("acct", &[0]), fails(Errno::EPERM));
    }
}
