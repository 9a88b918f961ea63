//! `--check-invariants`: what the kernel holds for a stopped cage against what the supervisor believes (DESIGN: real ⊆
//! virtual, same number, same file, nothing else), and the cage table against the living processes.
//!
//! Looks through the host's /proc and changes nothing. What is in motion while it is looked at is no violation: the
//! table must be quiet and the same before and after, and a difference must stay for a tenth of a second.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

use crate::cage::{Descriptor, FdTable, FileKind, Thread, Tid};
use crate::posix::Kernel;
use crate::sys::courier::COURIER;
use crate::sys::privilege::{self, Capability, with_ptrace};

/// How long what differs is left alone before it is looked at again: a fault of ours stays.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(20),
    Duration::from_millis(100),
];

const CLOEXEC: u32 = 0o2_000_000;
const PATH: u32 = 0o10_000_000;

/// A descriptor as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Real {
    device: u64,
    inode: u64,
    kind: u32,
    link: String,
    cloexec: bool,
    /// Opened with `O_PATH`.
    path: bool,
}

/// Compares the descriptors of a stopped thread's cage, and now and then the whole cage table.
///
/// # Errors
/// What differs, in words.
pub fn check(kernel: &Kernel, thread: &Thread) -> Result<(), String> {
    with_everything(|| {
        let mut found = check_descriptors(kernel, thread);
        // Again, since a thread of the same cage may be in the midst of something: one that was let go on with its call may
        // have to wait for a CPU before it makes it.
        for pause in PAUSES {
            if found.is_ok() {
                break;
            }
            std::thread::sleep(pause);
            found = check_descriptors(kernel, thread);
        }
        // Killed meanwhile, the thread left its stop and gave its descriptors up: nothing is left to compare.
        if found.is_err() && is_stopped(kernel, thread) {
            return found;
        }
        check_table(kernel)
    })
}

/// Looks with what it takes to look into a cage that changed its ids.
fn with_everything<T>(look: impl FnOnce() -> T) -> T {
    with_ptrace(|| privilege::with(Capability::DAC_READ_SEARCH, look))
}

fn check_descriptors(kernel: &Kernel, thread: &Thread) -> Result<(), String> {
    let files = thread.files();
    if !files.is_quiet() {
        return Ok(());
    }
    let before = files.copy();
    let real = match real_descriptors(kernel.host_proc.as_fd(), thread.tid) {
        Ok(real) => real,
        // It was killed, or another thread closed something.
        Err(Errno::ENOENT | Errno::ESRCH) => return Ok(()),
        // Once it has let go of its memory, its descriptors are the host root's alone.
        Err(Errno::EACCES) if !has_memory(kernel.host_proc.as_fd(), thread.tid) => return Ok(()),
        Err(errno) => {
            return Err(format!(
                "the descriptors of thread {} cannot be looked at: {errno}",
                thread.tid.0
            ));
        }
    };
    let after = files.copy();
    if !files.is_quiet() || !Arc::ptr_eq(&files, &thread.files()) || !same(&before, &after) {
        return Ok(());
    }
    compare(&before, &real).map_err(|what| {
        format!(
            "cage {} (process {}, thread {}): {what}",
            thread.cage.id, thread.cage.tgid.0, thread.tid.0
        )
    })
}

fn same(one: &FdTable, other: &FdTable) -> bool {
    one.len() == other.len()
        && one.iter().zip(other.iter()).all(|((fd, a), (number, b))| {
            fd == number && a.cloexec == b.cloexec && Arc::ptr_eq(&a.file, &b.file)
        })
}

fn compare(table: &FdTable, real: &BTreeMap<i32, Real>) -> Result<(), String> {
    for (&fd, held) in real {
        if table.is_closing(fd) {
            continue;
        }
        match table.get(fd) {
            Ok(descriptor) => compare_one(fd, descriptor, held)?,
            Err(_) if table.is_shaken() || (fd == COURIER && table.has_courier_end()) => {}
            Err(_) => {
                return Err(format!(
                    "the kernel holds {} at {fd}, the virtual table nothing",
                    held.link
                ));
            }
        }
    }
    let mut seen: Vec<(&Descriptor, i32, &Real)> = Vec::new();
    for (fd, descriptor) in table.iter() {
        if table.is_closing(fd) {
            continue;
        }
        let label = String::from_utf8_lossy(descriptor.file.label());
        let Some(held) = real.get(&fd) else {
            return Err(format!(
                "the virtual table holds {label:?} at {fd}, the kernel nothing"
            ));
        };
        let twin = seen
            .iter()
            .find(|(other, ..)| Arc::ptr_eq(&other.file, &descriptor.file));
        if let Some((_, other, twin)) = twin
            && (twin.device, twin.inode) != (held.device, held.inode)
        {
            return Err(format!(
                "{other} and {fd} are one open file, the kernel holds {} and {}",
                twin.link, held.link
            ));
        }
        if twin.is_none() && seen.len() < 64 {
            seen.push((descriptor, fd, held));
        }
    }
    Ok(())
}

