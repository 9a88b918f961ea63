//! What /proc shows of a process: the cage's virtual view, and never the supervisor. Here too: which process of the
//! host a number inside the run means, and the other way round.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::{Ctx, Kernel};
use crate::abi::Errno;
use crate::cage::{Cage, Thread};
use crate::sys::{descriptor, privilege, procfs};

/// Whose directory of /proc is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// `/proc/self`.
    Own,
    /// `/proc/thread-self`.
    OwnThread,
    /// `/proc/PID`, by the number inside the run.
    Pid(i32),
}

/// What a name in /proc means.
#[derive(Debug)]
pub(crate) enum View {
    /// A symbolic link with this text.
    Link(Vec<u8>),
    /// The magic link of a descriptor: of the process or thread with this number inside the run, and the descriptor's.
    Descriptor(i32, i32),
    /// The magic link of a place (exe, cwd, root), and the link's text.
    Place(OwnedFd, Vec<u8>),
    /// A file whose content is not the host's.
    Doctored {
        /// The content.
        content: Vec<u8>,
    },
    /// What the host shows in the run's own /proc.
    Host,
    /// Not to be seen.
    Refused(Errno),
}

/// Looks at a process: the caller's own always, as on Linux, though it changed its ids; another's by the caller's rights.
fn look_at<T>(
    cx: &Ctx<'_>,
    cage: &Cage,
    mut look: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match look() {
        Err(Errno::EACCES | Errno::EPERM) if cage.id == cx.cage().id => {
            privilege::with_ptrace(look)
        }
        result => result,
    }
}

/// The text of a process's `exe` link.
pub(crate) fn program(cx: &Ctx<'_>, cage: &Cage) -> Result<Vec<u8>, Errno> {
    let path = format!("{}/exe", cage.tgid.0);
    look_at(cx, cage, || {
        procfs::link(cx.kernel.host_proc.as_fd(), &path)
    })
}

/// The calling process's number inside the run.
pub(crate) fn inner_pid(cx: &Ctx<'_>) -> i32 {
    inner_pid_of(cx.kernel, cx.cage())
}

/// A process's number inside the run; 0 where it was gone before anybody asked.
pub(crate) fn inner_pid_of(kernel: &Kernel, cage: &Cage) -> i32 {
    cage.inner_pid(|| {
        cage.pidfd()
            .and_then(|pidfd| innermost_of(kernel, pidfd))
            .or_else(|| innermost(kernel, &format!("{}/status", cage.tgid.0)))
            .unwrap_or(0)
    })
}

/// A thread's number inside the run; 0 where it was gone before anybody asked.
pub(crate) fn inner_tid_of(kernel: &Kernel, thread: &Thread) -> i32 {
    if thread.tid == thread.cage.tgid {
        return inner_pid_of(kernel, &thread.cage);
    }
    thread.inner_tid(|| {
        let (process, thread) = (thread.cage.tgid.0, thread.tid.0);
        innermost(kernel, &format!("{process}/task/{thread}/status")).unwrap_or(0)
    })
}

/// The innermost number of a process, of its status file on the host.
fn innermost(kernel: &Kernel, path: &str) -> Option<i32> {
    let status = procfs::read(kernel.host_proc.as_fd(), path).ok()?;
    let text = String::from_utf8_lossy(&status);
    let numbers = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().next_back()?.parse().ok()
}

/// The innermost number of the process behind a pid descriptor of ours.
fn innermost_of(kernel: &Kernel, pidfd: BorrowedFd<'_>) -> Option<i32> {
    innermost(kernel, &format!("self/fdinfo/{}", pidfd.as_raw_fd()))
}

/// The thread with this number inside the run; of a process whose leader has gone, any thread.
pub(crate) fn thread_of(cx: &Ctx<'_>, pid: i32) -> Option<Arc<Thread>> {
    if pid <= 0 {
        return None;
    }
    let threads: Vec<Arc<Thread>> = cx.kernel.cages.read().threads().cloned().collect();
    let exactly = |thread: &&Arc<Thread>| inner_tid_of(cx.kernel, thread) == pid;
    let process = |thread: &&Arc<Thread>| inner_pid_of(cx.kernel, &thread.cage) == pid;
    threads
        .iter()
        .find(exactly)
        .or_else(|| threads.iter().find(process))
        .cloned()
}

