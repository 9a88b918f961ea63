//! What a handler works with: the calling thread, its cage's memory, and the run.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt::Debug;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use parking_lot::RwLock;

use super::carry;
use super::credentials::Credentials;
use crate::abi::Errno;
use crate::cage::{
    Cage, CageTable, Change, Descriptor, FileKind, Files, Frozen, FsContext, OpenFile, Pairs,
    Thread,
};
use crate::guest::{Fd, Guest};
use crate::sys::closer::Loan;

/// A file that the platform puts into the cage's kernel table before the call returns.
#[derive(Debug)]
pub struct Install {
    /// The number, as the virtual table has it.
    pub fd: i32,
    /// The file: the supervisor's own copy where it keeps one, otherwise one for the moment.
    pub file: Arc<OwnedFd>,
    /// Close-on-exec.
    pub cloexec: bool,
    /// What kind of file it is.
    pub kind: FileKind,
    /// A terminal that becomes its session's controlling one, if it can.
    pub controlling: bool,
}

/// What all handlers of a run share.
#[derive(Debug)]
pub struct Kernel {
    /// All live cages.
    pub cages: RwLock<CageTable>,
    /// The host's /proc, opened before the old root was left; its `self/fd/N` names the supervisor's descriptors.
    pub host_proc: OwnedFd,
    /// The root of the run's world, `O_PATH`.
    pub root: OwnedFd,
    /// Whether the run has a /proc.
    pub has_proc: bool,
    /// Ids of the mounts whose sockets and FIFOs belong to the run: private ones, and read-write binds.
    pub private_mounts: HashSet<u64>,
    /// Makers of pairs of sockets whose ends may travel.
    pub pairs: Pairs,
    /// Whether the run was started by the host's root, for whom the kernel applies no `RLIMIT_NPROC`.
    pub host_root: bool,
    /// Which ids there are inside, and what the program may do with them.
    pub credentials: Credentials,
    /// How many threads and processes there may be, where nobody else sees to it.
    pub pids_limit: Option<u64>,
    /// Whether copies of files are kept, so that calls on their data can be made in the supervisor.
    pub keeps_files: bool,
}

/// One call of one thread.
pub struct Ctx<'a> {
    /// The run.
    pub kernel: &'a Kernel,
    /// The calling thread.
    pub thread: &'a Arc<Thread>,
    /// The cage's memory and files.
    pub guest: &'a dyn Guest,
    /// The call's number.
    pub nr: u64,
    /// The raw arguments.
    pub args: [u64; 6],
    installs: RefCell<Vec<Install>>,
    change: RefCell<Option<Change>>,
    /// The paths of a call that ends under this very context; otherwise the thread has them.
    paths: Option<RefCell<Vec<Vec<u8>>>>,
    /// The number that such a call duplicates.
    source: Cell<Option<i32>>,
}

impl Debug for Ctx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx")
            .field("tid", &self.thread.tid)
            .field("nr", &self.nr)
            .finish_non_exhaustive()
    }
}

impl<'a> Ctx<'a> {
    /// A call.
    #[must_use]
    pub fn new(
        kernel: &'a Kernel,
        thread: &'a Arc<Thread>,
        guest: &'a dyn Guest,
        nr: u64,
        args: [u64; 6],
    ) -> Self {
        Self {
            kernel,
            thread,
            guest,
            nr,
            args,
            installs: RefCell::default(),
            change: RefCell::default(),
            paths: None,
            source: Cell::new(None),
        }
    }

    /// A call that ends under this very context, beside whatever else the thread may seem to be doing; what it duplicates is
    /// duplicated by the thread itself.
    #[must_use]
    pub fn aside(mut self) -> Self {
        self.paths = Some(RefCell::default());
        self
    }

    /// Whether it is such a call.
    #[must_use]
    pub fn is_aside(&self) -> bool {
        self.paths.is_some()
    }

    /// Notes the number that is duplicated.
    pub fn note_source(&self, fd: Fd) {
        self.source.set(Some(fd.0));
    }

    /// The number that is duplicated, where the thread is to do that itself.
    #[must_use]
    pub fn source(&self) -> Option<i32> {
        self.source.get()
    }

    /// Begins a change of the descriptor table, for a call that changes it only where something came (accept, a
    /// message with descriptors): its row is not marked, or it would hold up forks while it waits.
    ///
    /// # Errors
    /// [`Frozen`] while the kernel copies the table: try again a little later.
    pub fn begin_change(&self) -> Result<(), Frozen> {
        let change = self.files().begin_change()?;
        self.change.replace(Some(change));
        Ok(())
    }

    /// The change that the handler began: it ends when the platform has carried the outcome out.
    #[must_use]
    pub fn take_change(&self) -> Option<Change> {
        self.change.take()
    }

    /// The calling cage.
    #[must_use]
    pub fn cage(&self) -> &Arc<Cage> {
        &self.thread.cage
    }

    /// The calling thread's descriptor table.
    #[must_use]
    pub fn files(&self) -> Arc<Files> {
        self.thread.files()
    }

    /// The calling thread's working directory and umask.
    #[must_use]
    pub fn fs(&self) -> Arc<FsContext> {
        self.thread.fs()
    }