fn compare_one(fd: i32, descriptor: &Descriptor, held: &Real) -> Result<(), String> {
    let file = &descriptor.file;
    let label = String::from_utf8_lossy(file.label());
    let differs = |what: &str| {
        Err(format!(
            "descriptor {fd} is {label:?}, the kernel holds {}: {what}",
            held.link
        ))
    };
    if descriptor.cloexec != held.cloexec {
        return differs(if held.cloexec {
            "close-on-exec is set there only"
        } else {
            "close-on-exec is set here only"
        });
    }
    if let Some(stat) = file.host().and_then(|host| fstat(host).ok())
        && (stat.st_dev, stat.st_ino) != (held.device, held.inode)
    {
        return differs("not the same device and inode");
    }
    let anonymous = held.link.starts_with("anon_inode:");
    let fits = match file.kind() {
        FileKind::Directory => held.kind == libc::S_IFDIR,
        FileKind::Pipe => held.kind == libc::S_IFIFO,
        FileKind::Socket => held.kind == libc::S_IFSOCK,
        FileKind::Terminal => held.kind == libc::S_IFCHR,
        FileKind::Epoll => held.link.contains("[eventpoll]"),
        FileKind::Event => anonymous || held.link.starts_with("pidfd:"),
        FileKind::File => ![libc::S_IFDIR, libc::S_IFIFO, libc::S_IFSOCK].contains(&held.kind),
        FileKind::Place => held.path,
    };
    if fits && held.path == (file.kind() == FileKind::Place) {
        Ok(())
    } else {
        differs(&format!("not a {:?}", file.kind()))
    }
}

/// Whether a thread is still before its end.
fn has_memory(proc: BorrowedFd<'_>, tid: Tid) -> bool {
    read(proc, &format!("{}/status", tid.0))
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("VmSize:")))
}

/// What the kernel holds for a thread.
fn real_descriptors(proc: BorrowedFd<'_>, tid: Tid) -> Result<BTreeMap<i32, Real>, Errno> {
    let mut real = BTreeMap::new();
    for fd in numbers_in(proc, &format!("{}/fd", tid.0))? {
        let path = format!("{}/fd/{fd}", tid.0);
        let stat: FileStat = fstatat(proc, path.as_str(), AtFlags::empty())?;
        let link = readlinkat(proc, path.as_str())?;
        let info = read(proc, &format!("{}/fdinfo/{fd}", tid.0))?;
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
            .ok_or(Errno::EPROTO)?;
        let entry = Real {
            device: stat.st_dev,
            inode: stat.st_ino,
            kind: stat.st_mode & libc::S_IFMT,
            link: link.to_string_lossy().escape_debug().to_string(),
            cloexec: flags & CLOEXEC != 0,
            path: flags & PATH != 0,
        };
        real.insert(fd, entry);
    }
    Ok(real)
}

/// Whether the thread is in the tracer's stop still.
fn is_stopped(kernel: &Kernel, thread: &Thread) -> bool {
    read(
        kernel.host_proc.as_fd(),
        &format!("{}/status", thread.tid.0),
    )
    .is_ok_and(|status| {
        status
            .lines()
            .any(|line| line.starts_with("State:\tt") || line.starts_with("State:\tT"))
    })
}

