//! Who a thread is, in the run's own numbers: from the host's /proc, asked once and kept until it may have changed.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use parking_lot::Mutex;

use crate::cage::{Cage, Thread, Tid};

/// As much of a command line as is kept.
const COMMAND_LINE: usize = 64 * 1024;

/// A thread's numbers inside the run, and its name. Zero: gone, or outside the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) pid: i32,
    pub(super) tid: i32,
    pub(super) ppid: i32,
    pub(super) comm: Vec<u8>,
}

/// What was found so far.
#[derive(Debug)]
pub(super) struct Identities {
    host_proc: OwnedFd,
    known: Mutex<HashMap<Tid, Arc<Identity>>>,
}

impl Identities {
    pub(super) fn new(host_proc: OwnedFd) -> Self {
        Self {
            host_proc,
            known: Mutex::default(),
        }
    }

    /// Who this thread is.
    pub(super) fn of(&self, thread: &Thread) -> Arc<Identity> {
        if let Some(known) = self.known.lock().get(&thread.tid) {
            return Arc::clone(known);
        }
        let mut found = self.look_up(thread.tid);
        if found.is_none() && thread.tid != thread.cage.tgid {
            found = self.look_up(thread.cage.tgid);
        }
        let Some(mut found) = found else {
            return Arc::default();
        };
        found.pid = thread.cage.inner_pid(|| found.pid);
        found.tid = thread.inner_tid(|| found.tid);
        let found = Arc::new(found);
        self.known.lock().insert(thread.tid, Arc::clone(&found));
        found
    }

    /// What is known of this thread may have changed.
    pub(super) fn forget(&self, tid: Tid) {
        self.known.lock().remove(&tid);
    }

    /// A process is gone, and its children have another parent. Returns its number.
    pub(super) fn ended(&self, cage: &Cage) -> i32 {
        let pid = cage.inner_pid(|| self.look_up(cage.tgid).map_or(0, |found| found.pid));
        self.known
            .lock()
            .retain(|_, other| other.pid != pid && other.ppid != pid);
        pid
    }

    fn look_up(&self, tid: Tid) -> Option<Identity> {
        let status = self.read(tid, "status", 16 * 1024)?.0;
        let (name, numbers) = numbers(&status)?;
        let parent = (numbers.parent > 0)
            .then(|| self.read(Tid(numbers.parent), "status", 16 * 1024))
            .flatten()
            .and_then(|(status, _)| self::numbers(&status));
        // A parent that is seen in fewer namespaces is outside the run.
        let ppid = parent
            .filter(|(_, parent)| parent.depth == numbers.depth)
            .map_or(0, |(_, parent)| parent.pid);
        Some(Identity {
            pid: numbers.pid,
            tid: numbers.tid,
            ppid,
            comm: name,
        })
    }

    /// The arguments of a new image, and how many bytes they are.
    pub(super) fn command_line(&self, tgid: Tid) -> (Vec<u8>, usize) {
        self.read(tgid, "cmdline", COMMAND_LINE).unwrap_or_default()
    }

    /// The first `most` bytes of a file of a thread's, and how many there are.
    fn read(&self, tid: Tid, name: &str, most: usize) -> Option<(Vec<u8>, usize)> {
        let path = format!("{}/{name}", tid.0);
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file = openat(self.host_proc.as_fd(), path.as_str(), flags, Mode::empty()).ok()?;
        let mut file = File::from(file);
        let mut kept = Vec::new();
        let bound = u64::try_from(most).ok()?;
        Read::by_ref(&mut file)
            .take(bound)
            .read_to_end(&mut kept)
            .ok()?;
        let rest = std::io::copy(&mut file, &mut std::io::sink()).unwrap_or(0);
        let len = kept.len() + usize::try_from(rest).unwrap_or(0);
        Some((kept, len))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Numbers {
    pid: i32,
    tid: i32,
    parent: i32,
    depth: usize,
}

/// The name and the numbers in a status file.
fn numbers(status: &[u8]) -> Option<(Vec<u8>, Numbers)> {
    let mut name = None;
    let mut pid = None;
    let mut tid = None;
    let mut parent = None;
    let mut depth = 0;
    for line in status.split(|&byte| byte == b'\n') {
        if let Some(raw) = line.strip_prefix(b"Name:\t") {
            name.get_or_insert_with(|| unescape(raw));
            continue;
        }
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        let Some((key, values)) = line.split_once(':') else {
            continue;
        };
        let last = || values.split_whitespace().next_back()?.parse::<i32>().ok();
        match key {
            "PPid" => parent = last(),
            "NStgid" => pid = last(),
            "NSpid" => {
                tid = last();
                depth = values.split_whitespace().count();
            }
            _ => {}
        }
    }
    Some((
        name?,
        Numbers {
            pid: pid?,
            tid: tid?,
            parent: parent?,
            depth,
        },
    ))
}

/// The kernel writes `\n` and `\\` of a name as two characters each.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(other) => other,
                None => b'\\',
            },
            other => other,
        });
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_gives_the_inner_numbers() {
        let status = b"Name:\ta\\nb\\\\c \xff\nUmask:\t0022\nTgid:\t900\nPPid:\t800\nNStgid:\t900\t2\nNSpid:\t901\t3\n";
        let (name, found) = numbers(status).unwrap();
        assert_eq!(name, b"a\nb\\c \xff");
        let expected = Numbers {
            pid: 2,
            tid: 3,
            parent: 800,
            depth: 2,
        };
        assert_eq!(found, expected);
        assert!(numbers(b"Name:\tx\nPPid:\t1\n").is_none());
    }

    #[test]
    fn this_process_is_found_and_a_missing_one_is_not() {
        let proc: OwnedFd = File::open("/proc").unwrap().into();
        let identities = Identities::new(proc);
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(
            identities
                .look_up(Tid(pid))
                .is_some_and(|found| found.pid > 0)
        );
        assert_eq!(identities.look_up(Tid(i32::MAX)), None);
        let (line, len) = identities.command_line(Tid(pid));
        assert_eq!(line.len(), len);
        assert!(line.ends_with(b"\0"));
    }
}
