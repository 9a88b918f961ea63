//! Numbers that are promised: handed out by the virtual table, while their files are still on the way to the kernel's.

use std::sync::Arc;

use super::Files;

/// Numbers that were handed out and whose files are on their way: dropped before they are [paid](Owed::paid), as where the
/// thread is killed, they are taken back.
#[derive(Debug)]
pub struct Owed {
    files: Arc<Files>,
    numbers: Vec<i32>,
}

impl Owed {
    /// These numbers of a table.
    #[must_use]
    pub fn new(files: &Arc<Files>, numbers: Vec<i32>) -> Self {
        Self {
            files: Arc::clone(files),
            numbers,
        }
    }

    /// The files are there.
    pub fn paid(mut self) {
        self.numbers.clear();
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if !self.numbers.is_empty() {
            let mut table = self.files.lock();
            self.numbers.iter().for_each(|&fd| table.abandon(fd));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cage::{Descriptor, FdTable, FileKind, OpenFile, Tid};

    #[test]
    fn what_a_killed_thread_had_in_hand_is_free() {
        let files = Files::new(FdTable::default());
        for _ in 0..4 {
            let descriptor = Descriptor {
                file: Arc::new(OpenFile::new(FileKind::Pipe, b"pipe".to_vec())),
                cloexec: false,
            };
            let taken = files.lock().insert_lowest(0, 10, descriptor, |_| true);
            taken.unwrap();
        }
        Owed::new(&files, vec![3]).paid();
        assert!(files.lock().get(3).is_ok() && !files.lock().is_shaken());
        drop(Owed::new(&files, vec![0, 1]));
        assert!(files.lock().is_shaken());
        assert_eq!(files.lock().numbers_in(0, 9), [2, 3]);
    }

    #[test]
    fn a_close_that_may_never_run_is_known() {
        let mut table = FdTable::default();
        table.mark_closing(2, Tid(7));
        table.bury(Tid(8));
        assert!(table.is_closing(2) && !table.is_shaken());
        table.bury(Tid(7));
        assert!(!table.is_closing(2) && table.is_shaken());
    }
}
