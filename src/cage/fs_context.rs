//! The working directory and the umask: what `CLONE_FS` shares (Linux's `fs_struct`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::OpenFile;

/// A virtual working directory and umask.
#[derive(Debug)]
pub struct FsContext {
    cwd: Mutex<Arc<OpenFile>>,
    /// Where the kernel believes the cage to be: moved there only when a call needs it.
    kernel_cwd: Mutex<Arc<OpenFile>>,
    umask: AtomicU32,
}

impl FsContext {
    /// A context at this directory, where the kernel is, too.
    #[must_use]
    pub fn new(cwd: Arc<OpenFile>, umask: u32) -> Self {
        Self {
            kernel_cwd: Mutex::new(Arc::clone(&cwd)),
            cwd: Mutex::new(cwd),
            umask: AtomicU32::new(umask & 0o777),
        }
    }

    /// A copy, for a fork.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            kernel_cwd: Mutex::new(Arc::clone(&self.kernel_cwd.lock())),
            cwd: Mutex::new(self.cwd()),
            umask: AtomicU32::new(self.umask()),
        }
    }

    /// Whether the kernel's working directory is this one, too.
    #[must_use]
    pub fn kernel_is_there(&self) -> bool {
        let cwd = self.cwd();
        Arc::ptr_eq(&cwd, &self.kernel_cwd.lock())
    }

    /// Notes that the kernel was moved to this directory.
    pub fn set_kernel_cwd(&self, cwd: &Arc<OpenFile>) {
        *self.kernel_cwd.lock() = Arc::clone(cwd);
    }

    /// The working directory; its host copy is an `O_PATH` descriptor.
    #[must_use]
    pub fn cwd(&self) -> Arc<OpenFile> {
        Arc::clone(&self.cwd.lock())
    }

    /// Moves to another directory.
    pub fn set_cwd(&self, cwd: Arc<OpenFile>) {
        *self.cwd.lock() = cwd;
    }

    /// The file mode creation mask.
    #[must_use]
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// Sets the mask and returns the old one.
    pub fn set_umask(&self, umask: u32) -> u32 {
        self.umask.swap(umask & 0o777, Ordering::Relaxed)
    }
}