/// A pid descriptor of a process of the run, or with `PIDFD_THREAD` of a thread, by its number inside the run. A child
/// of the caller may be dead, and forgotten by the cage table.
///
/// # Errors
/// `ESRCH`, and those of pidfd_open(2).
pub(crate) fn pidfd(cx: &Ctx<'_>, pid: i32, flags: u32) -> Result<OwnedFd, Errno> {
    let outer = match thread_of(cx, pid) {
        Some(thread) if inner_tid_of(cx.kernel, &thread) == pid => thread.tid.0,
        Some(thread) => thread.cage.tgid.0,
        None => child_of(cx, pid).ok_or(Errno::ESRCH)?,
    };
    let pidfd = descriptor::process(outer, flags)?;
    // The number may have passed to another process of the host meanwhile.
    if innermost_of(cx.kernel, pidfd.as_fd()) == Some(pid) {
        Ok(pidfd)
    } else {
        Err(Errno::ESRCH)
    }
}

/// The host's number of a child of the calling process, by its number inside the run.
fn child_of(cx: &Ctx<'_>, pid: i32) -> Option<i32> {
    let cage = cx.cage();
    let makers: Vec<i32> = {
        let cages = cx.kernel.cages.read();
        let own = cages.threads().filter(|thread| thread.cage.id == cage.id);
        own.map(|thread| thread.tid.0).collect()
    };
    makers.into_iter().find_map(|tid| {
        let path = format!("{}/task/{tid}/children", cage.tgid.0);
        let list = procfs::read(cx.kernel.host_proc.as_fd(), &path).ok()?;
        String::from_utf8_lossy(&list)
            .split_whitespace()
            .filter_map(|outer| outer.parse::<i32>().ok())
            .find(|outer| innermost(cx.kernel, &format!("{outer}/status")) == Some(pid))
    })
}

/// Whether the run's own /proc shows a process with this number, a cage or not.
pub(crate) fn exists(cx: &Ctx<'_>, pid: i32) -> bool {
    procfs::open(
        cx.kernel.root.as_fd(),
        &format!("proc/{pid}"),
        libc::O_PATH | libc::O_DIRECTORY,
    )
    .is_ok()
}

/// What the name means: no names is the process's directory itself.
///
/// # Errors
/// `ENOENT`.
pub(crate) fn view(cx: &Ctx<'_>, who: Who, names: &[&[u8]]) -> Result<View, Errno> {
    let own = inner_pid(cx);
    let own_thread = inner_tid_of(cx.kernel, cx.thread);
    match (who, names) {
        (Who::Own, []) => Ok(View::Link(own.to_string().into_bytes())),
        (Who::OwnThread, []) => Ok(View::Link(format!("{own}/task/{own_thread}").into_bytes())),
        (Who::Own, names) => process(cx, &leader(cx), own, names),
        (Who::OwnThread, names) => {
            let base = format!("{own}/task/{own_thread}");
            below(cx, cx.thread, &base, names)
        }
        (Who::Pid(pid), names) => match thread_of(cx, pid) {
            Some(thread) => process(cx, &thread, pid, names),
            None => stranger(cx, pid, names),
        },
    }
}

/// The thread whose table and directory are the process's: its leader, where that lives.
fn leader(cx: &Ctx<'_>) -> Arc<Thread> {
    let cages = cx.kernel.cages.read();
    let leader = cages.get(cx.cage().tgid);
    Arc::clone(leader.unwrap_or(cx.thread))
}

/// The run's init, or a dead process: that it is there, and what ps shows of it.
fn stranger(cx: &Ctx<'_>, pid: i32, names: &[&[u8]]) -> Result<View, Errno> {
    match names {
        [] | [b"stat" | b"status" | b"statm" | b"cmdline" | b"comm"] => Ok(View::Host),
        _ if exists(cx, pid) => Ok(View::Refused(Errno::EACCES)),
        _ => Err(Errno::ENOENT),
    }
}

fn process(cx: &Ctx<'_>, thread: &Arc<Thread>, pid: i32, names: &[&[u8]]) -> Result<View, Errno> {
    match names {
        [b"task", tid, names @ ..] => {
            let tid = number(tid).ok_or(Errno::ENOENT)?;
            let task = thread_of(cx, tid).ok_or(Errno::ENOENT)?;
            if task.cage.id != thread.cage.id || inner_tid_of(cx.kernel, &task) != tid {
                return Err(Errno::ENOENT);
            }
            below(cx, &task, &format!("{pid}/task/{tid}"), names)
        }
        names => below(cx, thread, &pid.to_string(), names),
    }
}

