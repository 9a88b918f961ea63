//! A descriptor table that threads share and, with `CLONE_FILES`, cages. Changes that reach the kernel later (an install, a
//! close that runs in the cage) are bracketed by a [`Change`]; a fork or exec [freezes](Files::freeze) the table, so that
//! the kernel's copy and ours agree.

use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{Descriptor, FdTable};
use crate::abi::Errno;

/// Called once, when a table that was frozen or busy no longer is.
pub type Waker = Box<dyn FnOnce() + Send>;

/// The table is being copied by the kernel: the call must wait for a [`Waker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frozen;

/// Changes are under way: the fork or exec must wait for a [`Waker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

#[derive(Default)]
struct Inner {
    table: FdTable,
    changes: usize,
    frozen: bool,
    /// How many want to freeze it.
    wanted: usize,
    /// How many changes may begin although somebody wants to freeze it: they have waited for the last freeze.
    admitted: usize,
    /// Changes that wait.
    waiters: Vec<Waker>,
    /// Freezes that wait.
    freezers: Vec<Waker>,
}

/// A table that threads and cages may share (Linux's `files_struct`).
#[derive(Default)]
pub struct Files(Mutex<Inner>);

impl Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.0.lock();
        f.debug_struct("Files")
            .field("open", &inner.table.len())
            .field("changes", &inner.changes)
            .field("frozen", &inner.frozen)
            .finish_non_exhaustive()
    }
}

/// A change that the kernel has not seen the end of. Dropped when the reply went out.
#[derive(Debug)]
pub struct Change(Arc<Files>);

impl Drop for Change {
    fn drop(&mut self) {
        let wake = {
            let mut inner = self.0.0.lock();
            inner.changes = inner.changes.saturating_sub(1);
            if inner.changes == 0 {
                std::mem::take(&mut inner.freezers)
            } else {
                Vec::new()
            }
        };
        wake.into_iter().for_each(|waker| waker());
    }
}

/// Somebody waits to freeze a table: no more changes begin, or threads that keep changing it would hold up a fork for
/// ever.
#[derive(Debug)]
pub struct Want(Arc<Files>);

impl Drop for Want {
    fn drop(&mut self) {
        let wake = {
            let mut inner = self.0.0.lock();
            inner.wanted = inner.wanted.saturating_sub(1);
            if inner.wanted == 0 && !inner.frozen {
                std::mem::take(&mut inner.waiters)
            } else {
                Vec::new()
            }
        };
        wake.into_iter().for_each(|waker| waker());
    }
}

/// Holds a table still while the kernel copies it, or while numbers that the kernel chose are about.
#[derive(Debug)]
pub struct Freeze(Arc<Files>);

impl Drop for Freeze {
    fn drop(&mut self) {
        self.0.thaw();
    }
}

