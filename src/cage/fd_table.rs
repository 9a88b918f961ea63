//! The virtual descriptor table: the truth about which numbers are open (POSIX: the lowest free one is handed out).
//!
//! A table may be shared by threads and, with `CLONE_FILES`, by cages. Changes that reach the kernel later (an
//! install, a close that runs in the cage) are bracketed by a [`Change`]; a fork or exec [freezes](Files::freeze)
//! the table, so that the kernel's copy and ours agree.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{OpenFile, Tid};
use crate::abi::Errno;
use crate::sys::courier::{COURIER, Courier};

/// An entry: number → open file and close-on-exec.
#[derive(Debug, Clone)]
pub struct Descriptor {
    /// The open file.
    pub file: Arc<OpenFile>,
    /// Whether exec closes it.
    pub cloexec: bool,
}

/// Called once, when a table that was frozen or busy no longer is.
pub type Waker = Box<dyn FnOnce() + Send>;

/// The table is being copied by the kernel: the call must wait for a [`Waker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frozen;

/// Changes are under way: the fork or exec must wait for a [`Waker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// Numbers and what they stand for.
#[derive(Debug, Default, Clone)]
pub struct FdTable {
    slots: BTreeMap<i32, Descriptor>,
    /// No number below this one is free.
    lowest_hint: i32,
    /// Numbers taken out here whose close may not have run in the kernel yet, and the thread that runs it.
    closing: Vec<(i32, Tid)>,
    /// Numbers handed out here whose file may not be in the kernel's table yet, and the thread that asked.
    arriving: Vec<(i32, Tid)>,
    /// Numbers that were being closed when the kernel began to copy its table: the copy may hold them, though the
    /// closes have run since.
    copied_closing: Vec<i32>,
    /// Whether somebody who shared it was killed in the midst of a change: the kernel may hold things at numbers that are
    /// free here, and what is put there replaces them.
    shaken: bool,
    /// By which files reach the kernel's table, where its end is there, at a number that is free here.
    courier: Option<Arc<Courier>>,
    /// Whether the kernel's table has a courier's end there, this table's or that of the one it was copied from.
    has_end: bool,
}

