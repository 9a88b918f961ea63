//! The virtual descriptor table: the truth about which numbers are open (POSIX: the lowest free one is handed out).

use std::collections::BTreeMap;
use std::sync::Arc;

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

    /// Whether files can be brought by the courier: the lowest free number is none that it must make room for.
    #[must_use]
    pub fn takes_files(&self) -> bool {
        let below = usize::try_from(COURIER).unwrap_or(0);
        self.courier.is_some() && self.slots.len() + self.closing.len() < below
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

    /// The kernel begins to copy its table: what is being closed now may be in the copy.
    pub(super) fn begin_copy(&mut self) {
        self.copied_closing = self.closing.iter().map(|&(fd, _)| fd).collect();
    }

    /// The kernel has copied its table.
    pub(super) fn end_copy(&mut self) {
        self.copied_closing.clear();
    }

    /// A copy, for a table of its own.
    pub(super) fn copy(&self) -> Self {
        // Two tables at one courier would take one another's files.
        Self {
            courier: None,
            ..self.clone()
        }
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
    fn a_courier_goes_when_its_number_does() {
        let courier = || {
            let (ours, theirs) = crate::sys::descriptor::pipe(0).unwrap();
            Courier::new(ours, theirs)
        };
        let with = || {
            let mut table = FdTable::default();
            table.set_courier(courier());
            assert!(table.courier().is_some() && table.has_courier_end());
            table
        };
        let has = |table: &FdTable| (table.courier().is_some(), table.has_courier_end());
        let mut table = with();
        for number in 0..COURIER {
            assert!(table.takes_files());
            table.replace(number, descriptor());
        }
        assert!(!table.takes_files());
        let mut table = with();
        table.replace(COURIER - 1, descriptor());
        assert_eq!(has(&table), (true, true));
        assert_eq!(has(&table.copy()), (false, true), "a fork's child");
        table.replace(COURIER, descriptor());
        assert_eq!(has(&table), (false, false));
        table.set_courier(courier());
        assert_eq!(has(&table), (false, false), "its number is taken");
        let mut table = with();
        let lowest = table.insert_lowest(COURIER, 1000, descriptor(), |_| true);
        assert_eq!((lowest, has(&table)), (Ok(COURIER), (false, false)));
        let mut table = with();
        table.lose_courier(3..=COURIER - 1);
        assert_eq!(has(&table), (true, true));
        table.lose_courier(3..=i32::MAX);
        assert_eq!(has(&table), (false, false));
        let mut table = with();
        table.retain_for_exec();
        assert_eq!(has(&table), (false, false));
    }
}