/// What a name below a cage's directory means; `base` is that directory in the run's own /proc.
fn below(cx: &Ctx<'_>, thread: &Arc<Thread>, base: &str, names: &[&[u8]]) -> Result<View, Errno> {
    let host_proc = cx.kernel.host_proc.as_fd();
    Ok(match names {
        [b"exe"] => {
            let path = format!("{}/exe", thread.cage.tgid.0);
            let file = look_at(cx, &thread.cage, || {
                procfs::open(host_proc, &path, libc::O_PATH)
            })?;
            View::Place(file, program(cx, &thread.cage)?)
        }
        [b"cwd"] => {
            let cwd = thread.fs().cwd();
            let file = descriptor::copy(cwd.host().ok_or(Errno::ENOENT)?)?;
            let name = format!("self/fd/{}", file.as_raw_fd());
            let text = procfs::link(host_proc, &name).unwrap_or_else(|_| cwd.label().to_vec());
            View::Place(file, text)
        }
        [b"root"] => View::Place(descriptor::copy(cx.kernel.root.as_fd())?, b"/".to_vec()),
        [b"fd", fd] => {
            let fd = number(fd).ok_or(Errno::ENOENT)?;
            let files = thread.files();
            files.get(fd).map_err(|_| Errno::ENOENT)?;
            let pid = if Arc::ptr_eq(&files, &cx.files()) {
                inner_pid(cx)
            } else {
                inner_tid_of(cx.kernel, thread)
            };
            View::Descriptor(pid, fd)
        }
        [b"status"] => View::Doctored {
            content: status(cx, thread, base)?,
        },
        // A write there goes past every protection of a page: shim, lent bytes, program text.
        [b"mem"] => View::Refused(Errno::EACCES),
        // Magic links that Linux itself gives to nobody without a capability.
        [b"map_files", _] => View::Refused(Errno::EPERM),
        // What the namespaces are called can be read; they cannot be opened, so they lead nowhere.
        [b"ns", name] => {
            let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
            let path = format!("proc/{base}/ns/{name}");
            View::Link(procfs::link(cx.kernel.root.as_fd(), &path)?)
        }
        _ => View::Host,
    })
}