impl FdTable {
    /// The descriptor at a number.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, fd: i32) -> Result<&Descriptor, Errno> {
        self.slots.get(&fd).ok_or(Errno::EBADF)
    }

    /// The descriptor at a number, to change its close-on-exec flag.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get_mut(&mut self, fd: i32) -> Result<&mut Descriptor, Errno> {
        self.slots.get_mut(&fd).ok_or(Errno::EBADF)
    }

    /// Takes the lowest free number at or above `from` and below `limit`. A number whose close may not have run yet is
    /// taken only where `gone` says that the kernel no longer holds it.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn insert_lowest(
        &mut self,
        from: i32,
        limit: u64,
        descriptor: Descriptor,
        gone: impl Fn(i32) -> bool,
    ) -> Result<i32, Errno> {
        let start = from.max(if from <= self.lowest_hint {
            self.lowest_hint
        } else {
            0
        });
        let mut candidate = start;
        let mut skipped_closing = false;
        {
            let mut taken = self.slots.range(start..).map(|(&fd, _)| fd).peekable();
            loop {
                while taken.peek() == Some(&candidate) {
                    taken.next();
                    candidate = candidate.checked_add(1).ok_or(Errno::EMFILE)?;
                }
                if self.closing.iter().any(|&(fd, _)| fd == candidate) {
                    if gone(candidate) {
                        self.closing.retain(|&(fd, _)| fd != candidate);
                        break;
                    }
                    skipped_closing = true;
                    candidate = candidate.checked_add(1).ok_or(Errno::EMFILE)?;
                    continue;
                }
                break;
            }
        }
        if u64::try_from(candidate).map_err(|_| Errno::EMFILE)? >= limit {
            return Err(Errno::EMFILE);
        }
        if start <= self.lowest_hint && from <= self.lowest_hint && !skipped_closing {
            self.lowest_hint = candidate.saturating_add(1);
        }
        self.slots.insert(candidate, descriptor);
        self.lose_courier(candidate..=candidate);
        Ok(candidate)
    }

    /// Puts a descriptor at a number and returns the one it replaces.
    pub fn replace(&mut self, fd: i32, descriptor: Descriptor) -> Option<Descriptor> {
        self.lose_courier(fd..=fd);
        self.slots.insert(fd, descriptor)
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn remove(&mut self, fd: i32) -> Result<Descriptor, Errno> {
        let descriptor = self.slots.remove(&fd).ok_or(Errno::EBADF)?;
        self.lowest_hint = self.lowest_hint.min(fd);
        self.arrived(fd);
        Ok(descriptor)
    }

    /// The table's courier, where it has one.
    #[must_use]
    pub fn courier(&self) -> Option<&Arc<Courier>> {
        self.courier.as_ref()
    }

    /// Whether there may be a courier: its number is free.
    #[must_use]
    pub fn has_room_for_courier(&self) -> bool {
        self.courier.is_none() && !self.slots.contains_key(&COURIER) && !self.is_closing(COURIER)
    }

    /// Notes that the kernel's table has a courier's end now.
    pub fn set_courier(&mut self, courier: Courier) {
        if self.has_room_for_courier() {
            self.courier = Some(Arc::new(courier));
            self.has_end = true;
        }
    }

    /// The kernel closes or replaces what it has at these numbers.
    pub fn lose_courier(&mut self, numbers: std::ops::RangeInclusive<i32>) {
        if numbers.contains(&COURIER) {
            self.courier = None;
            self.has_end = false;
        }
    }

    /// Whether the kernel's table has a courier's end.
    #[must_use]
    pub fn has_courier_end(&self) -> bool {
        self.has_end
    }

    /// Takes back a number whose file may or may not be in the kernel's table, and will not be taken out of it.
    pub fn abandon(&mut self, fd: i32) {
        let _ = self.remove(fd);
        self.shaken = true;
    }

    /// Whether the kernel may hold something at numbers that are free here.
    #[must_use]
    pub fn is_shaken(&self) -> bool {
        self.shaken
    }

    /// Notes that `tid` is about to close this number in the kernel.
    pub fn mark_closing(&mut self, fd: i32, tid: Tid) {
        self.closing.push((fd, tid));
    }

    /// Whether some thread's close of this number may not have run yet.
    #[must_use]
    pub fn is_closing(&self, fd: i32) -> bool {
        self.closing.iter().any(|&(number, _)| number == fd)
    }

    /// The close of this number has run: the kernel no longer holds it.
    pub fn closed(&mut self, fd: i32) {
        self.closing.retain(|&(number, _)| number != fd);
    }

    /// Notes that the file at this number is on its way to the kernel's table, for `tid`.
    pub fn mark_arriving(&mut self, fd: i32, tid: Tid) {
        self.arriving.push((fd, tid));
    }

    /// Whether the file at this number may not be in the kernel's table yet.
    #[must_use]
    pub fn is_arriving(&self, fd: i32) -> bool {
        self.arriving.iter().any(|&(number, _)| number == fd)
    }

    /// The file at this number has been seen in the kernel's table, or will never come.
    pub fn arrived(&mut self, fd: i32) {
        self.arriving.retain(|&(number, _)| number != fd);
    }

    /// Forgets the closes and the arrivals of a thread: its next event shows that they are over.
    pub fn settle(&mut self, tid: Tid) {
        self.closing.retain(|&(_, by)| by != tid);
        self.arriving.retain(|&(_, by)| by != tid);
    }

    /// The end of a thread: it has no next event, and a close that it was about to make may never run.
    pub fn bury(&mut self, tid: Tid) {
        self.shaken |= self.closing.iter().any(|&(_, by)| by == tid);
        self.settle(tid);
    }

    /// Takes the numbers whose close may not have run when the kernel copied its table: a child or a new image closes
    /// them before it runs.
    pub fn take_closing(&mut self) -> Vec<i32> {
        self.arriving.clear();
        let mut numbers = std::mem::take(&mut self.copied_closing);
        numbers.extend(self.closing.drain(..).map(|(fd, _)| fd));
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Keeps only what survives an exec.
    pub fn retain_for_exec(&mut self) {
        self.slots.retain(|_, descriptor| !descriptor.cloexec);
        self.lowest_hint = 0;
        self.lose_courier(COURIER..=COURIER);
    }

    /// The open numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &Descriptor)> {
        self.slots.iter().map(|(&fd, descriptor)| (fd, descriptor))
    }

    /// The open numbers in a range, both ends included.
    #[must_use]
    pub fn numbers_in(&self, first: i32, last: i32) -> Vec<i32> {
        if first > last {
            Vec::new()
        } else {
            self.slots.range(first..=last).map(|(&fd, _)| fd).collect()
        }
    }

    /// How many descriptors are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

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
        let closing = inner.table.closing.iter().map(|&(fd, _)| fd).collect();
        inner.table.copied_closing = closing;
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
            inner.table.copied_closing.clear();
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
        let table = self.0.lock().table.clone();
        // Two tables at one courier would take one another's files.
        FdTable {
            courier: None,
            ..table
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cage::FileKind;

    fn descriptor() -> Descriptor {
        Descriptor {
            file: Arc::new(OpenFile::new(FileKind::Pipe, b"pipe".to_vec())),
            cloexec: false,
        }
    }

    #[test]
    fn the_lowest_free_number_is_handed_out() {
        let mut table = FdTable::default();
        for expected in 0..100 {
            assert_eq!(
                table.insert_lowest(0, 1000, descriptor(), |_| true),
                Ok(expected)
            );
        }
        table.remove(7).unwrap();
        table.remove(3).unwrap();
        assert_eq!(table.insert_lowest(0, 1000, descriptor(), |_| true), Ok(3));
        assert_eq!(table.insert_lowest(0, 1000, descriptor(), |_| true), Ok(7));
        assert_eq!(
            table.insert_lowest(0, 1000, descriptor(), |_| true),
            Ok(100)
        );
        assert_eq!(
            table.insert_lowest(0, 101, descriptor(), |_| true),
            Err(Errno::EMFILE)
        );
        assert_eq!(
            table.insert_lowest(50, 1000, descriptor(), |_| true),
            Ok(101)
        );
        table.remove(20).unwrap();
        assert_eq!(
            table.insert_lowest(50, 1000, descriptor(), |_| true),
            Ok(102)
        );
        assert_eq!(
            table.insert_lowest(10, 1000, descriptor(), |_| true),
            Ok(20)
        );
    }

    #[test]
    fn a_number_that_is_being_closed_is_skipped_until_the_kernel_let_go() {
        let mut table = FdTable::default();
        for _ in 0..4 {
            table.insert_lowest(0, 100, descriptor(), |_| true).unwrap();
        }
        table.remove(1).unwrap();
        table.mark_closing(1, Tid(9));
        assert_eq!(table.insert_lowest(0, 100, descriptor(), |_| false), Ok(4));
        assert_eq!(table.insert_lowest(0, 100, descriptor(), |_| true), Ok(1));
        table.remove(2).unwrap();
        table.mark_closing(2, Tid(9));
        table.settle(Tid(9));
        assert_eq!(table.insert_lowest(0, 100, descriptor(), |_| false), Ok(2));
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