impl Files {
    /// A table with these entries.
    #[must_use]
    pub fn new(table: FdTable) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            table,
            ..Inner::default()
        })))
    }

    /// The entries; the lock is short: no host call that can block is made under it.
    pub fn lock(&self) -> impl std::ops::DerefMut<Target = FdTable> + '_ {
        MutexGuard::map(self.0.lock(), |inner| &mut inner.table)
    }

    /// The descriptor at a number.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, fd: i32) -> Result<Descriptor, Errno> {
        self.0.lock().table.get(fd).cloned()
    }

    /// Begins a change.
    ///
    /// # Errors
    /// [`Frozen`] while the kernel copies the table, or is about to.
    pub fn begin_change(self: &Arc<Self>) -> Result<Change, Frozen> {
        let mut inner = self.0.lock();
        if inner.frozen || (inner.wanted > 0 && inner.admitted == 0) {
            return Err(Frozen);
        }
        inner.admitted = inner.admitted.saturating_sub(1);
        inner.changes += 1;
        drop(inner);
        Ok(Change(Arc::clone(self)))
    }

    /// Stops all changes for as long as the [`Freeze`] lives.
    ///
    /// # Errors
    /// [`Busy`] while changes are under way, or another freeze.
    pub fn freeze(self: &Arc<Self>) -> Result<Freeze, Busy> {
        let mut inner = self.0.lock();
        if inner.changes > 0 || inner.frozen {
            return Err(Busy);
        }
        inner.frozen = true;
        inner.admitted = 0;
        inner.table.begin_copy();
        drop(inner);
        Ok(Freeze(Arc::clone(self)))
    }

    /// Lets no more changes begin, until the table can be frozen.
    #[must_use]
    pub fn want_freeze(self: &Arc<Self>) -> Want {
        self.0.lock().wanted += 1;
        Want(Arc::clone(self))
    }

    /// What waited to change the table goes before the next freeze.
    fn thaw(&self) {
        let (changes, freezes) = {
            let mut inner = self.0.lock();
            inner.frozen = false;
            inner.table.end_copy();
            inner.admitted = inner.waiters.len();
            (
                std::mem::take(&mut inner.waiters),
                std::mem::take(&mut inner.freezers),
            )
        };
        changes.into_iter().chain(freezes).for_each(|waker| waker());
    }

    /// Calls `waker` when a change may begin; at once, where that is so already.
    pub fn when_free(&self, waker: Waker) {
        let mut inner = self.0.lock();
        if inner.frozen || (inner.wanted > 0 && inner.admitted == 0) {
            inner.waiters.push(waker);
        } else {
            drop(inner);
            waker();
        }
    }

    /// Calls `waker` when the table can be frozen; at once, where that is so already.
    pub fn when_quiet(&self, waker: Waker) {
        let mut inner = self.0.lock();
        if inner.changes > 0 || inner.frozen {
            inner.freezers.push(waker);
        } else {
            drop(inner);
            waker();
        }
    }

    /// Whether nothing is under way: what `--check-invariants` waits for.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let inner = self.0.lock();
        inner.changes == 0 && !inner.frozen
    }

    /// A copy of the entries, for a fork, an exec or `unshare(CLONE_FILES)`, with the numbers that are being closed.
    #[must_use]
    pub fn copy(&self) -> FdTable {
        self.0.lock().table.copy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cage::{FileKind, OpenFile, Tid};

    fn descriptor() -> Descriptor {
        Descriptor {
            file: Arc::new(OpenFile::new(FileKind::Pipe, b"pipe".to_vec())),
            cloexec: false,
        }
    }

    #[test]
    fn a_freeze_waits_for_changes_and_changes_for_a_freeze() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let files = Files::new(FdTable::default());
        let woken = Arc::new(AtomicUsize::new(0));
        let change = files.begin_change().unwrap();
        assert_eq!(files.freeze().err(), Some(Busy));
        let counter = Arc::clone(&woken);
        files.when_quiet(Box::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }));
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        drop(change);
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        let frozen = files.freeze().unwrap();
        assert!(files.begin_change().is_err());
        drop(frozen);
        assert!(files.begin_change().is_ok());
    }

    #[test]
    fn who_wants_to_freeze_is_not_held_up_for_ever_nor_holds_up_others() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let files = Files::new(FdTable::default());
        let change = files.begin_change().unwrap();
        assert_eq!(files.freeze().err(), Some(Busy));
        let want = files.want_freeze();
        let second = files.want_freeze();
        assert!(
            files.begin_change().is_err(),
            "the change after would never end"
        );
        let woken = Arc::new(AtomicUsize::new(0));
        let (counter, table) = (Arc::clone(&woken), Arc::clone(&files));
        files.when_free(Box::new(move || {
            assert!(table.begin_change().is_ok());
            counter.fetch_add(1, Ordering::SeqCst);
        }));
        drop(change);
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        let frozen = files.freeze().unwrap();
        drop(want);
        drop(frozen);
        assert_eq!(
            woken.load(Ordering::SeqCst),
            1,
            "it has waited for one freeze"
        );
        assert!(files.begin_change().is_err(), "another is wanted");
        // Who wanted it was killed.
        drop(second);
        assert!(files.begin_change().is_ok());
    }

    #[test]
    fn a_close_that_ends_while_the_kernel_copies_is_still_undone_in_the_copy() {
        let mut table = FdTable::default();
        for _ in 0..2 {
            table.insert_lowest(0, 100, descriptor(), |_| true).unwrap();
        }
        let files = Files::new(table);
        files.lock().remove(1).unwrap();
        files.lock().mark_closing(1, Tid(9));
        let frozen = files.freeze().unwrap();
        files.lock().settle(Tid(9));
        assert_eq!(files.copy().take_closing(), vec![1]);
        drop(frozen);
        assert!(files.copy().take_closing().is_empty());
    }
}
