//! Whose file calls a thread makes: taking other file-system ids, groups and capabilities for a while, as a file server does.
//! Real and effective ids stay, so that nobody may signal or trace the thread because of them.
#![expect(unsafe_code, reason = "the ids of one thread alone are set by number")]

use std::cell::RefCell;
use std::os::fd::BorrowedFd;

use syscalls::syscall;

use super::privilege::{self, Capability};
use super::procfs;
use crate::abi::{Errno, Sysno};

/// The ids of a thread, as its status file tells them to this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The thread's process.
    pub process: i32,
    /// Who traces it, or 0.
    pub tracer: i32,
    /// Real, effective, saved, and the file system's.
    pub uids: [u32; 4],
    /// The same of groups.
    pub gids: [u32; 4],
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The capabilities in effect.
    pub effective: u64,
    /// Those that could be.
    pub permitted: u64,
}

impl Status {
    /// Reads it of `who`, a name below `proc`: a number or `self`.
    ///
    /// # Errors
    /// `ESRCH` where there is no such thread.
    pub fn read(proc: BorrowedFd<'_>, who: &str) -> Result<Self, Errno> {
        let text = procfs::read(proc, &format!("{who}/status")).map_err(|_| Errno::ESRCH)?;
        Self::parse(&String::from_utf8_lossy(&text)).ok_or(Errno::ESRCH)
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let numbers = |name: &str| -> Option<Vec<u32>> {
            field(name)?
                .split_whitespace()
                .map(|number| number.parse().ok())
                .collect()
        };
        let set = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
        Some(Self {
            process: field("Tgid:")?.parse().ok()?,
            tracer: field("TracerPid:")?.parse().ok()?,
            uids: numbers("Uid:")?.try_into().ok()?,
            gids: numbers("Gid:")?.try_into().ok()?,
            groups: numbers("Groups:")?,
            effective: set("CapEff:")?,
            permitted: set("CapPrm:")?,
        })
    }

    /// What its file calls are judged by.
    #[must_use]
    pub fn of_files(&self) -> FileCredentials {
        FileCredentials {
            uid: self.uids[3],
            gid: self.gids[3],
            groups: self.groups.clone(),
            capabilities: self.effective,
        }
    }

    /// What access(2) is judged by: the real ids.
    #[must_use]
    pub fn of_access(&self) -> FileCredentials {
        FileCredentials {
            uid: self.uids[0],
            gid: self.gids[0],
            groups: self.groups.clone(),
            capabilities: if self.uids[0] == 0 { self.permitted } else { 0 },
        }
    }
}

/// What file calls are judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCredentials {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    capabilities: u64,
}

thread_local! {
    /// What this thread acts with; nothing before it acts for the first time.
    static TAKEN: RefCell<Option<FileCredentials>> = const { RefCell::new(None) };
}

impl FileCredentials {
    /// Makes the calling thread act with these until the result is dropped; then it has what it had before again. `own` is
    /// what it has where it acts for nobody.
    ///
    /// # Errors
    /// `EPERM` where one of them cannot be taken: then the thread has what it had.
    pub fn take(self, own: &Self) -> Result<Option<Acting>, Errno> {
        // One call may be served in the midst of another one's end.
        let before = TAKEN
            .with_borrow(Clone::clone)
            .unwrap_or_else(|| own.clone());
        if self == before {
            return Ok(None);
        }
        let acting = Acting {
            groups: self.groups != before.groups,
            before,
        };
        become_for_files(&self, acting.groups)?;
        privilege::set_effective(self.capabilities)?;
        TAKEN.set(Some(self));
        Ok(Some(acting))
    }
}

/// A thread that acts for another; see [`FileCredentials::take`].
#[derive(Debug)]
pub struct Acting {
    before: FileCredentials,
    groups: bool,
}

impl Drop for Acting {
    fn drop(&mut self) {
        let back = become_for_files(&self.before, self.groups)
            .and_then(|()| privilege::set_effective(self.before.capabilities));
        if back.is_err() {
            // To serve the next cage with this one's rights would be worse than to end.
            std::process::abort();
        }
        TAKEN.set(Some(self.before.clone()));
    }
}

fn become_for_files(ids: &FileCredentials, groups: bool) -> Result<(), Errno> {
    privilege::set_effective(Capability::SETUID.bit() | Capability::SETGID.bit())?;
    if groups {
        // SAFETY: the pointer and the length are those of a live list; by number, the call concerns this thread alone.
        unsafe { syscall!(Sysno::setgroups, ids.groups.len(), ids.groups.as_ptr()) }?;
    }
    // Each says what was before, and not whether it is now: so twice.
    // SAFETY: registers alone.
    let (gid, uid) = unsafe {
        syscall!(Sysno::setfsgid, ids.gid)?;
        syscall!(Sysno::setfsuid, ids.uid)?;
        (
            syscall!(Sysno::setfsgid, u32::MAX)?,
            syscall!(Sysno::setfsuid, u32::MAX)?,
        )
    };
    if (uid, gid) == (ids.uid as usize, ids.gid as usize) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_tells_whose_calls_are_judged_by_what() {
        let text = "Name:\tx\nTgid:\t11\nTracerPid:\t12\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapPrm:\t00000000000000c0\nCapEff:\t0000000000000040\n";
        let mut status = Status::parse(text).unwrap();
        assert_eq!((status.process, status.tracer), (11, 12));
        let files = status.of_files();
        assert_eq!((files.uid, files.gid, files.capabilities), (4, 8, 0x40));
        assert_eq!(files.groups, [9, 10]);
        let access = status.of_access();
        assert_eq!((access.uid, access.gid, access.capabilities), (1, 5, 0));
        status.uids[0] = 0;
        assert_eq!(status.of_access().capabilities, 0xc0);
        assert_eq!(Status::parse("Uid:\t1\n"), None);
    }
}