    /// Whether so many descriptors more would be within the limit.
    #[must_use]
    pub fn has_room(&self, wanted: usize) -> bool {
        let limit = usize::try_from(self.cage().nofile()).unwrap_or(usize::MAX);
        let files = self.files();
        let table = files.lock();
        // Only where the limit was lowered below open numbers do the two counts differ.
        table.len().saturating_add(wanted) <= limit
            || i32::try_from(limit).is_ok_and(|limit| {
                let below = table.numbers_in(0, limit.saturating_sub(1)).len();
                below.saturating_add(wanted) <= usize::try_from(limit).unwrap_or(0)
            })
    }

    /// The descriptor at a number.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn descriptor(&self, fd: Fd) -> Result<Descriptor, Errno> {
        self.files().get(fd.0)
    }

    /// Runs `act` on the open file at a number: the supervisor's own copy where it keeps one, otherwise one borrowed
    /// from the cage for the moment.
    ///
    /// # Errors
    /// `EBADF`, what borrowing gives, and what `act` gives.
    pub fn with_file<T>(
        &self,
        fd: Fd,
        act: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let descriptor = self.descriptor(fd)?;
        if let Some(copy) = descriptor.file.copy() {
            return act(copy.as_fd());
        }
        let borrowed = Loan::from(self.guest.borrow_file(fd.0)?);
        act(borrowed.as_fd())
    }

    /// Whether the kernel holds something in the cage at this number.
    #[must_use]
    pub fn holds(&self, fd: i32) -> bool {
        self.guest.borrow_file(fd).map(Loan::from).err() != Some(Errno::EBADF)
    }

    /// Puts a new open file into the table at the lowest free number, and into the cage where the kernel may hold it.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn open_lowest(
        &self,
        file: OpenFile,
        host: impl Into<Arc<OwnedFd>>,
        cloexec: bool,
    ) -> Result<i32, Errno> {
        self.insert_from(0, &Arc::new(file), Some(host.into()), cloexec)
    }

    /// Puts an open file at the lowest free number from `from` on.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn insert_from(
        &self,
        from: i32,
        file: &Arc<OpenFile>,
        host: Option<Arc<OwnedFd>>,
        cloexec: bool,
    ) -> Result<i32, Errno> {
        let descriptor = Descriptor {
            file: Arc::clone(file),
            cloexec,
        };
        let gone = |fd| !self.holds(fd);
        let files = self.files();
        let mut table = files.lock();
        let fd = table.insert_lowest(from, self.cage().nofile(), descriptor, gone)?;
        table.mark_arriving(fd, self.thread.tid);
        drop(table);
        self.thread.mark_closing();
        self.install_if_grantable(fd, file, host, cloexec);
        Ok(fd)
    }

    /// Notes that `host` goes to the cage's kernel table at `fd`. Every file may: a place too.
    pub fn install_if_grantable(
        &self,
        fd: i32,
        open: &OpenFile,
        host: Option<Arc<OwnedFd>>,
        cloexec: bool,
    ) {
        if let Some(file) = host {
            if self.kernel.keeps_files {
                carry::keep(open, &file);
            }
            self.installs.borrow_mut().push(Install {
                fd,
                file,
                cloexec,
                kind: open.kind(),
                controlling: false,
            });
        }
    }

    /// The terminal that goes to this number becomes the session's controlling one, where tty(4) says so: the platform
    /// asks for it in the caller.
    pub fn acquire_terminal(&self, fd: i32) {
        for install in self.installs.borrow_mut().iter_mut() {
            install.controlling |= install.fd == fd;
        }
    }

    /// The installs that the platform owes this call.
    #[must_use]
    pub fn take_installs(&self) -> Vec<Install> {
        std::mem::take(&mut self.installs.borrow_mut())
    }

    /// Takes a number back that could not be installed after all.
    pub fn undo_install(&self, fd: i32) {
        self.files().lock().abandon(fd);
    }

    /// Notes an absolute path that the call named.
    pub fn note_path(&self, path: Vec<u8>) {
        match &self.paths {
            Some(own) => own.borrow_mut().push(path),
            None => self.thread.note_path(path),
        }
    }

    /// The absolute paths that the call named. They outlive this context: a call that the kernel runs ends under another.
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<u8>> {
        match &self.paths {
            Some(own) => own.borrow().clone(),
            None => self.thread.paths(),
        }
    }

    /// The call begins: what an earlier one named is forgotten.
    pub fn forget_paths(&self) {
        if self.paths.is_none() {
            self.thread.forget_paths();
        }
    }

    /// The last absolute path that the call named.
    #[must_use]
    pub fn last_path(&self) -> Option<Vec<u8>> {
        self.paths().pop()
    }

    /// What the log calls the open file at a number.
    #[must_use]
    pub fn label(&self, fd: Fd) -> Option<Vec<u8>> {
        self.files()
            .lock()
            .get(fd.0)
            .ok()
            .map(|descriptor| descriptor.file.label().to_vec())
    }

    /// A new open file of which the supervisor keeps nothing, at the lowest free number.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn grant(
        &self,
        kind: FileKind,
        label: &str,
        host: OwnedFd,
        cloexec: bool,
    ) -> Result<i32, Errno> {
        self.open_lowest(
            OpenFile::new(kind, label.as_bytes().to_vec()),
            host,
            cloexec,
        )
    }
}