/// Every thread of the table lives and is traced, and every thread of its processes is traced.
///
/// # Errors
/// What differs, in words.
pub fn check_table(kernel: &Kernel) -> Result<(), String> {
    let proc = kernel.host_proc.as_fd();
    let threads: Vec<(Tid, Tid, String)> = {
        let cages = kernel.cages.read();
        let mut ids: Vec<_> = cages.threads().map(|thread| thread.cage.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != cages.cage_count() {
            return Err(format!(
                "the cage table counts {} cages and has threads of {}",
                cages.cage_count(),
                ids.len()
            ));
        }
        cages
            .threads()
            .map(|thread| (thread.tid, thread.cage.tgid, thread.cage.id.to_string()))
            .collect()
    };
    for (tid, tgid, cage) in threads {
        let gone = |tid: Tid| read(proc, &format!("{}/status", tid.0)).is_err();
        if gone(tid) {
            // An exec takes threads away before it is seen; a whole process stays until the tracer has buried it.
            if gone(tgid) && kernel.cages.read().get(tid).is_some() {
                return Err(format!(
                    "cage {cage}: thread {} of process {} is in the table and not alive",
                    tid.0, tgid.0
                ));
            }
            continue;
        }
        for task in numbers_in(proc, &format!("{}/task", tgid.0)).unwrap_or_default() {
            let untraced = |task: i32| {
                read(proc, &format!("{}/task/{task}/status", tgid.0)).is_ok_and(|status| {
                    let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
                    field("TracerPid:").map(str::trim) == Some("0")
                        && field("State:")
                            .is_some_and(|state| !state.trim().starts_with(['X', 'Z']))
                })
            };
            if untraced(task) && untraced(task) {
                return Err(format!(
                    "cage {cage}: task {task} of process {} is not traced",
                    tgid.0
                ));
            }
        }
    }
    Ok(())
}

fn numbers_in(proc: BorrowedFd<'_>, path: &str) -> Result<Vec<i32>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut dir = Dir::openat(proc, path, flags, Mode::empty())?;
    let mut numbers = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name().to_str().ok();
        numbers.extend(name.and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(numbers)
}

fn read(proc: BorrowedFd<'_>, path: &str) -> Result<String, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = openat(proc, path, flags, Mode::empty())?;
    let mut bytes = Vec::new();
    let read = File::from(file).read_to_end(&mut bytes);
    read.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cage::OpenFile;
    use std::os::fd::OwnedFd;

    /// A process of its own, since other tests open and close files in this one.
    struct Sleeper(std::process::Child);

    impl Sleeper {
        fn new() -> Self {
            let child = std::process::Command::new("sleep")
                .arg("60")
                .stdin(File::open("/dev/null").unwrap())
                .stdout(std::process::Stdio::piped())
                .stderr(File::open("/").unwrap())
                .spawn();
            Self(child.unwrap())
        }

        fn real(&self) -> BTreeMap<i32, Real> {
            let proc: OwnedFd = File::open("/proc").unwrap().into();
            let tid = Tid(i32::try_from(self.0.id()).unwrap());
            // The child's exec may close descriptors while they are looked at.
            let look = || real_descriptors(proc.as_fd(), tid).ok();
            let mut real = (0..1000).find_map(|_| look()).unwrap();
            // What the tests' own starter left open is inherited by all.
            real.retain(|&fd, _| fd < 3);
            assert_eq!(real.len(), 3, "{real:?}");
            real
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn table(entries: &[(i32, OpenFile, bool)]) -> FdTable {
        let mut table = FdTable::default();
        for (fd, file, cloexec) in entries {
            let copy = match file.host() {
                Some(host) => OpenFile::kept(
                    file.kind(),
                    file.label().to_vec(),
                    host.try_clone_to_owned().unwrap(),
                ),
                None => OpenFile::new(file.kind(), file.label().to_vec()),
            };
            let file = Arc::new(copy);
            let cloexec = *cloexec;
            table.replace(*fd, Descriptor { file, cloexec });
        }
        table
    }

    fn file(kind: FileKind) -> OpenFile {
        OpenFile::new(kind, b"x".to_vec())
    }

    fn kept(path: &str) -> OpenFile {
        let host = OwnedFd::from(File::open(path).unwrap());
        OpenFile::kept(FileKind::Directory, path.into(), host)
    }

    fn said(real: &BTreeMap<i32, Real>, entries: &[(i32, OpenFile, bool)]) -> String {
        compare(&table(entries), real).unwrap_err()
    }

    #[test]
    fn a_true_table_passes_and_each_lie_is_found() {
        let child = Sleeper::new();
        let real = child.real();
        let null = || (0, file(FileKind::File), false);
        let pipe = || (1, file(FileKind::Pipe), false);
        let root = || (2, kept("/"), false);
        assert_eq!(compare(&table(&[null(), pipe(), root()]), &real), Ok(()));

        assert!(said(&real, &[null(), pipe()]).contains("at 2, the virtual table nothing"));
        let extra = [null(), pipe(), root(), (9, file(FileKind::File), false)];
        assert!(said(&real, &extra).contains("at 9, the kernel nothing"));
        let cloexec = [(0, file(FileKind::File), true), pipe(), root()];
        assert!(said(&real, &cloexec).contains("close-on-exec is set here only"));
        let kind = [null(), (1, file(FileKind::Socket), false), root()];
        assert!(said(&real, &kind).contains("not a Socket"));
        let other = [null(), pipe(), (2, kept("/proc"), false)];
        assert!(said(&real, &other).contains("device and inode"));
        let place = [(0, file(FileKind::Place), false), pipe(), root()];
        assert!(said(&real, &place).contains("not a Place"));
    }

    #[test]
    fn what_is_being_closed_is_no_violation_and_one_file_is_one_file() {
        let child = Sleeper::new();
        let real = child.real();
        let mut closing = table(&[
            (0, file(FileKind::File), false),
            (1, file(FileKind::Pipe), false),
        ]);
        assert!(compare(&closing, &real).is_err());
        closing.mark_closing(2, Tid(1));
        assert_eq!(compare(&closing, &real), Ok(()));

        let mut twins = FdTable::default();
        let shared = Arc::new(file(FileKind::File));
        for fd in [0, 1] {
            let file = Arc::clone(&shared);
            twins.replace(
                fd,
                Descriptor {
                    file,
                    cloexec: false,
                },
            );
        }
        let mut only: BTreeMap<_, _> = real.clone();
        only.remove(&2);
        let null = only[&0].clone();
        assert!(compare(&twins, &only).is_err());
        only.insert(1, null);
        assert_eq!(compare(&twins, &only), Ok(()));
        only.get_mut(&1).unwrap().inode += 1;
        assert!(
            compare(&twins, &only)
                .unwrap_err()
                .contains("0 and 1 are one open file")
        );
    }
}