/// A number as /proc spells it.
fn number(name: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(name).ok()?;
    let canonical =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

/// The status file: nobody traces, the umask is the virtual one, and who is asked about by itself runs.
fn status(cx: &Ctx<'_>, thread: &Thread, base: &str) -> Result<Vec<u8>, Errno> {
    let path = format!("proc/{base}/status");
    let content = procfs::read(cx.kernel.root.as_fd(), &path).map_err(|errno| match errno {
        Errno::ESRCH => Errno::ENOENT,
        errno => errno,
    })?;
    let own = thread.cage.id == cx.cage().id;
    let mut doctored = Vec::with_capacity(content.len());
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        let key = line.split(|&byte| byte == b':').next().unwrap_or_default();
        match key {
            b"Umask" => {
                let umask = thread.fs().umask();
                doctored.extend_from_slice(format!("Umask:\t{umask:04o}\n").as_bytes());
            }
            b"TracerPid" | b"Seccomp" | b"Seccomp_filters" => {
                doctored.extend_from_slice(key);
                doctored.extend_from_slice(b":\t0\n");
            }
            b"State" if own => doctored.extend_from_slice(b"State:\tR (running)\n"),
            // As the tracer sees a stop; others see a stopped process.
            b"State" if line == b"State:\tt (tracing stop)\n" => {
                doctored.extend_from_slice(b"State:\tT (stopped)\n");
            }
            _ => doctored.extend_from_slice(line),
        }
    }
    Ok(doctored)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;
    use std::process::{Child, Command};

    use super::*;
    use crate::cage::{FileKind, Tid};
    use crate::posix::bench_cage::TestCage;

    fn see(cage: &TestCage, who: Who, path: &str) -> Result<View, Errno> {
        let cx = Ctx::new(&cage.kernel, &cage.thread, &cage.ram, 0, [0; 6]);
        let names: Vec<&[u8]> = path
            .split('/')
            .filter(|name| !name.is_empty())
            .map(str::as_bytes)
            .collect();
        view(&cx, who, &names)
    }

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn self_is_a_link_to_the_number_inside() {
        let cage = TestCage::new();
        let pid = own_pid();
        let Ok(View::Link(text)) = see(&cage, Who::Own, "") else {
            panic!("self is no link");
        };
        assert_eq!(text, pid.to_string().into_bytes());
        let Ok(View::Link(text)) = see(&cage, Who::OwnThread, "") else {
            panic!("thread-self is no link");
        };
        assert_eq!(text, format!("{pid}/task/{pid}").into_bytes());
    }

    #[test]
    fn exe_cwd_and_root_are_places() {
        let cage = TestCage::at(Path::new("/proc"));
        for who in [Who::Own, Who::OwnThread, Who::Pid(own_pid())] {
            for (name, target) in [
                ("cwd", Path::new("/proc").to_owned()),
                ("root", Path::new("/").to_owned()),
                ("exe", std::env::current_exe().unwrap()),
            ] {
                let Ok(View::Place(file, text)) = see(&cage, who, name) else {
                    panic!("{name} is no place");
                };
                assert_eq!(text, target.as_os_str().as_encoded_bytes());
                let link = procfs::link(
                    cage.kernel.host_proc.as_fd(),
                    &format!("self/fd/{}", file.as_raw_fd()),
                );
                assert_eq!(link, Ok(text));
            }
        }
    }

    #[test]
    fn a_descriptor_is_one_of_the_virtual_table() {
        let cage = TestCage::new();
        cage.adopt(
            FileKind::File,
            "/dev/null",
            File::open("/dev/null").unwrap().into(),
        );
        let task = format!("task/{}/fd/0", own_pid());
        for (who, path) in [
            (Who::Own, "fd/0"),
            (Who::OwnThread, "fd/0"),
            (Who::Own, task.as_str()),
        ] {
            let Ok(View::Descriptor(pid, 0)) = see(&cage, who, path) else {
                panic!("{path} is no descriptor");
            };
            assert_eq!(pid, own_pid());
        }
        for missing in [
            "fd/1",
            "fd/00",
            "fd/x",
            "fd/+0",
            "fd/",
            "task/1/fd/0",
            "task/0/fd/0",
        ] {
            let seen = see(&cage, Who::Own, missing);
            if missing == "fd/" {
                assert!(matches!(seen, Ok(View::Host)));
            } else {
                assert_eq!(seen.err(), Some(Errno::ENOENT), "{missing}");
            }
        }
    }

    #[test]
    fn status_tells_of_no_tracer_and_of_the_virtual_umask() {
        let cage = TestCage::new();
        cage.thread.fs().set_umask(0o77);
        let Ok(View::Doctored { content }) = see(&cage, Who::Own, "status") else {
            panic!("the status is the host's");
        };
        let text = String::from_utf8(content).unwrap();
        for line in [
            "Umask:\t0077",
            "TracerPid:\t0",
            "Seccomp:\t0",
            "State:\tR (running)",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(
            text.lines()
                .any(|line| *line == format!("Pid:\t{}", own_pid()))
        );
    }

    #[test]
    fn memory_and_strangers_are_refused() {
        let cage = TestCage::new();
        for (who, path, errno) in [
            (Who::Own, "mem", Errno::EACCES),
            (Who::OwnThread, "mem", Errno::EACCES),
            (Who::Pid(1), "exe", Errno::EACCES),
            (Who::Pid(1), "fd/0", Errno::EACCES),
            (Who::Own, "map_files/1-2", Errno::EPERM),
        ] {
            let Ok(View::Refused(found)) = see(&cage, who, path) else {
                panic!("{path} is not refused");
            };
            assert_eq!(found, errno, "{path}");
        }
        assert!(matches!(see(&cage, Who::Pid(1), "stat"), Ok(View::Host)));
        let nobody = Who::Pid(i32::MAX);
        assert_eq!(see(&cage, nobody, "exe").err(), Some(Errno::ENOENT));
    }

    #[test]
    fn another_cage_is_found_by_its_number() {
        let mut child = sleeper();
        let pid = i32::try_from(child.id()).unwrap();
        let cage = TestCage::new();
        let other = cage.fork(Tid(pid));
        other.adopt(
            FileKind::File,
            "/dev/null",
            File::open("/dev/null").unwrap().into(),
        );
        let seen = see(&cage, Who::Pid(pid), "fd/0");
        assert!(matches!(seen, Ok(View::Descriptor(of, 0)) if of == pid));
        assert_eq!(see(&cage, Who::Own, "fd/0").err(), Some(Errno::ENOENT));
        let cx = Ctx::new(&cage.kernel, &cage.thread, &cage.ram, 0, [0; 6]);
        assert!(pidfd(&cx, pid, 0).is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(pidfd(&cx, pid, 0).err(), Some(Errno::ESRCH));
    }

    #[test]
    fn a_dead_child_that_the_table_forgot_still_has_a_number() {
        let mut child = sleeper();
        let pid = i32::try_from(child.id()).unwrap();
        child.kill().unwrap();
        let cage = TestCage::new();
        // The children of each thread are told apart; this test's thread must stand for the cage's.
        let tid = Tid(nix::unistd::gettid().as_raw());
        let own = Thread::new(
            tid,
            Arc::clone(&cage.thread.cage),
            cage.thread.files(),
            cage.thread.fs(),
        );
        cage.kernel.cages.write().insert(Arc::new(own));
        let cx = Ctx::new(&cage.kernel, &cage.thread, &cage.ram, 0, [0; 6]);
        assert!(pidfd(&cx, pid, 0).is_ok());
        child.wait().unwrap();
        assert_eq!(pidfd(&cx, pid, 0).err(), Some(Errno::ESRCH));
    }
}
