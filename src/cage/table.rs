//! The cage table: all live cages and their threads, looked up on every call.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Cage, CageId, Files, FsContext, Thread, Tid};

/// What a new thread or process has in common with its maker (the `CLONE_*` flags that matter here).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sharing {
    /// `CLONE_THREAD`: the same cage.
    pub thread: bool,
    /// `CLONE_VM`: the same memory.
    pub memory: bool,
    /// `CLONE_VFORK`: its maker waits until it has memory of its own, or has ended.
    pub awaited: bool,
    /// `CLONE_FILES`: the same descriptor table.
    pub files: bool,
    /// `CLONE_FS`: the same working directory and umask.
    pub fs: bool,
}

/// A new thread, and the numbers that its kernel table may still hold though they are closed.
#[derive(Debug)]
pub struct Lineage {
    /// The thread.
    pub thread: Arc<Thread>,
    /// Numbers to close in it before it runs.
    pub to_close: Vec<i32>,
    /// Tables of threads that ended with it: what they have open goes when they are dropped.
    pub ended: Vec<Arc<Files>>,
}

/// All live cages.
#[derive(Debug, Default)]
pub struct CageTable {
    threads: HashMap<Tid, Arc<Thread>>,
    cages: HashMap<CageId, usize>,
    last_id: u64,
    refused: u64,
}

impl CageTable {
    /// The next cage's number.
    pub fn next_id(&mut self) -> CageId {
        self.last_id += 1;
        CageId(self.last_id)
    }

    /// The thread with this number; a call from an unknown one is refused.
    #[must_use]
    pub fn get(&self, tid: Tid) -> Option<&Arc<Thread>> {
        self.threads.get(&tid)
    }

    /// Adds a thread.
    pub fn insert(&mut self, thread: Arc<Thread>) {
        *self.cages.entry(thread.cage.id).or_insert(0) += 1;
        if let Some(old) = self.threads.insert(thread.tid, thread) {
            self.forget(&old);
        }
    }

    /// Takes a thread out; says whether it was its cage's last.
    pub fn remove(&mut self, tid: Tid) -> Option<(Arc<Thread>, bool)> {
        let thread = self.threads.remove(&tid)?;
        // Its marks in a table that lives on would stay for ever.
        thread.bury();
        let last = self.forget(&thread);
        Some((thread, last))
    }

    fn forget(&mut self, thread: &Thread) -> bool {
        let Some(count) = self.cages.get_mut(&thread.cage.id) else {
            return true;
        };
        *count -= 1;
        if *count == 0 {
            self.cages.remove(&thread.cage.id);
            return true;
        }
        false
    }

    /// Makes the entry for a child of `maker`; `cage` is given where it is a process of its own.
    pub fn child(
        &mut self,
        maker: &Thread,
        tid: Tid,
        sharing: Sharing,
        cage: Option<Cage>,
    ) -> Lineage {
        let cage = cage.map_or_else(|| Arc::clone(&maker.cage), Arc::new);
        let mut to_close = Vec::new();
        let files = if sharing.files {
            maker.files()
        } else {
            let mut table = maker.files().copy();
            to_close = table.take_closing();
            Files::new(table)
        };
        if sharing.thread && !sharing.files {
            cage.note_split_files();
        }
        let fs = if sharing.fs {
            maker.fs()
        } else {
            Arc::new(maker.fs().copy())
        };
        let thread = Arc::new(Thread::new(tid, cage, files, fs));
        self.insert(Arc::clone(&thread));
        maker.set_bearing(false);
        Lineage {
            thread,
            to_close,
            ended: Vec::new(),
        }
    }

    /// Whether `maker` may make a thread or process where no more than `limit` may be about. Where it may, the child
    /// counts from now on: two that are judged at once do not share the last place.
    pub fn may_bear(&mut self, maker: &Thread, limit: u64) -> bool {
        // What it was to make before did not come about, or is counted itself.
        maker.set_bearing(false);
        let coming = self.threads.values().filter(|thread| thread.is_bearing());
        let count = u64::try_from(self.threads.len() + coming.count()).unwrap_or(u64::MAX);
        if count >= limit {
            self.refused += 1;
            return false;
        }
        maker.set_bearing(true);
        true
    }

    /// How many threads and processes were not made for the limit's sake.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// After an exec: the thread `old` of a process goes on as its leader `leader`, alone, with a table and a context of
    /// its own. Returns it, and the numbers that the kernel may still hold.
    pub fn exec(&mut self, old: Tid, leader: Tid) -> Option<Lineage> {
        let (thread, _) = self.remove(old)?;
        // First, while the marks of those that die with the exec are there.
        let mut table = thread.files().copy();
        let stale: Vec<Tid> = self
            .threads
            .values()
            .filter(|other| other.cage.id == thread.cage.id)
            .map(|other| other.tid)
            .collect();
        let mut ended = vec![thread.take_files()];
        for tid in stale {
            let other = self.remove(tid);
            ended.extend(other.map(|(other, _)| other.take_files()));
        }
        let to_close = table.take_closing();
        table.retain_for_exec();
        let fs = Arc::new(FsContext::copy(&thread.fs()));
        let renewed = Arc::new(Thread::new(
            leader,
            Arc::clone(&thread.cage),
            Files::new(table),
            fs,
        ));
        self.insert(Arc::clone(&renewed));
        Some(Lineage {
            thread: renewed,
            to_close,
            ended,
        })
    }

    /// All threads.
    pub fn threads(&self) -> impl Iterator<Item = &Arc<Thread>> {
        self.threads.values()
    }

    /// The leader, or any thread, of the cage with this inner pid.
    #[must_use]
    pub fn by_tgid(&self, tgid: Tid) -> Option<&Arc<Thread>> {
        self.threads.get(&tgid).or_else(|| {
            self.threads
                .values()
                .find(|thread| thread.cage.tgid == tgid)
        })
    }

    /// How many threads live.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.threads.len()
    }

    /// How many cages live.
    #[must_use]
    pub fn cage_count(&self) -> usize {
        self.cages.len()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::cage::{FdTable, FileKind, OpenFile};

    fn thread(table: &mut CageTable, tid: i32) -> Arc<Thread> {
        let cage = Arc::new(Cage::new(table.next_id(), None, Tid(tid), None, 64));
        let root = OwnedFd::from(std::fs::File::open("/").unwrap());
        let cwd = Arc::new(OpenFile::kept(FileKind::Place, b"/".to_vec(), root));
        let fs = Arc::new(FsContext::new(cwd, 0));
        let thread = Thread::new(Tid(tid), cage, Files::new(FdTable::default()), fs);
        let thread = Arc::new(thread);
        table.insert(Arc::clone(&thread));
        thread
    }

    #[test]
    fn a_child_counts_from_its_permission_on() {
        let mut table = CageTable::default();
        let (one, other) = (thread(&mut table, 1), thread(&mut table, 2));
        assert!(table.may_bear(&one, 3));
        assert!(!table.may_bear(&other, 3), "the last place is taken");
        // The first one's call was made again.
        assert!(table.may_bear(&one, 3));
        let shared = Sharing {
            thread: true,
            ..Sharing::default()
        };
        table.child(&one, Tid(3), shared, None);
        assert!(!table.may_bear(&one, 3) && table.may_bear(&one, 4));
        table.remove(Tid(1));
        table.remove(Tid(3));
        assert!(table.may_bear(&other, 2), "those that ended make room");
        assert_eq!(table.refused(), 2);
    }
}
