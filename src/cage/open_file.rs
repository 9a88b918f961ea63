//! POSIX's open file description, as far as the supervisor must know it. Offset and status flags are the kernel
//! file's and never cached here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

/// What kind of thing is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file, a device, a memfd: anything with contents.
    File,
    /// A directory.
    Directory,
    /// A pipe or a FIFO.
    Pipe,
    /// A socket.
    Socket,
    /// A terminal.
    Terminal,
    /// An epoll instance.
    Epoll,
    /// An eventfd, timerfd, signalfd, inotify or pid descriptor.
    Event,
    /// Opened with `O_PATH`: a place, not contents.
    Place,
}

/// Whom a socket names as its peer, where the kernel would name the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The process, by its number inside the run.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// An open file: shared by dup, fork and `SCM_RIGHTS`.
#[derive(Debug)]
pub struct OpenFile {
    kind: FileKind,
    label: Vec<u8>,
    host: Option<Arc<OwnedFd>>,
    /// A copy of what only the kernel's table would hold otherwise.
    copy: OnceLock<Arc<OwnedFd>>,
    procfs: bool,
    peer: Option<Peer>,
    /// An errno that a call left for the next one, as the kernel's `sk_err`; zero is none.
    error: AtomicI32,
}

impl OpenFile {
    /// A file that only the cage's kernel table holds; `label` is its absolute path as reached, or `pipe:` and the like.
    #[must_use]
    pub fn new(kind: FileKind, label: Vec<u8>) -> Self {
        Self {
            kind,
            label,
            host: None,
            copy: OnceLock::new(),
            procfs: false,
            peer: None,
            error: AtomicI32::new(0),
        }
    }

    /// A file of which the supervisor keeps a copy: directories, and what the kernel cannot hold in a cage.
    #[must_use]
    pub fn kept(kind: FileKind, label: Vec<u8>, host: impl Into<Arc<OwnedFd>>) -> Self {
        Self {
            kind,
            label,
            host: Some(host.into()),
            copy: OnceLock::new(),
            procfs: false,
            peer: None,
            error: AtomicI32::new(0),
        }
    }

    /// Marks the file as lying on a proc file system, where names mean the caller and must be walked slowly.
    #[must_use]
    pub fn on_procfs(mut self, procfs: bool) -> Self {
        self.procfs = procfs;
        self
    }

    /// Says who made a pair of sockets.
    #[must_use]
    pub fn with_peer(mut self, peer: Peer) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Who made the pair of sockets that this is one of.
    #[must_use]
    pub fn peer(&self) -> Option<Peer> {
        self.peer
    }

    /// What kind of thing it is.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Where it was reached.
    #[must_use]
    pub fn label(&self) -> &[u8] {
        &self.label
    }

    /// The supervisor's own copy, where it keeps one.
    #[must_use]
    pub fn host(&self) -> Option<BorrowedFd<'_>> {
        self.host.as_deref().map(AsFd::as_fd)
    }

    /// The same, to be held a little longer than the open file perhaps.
    #[must_use]
    pub fn host_file(&self) -> Option<Arc<OwnedFd>> {
        self.host.clone()
    }

    /// Keeps a copy, so that calls on it can be made in the supervisor. It goes when the last descriptor does.
    pub fn keep(&self, copy: &Arc<OwnedFd>) {
        let _ = self.copy.set(Arc::clone(copy));
    }

    /// The supervisor's own copy or the one that was kept.
    #[must_use]
    pub fn copy(&self) -> Option<Arc<OwnedFd>> {
        self.host.clone().or_else(|| self.copy.get().cloned())
    }

    /// Leaves an error of this socket for the next call.
    pub fn keep_error(&self, errno: i32) {
        self.error.store(errno, Ordering::Relaxed);
    }

    /// Takes the error that a call left; zero is none.
    #[must_use]
    pub fn take_error(&self) -> i32 {
        self.error.swap(0, Ordering::Relaxed)
    }

    /// Whether it lies on a proc file system.
    #[must_use]
    pub fn is_on_procfs(&self) -> bool {
        self.procfs
    }
}
