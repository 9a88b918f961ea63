//! Processes of our own: forking them, the channel and the shared page between them, and the last steps before an untrusted program.
//!
//! Tracing lives elsewhere on this floor; who forks whom and in which order is decided in the `run` floor.
#![expect(
    unsafe_code,
    reason = "fork, exec, signal state and shared memory have no safe wrapper"
)]

use std::ffi::{CString, OsStr};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, setsockopt,
    socketpair, sockopt,
};

/// Which of 0, 1 and 2 were closed when this program started; Rust's runtime opens them before `main`.
static CLOSED_STDIO: AtomicU32 = AtomicU32::new(0);
/// Whether SIGPIPE was ignored when this program started; Rust's runtime ignores it before `main`.
static SIGPIPE_IGNORED: AtomicU32 = AtomicU32::new(0);
/// Whether glibc's SIGSETXID was ignored when this program started, as it is below a `posix_spawn` of a program with threads; our
/// own first thread gives it a handler.
static SETXID_IGNORED: AtomicU32 = AtomicU32::new(0);
/// The signals that were blocked when this program started.
static BLOCKED_SIGNALS: AtomicU64 = AtomicU64::new(0);

/// A signal of glibc's own, which its sigaction refuses to name.
const SIGSETXID: libc::c_int = 33;

/// `struct sigaction` as the kernel has it on x86_64.
#[repr(C)]
#[derive(Default)]
struct KernelAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

extern "C" fn remember_start() {
    let mut closed = 0;
    for fd in 0..3 {
        // SAFETY: F_GETFD takes a number and changes nothing.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            closed |= 1 << fd;
        }
    }
    CLOSED_STDIO.store(closed, Ordering::Relaxed);
    // SAFETY: all-zero is a valid sigaction and a valid set; the calls only read the state into live locals of the kernel's layout.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
        {
            SIGPIPE_IGNORED.store(1, Ordering::Relaxed);
        }
        let mut setxid = KernelAction::default();
        libc::syscall(
            libc::SYS_rt_sigaction,
            SIGSETXID,
            std::ptr::null::<KernelAction>(),
            &raw mut setxid,
            size_of::<u64>(),
        );
        if setxid.handler == libc::SIG_IGN {
            SETXID_IGNORED.store(1, Ordering::Relaxed);
        }
        let mut blocked = 0_u64;
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            std::ptr::null::<u64>(),
            &raw mut blocked,
            size_of::<u64>(),
        );
        BLOCKED_SIGNALS.store(blocked, Ordering::Relaxed);
    }
}

// SAFETY: the loader calls each entry of .init_array once, before main; this one only makes system calls and stores to atomics,
// so it needs nothing that is set up later.
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER_START: extern "C" fn() = remember_start;

/// Leaves the caller's session keyring for an empty one; a kernel without keyrings has none to leave.
pub fn leave_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
}

/// Which of 0, 1 and 2 were open when this program was started: what the program to run inherits.
pub fn inherited_stdio() -> [bool; 3] {
    let closed = CLOSED_STDIO.load(Ordering::Relaxed);
    [closed & 1 == 0, closed & 2 == 0, closed & 4 == 0]
}

/// Forks; `child` runs in the child and should not return: it ends there. Gives the child's pid.
///
/// The caller must be single threaded: the child owns a copy of one thread and of all memory.
pub fn fork(child: impl FnOnce()) -> io::Result<i32> {
    // SAFETY: the caller is single threaded, so every lock that the child inherits is held by nobody else.
    match unsafe { libc::fork() } {
        0 => {
            child();
            exit_now(125)
        }
        pid if pid > 0 => Ok(pid),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends this process at once: no destructors, no buffers flushed, as behoves a forked child.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// Has the kernel kill this process when the thread that forked it ends.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: the option takes a number.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets the name that `ps` shows for this process.
pub fn set_name(name: &std::ffi::CStr) {
    // SAFETY: the kernel reads at most 16 bytes of a NUL-terminated string.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Whether a number is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes a number and changes nothing.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Makes `to` a copy of `from` that an exec keeps, in a forked child that never returns; both may be one number.
pub fn put_at(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: numbers only. Whatever `to` was is owned by a copy of the parent's memory that is never dropped.
    let result = unsafe {
        if from == to {
            libc::fcntl(to, libc::F_SETFD, 0)
        } else {
            libc::dup2(from, to)
        }
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Closes every descriptor from `first` on but `kept`, which is sorted. The process must own none of them any longer:
/// only a forked child that never returns may call this.
pub fn close_all_but(first: u32, kept: &[RawFd]) -> io::Result<()> {
    let close = |from: u32, to: u32| {
        if from > to {
            return Ok(());
        }
        // SAFETY: numbers only. The owners of these descriptors are a copy of the parent's memory that is never dropped.
        if unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) } != 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    let mut from = first;
    for kept in kept
        .iter()
        .map(|fd| fd.cast_unsigned())
        .filter(|fd| *fd >= first)
    {
        if kept > from {
            close(from, kept - 1)?;
        }
        from = kept.saturating_add(1);
    }
    close(from, u32::MAX)
}

/// Closes one descriptor by its number, in a forked child that never returns: its owner is a copy that is never dropped.
pub fn close_number(fd: RawFd) {
    // SAFETY: a number only; see above for the owner.
    unsafe { libc::close(fd) };
}

/// Gives the calling process the signal state that this program was started with: mask, SIGPIPE and SIGSETXID.
pub fn restore_signals() {
    let ignored = SIGPIPE_IGNORED.load(Ordering::Relaxed) != 0;
    let blocked = BLOCKED_SIGNALS.load(Ordering::Relaxed);
    let setxid = KernelAction {
        handler: libc::SIG_IGN,
        ..KernelAction::default()
    };
    // SAFETY: no handler is installed, the action is as the kernel lays it out, and the sets have the size that it expects.
    unsafe {
        // Else the exec takes the handler away.
        if SETXID_IGNORED.load(Ordering::Relaxed) != 0 {
            libc::syscall(
                libc::SYS_rt_sigaction,
                SIGSETXID,
                &raw const setxid,
                std::ptr::null_mut::<KernelAction>(),
                size_of::<u64>(),
            );
        }
        libc::signal(
            libc::SIGPIPE,
            if ignored {
                libc::SIG_IGN
            } else {
                libc::SIG_DFL
            },
        );
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const blocked,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        );
    }
}

/// What ended, for [`reap_next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// The child.
    pub pid: i32,
    /// Its wait status, as waitpid(2) gives it.
    pub status: i32,
}

/// Waits for any child to end; `None` when there is none left.
pub fn reap_next() -> Option<Reaped> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live local.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if pid > 0 {
            return Some(Reaped { pid, status });
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

/// Waits for the child `pid` to end and returns its wait status.
pub fn wait_for(pid: i32) -> io::Result<i32> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live local.
        if unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == pid {
            return Ok(status);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINTR) {
            return Err(error);
        }
    }
}

/// A descriptor that stands for the process `pid`, our child that was not waited for yet.
pub fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us as new, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Kills the process that `pidfd` stands for; one that is gone is fine.
pub fn kill(pidfd: BorrowedFd<'_>) {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: numbers and a null pointer, which the kernel takes as no further information.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            none,
            0,
        )
    };
}

/// One end of a socket pair between two of our processes; each message is whole and names its sender.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// The largest message of a [`Channel`]: a path and what goes with it.
pub const MESSAGE_MAX: usize = libc::PATH_MAX as usize + 512;

impl Channel {
    /// Two connected ends, both close-on-exec.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        setsockopt(&ours, sockopt::PassCred, &true)?;
        Ok((Self(ours), Self(theirs)))
    }

    /// Sends one message.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        send(self.0.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Receives one message and its sender's pid as this process sees it; an empty one means that the other end is gone.
    pub fn receive(&self) -> io::Result<(Vec<u8>, Option<i32>)> {
        let mut message = vec![0; MESSAGE_MAX];
        let mut control = nix::cmsg_space!(libc::ucred);
        let (length, pid) = loop {
            let mut parts = [IoSliceMut::new(&mut message)];
            match recvmsg::<()>(
                self.0.as_raw_fd(),
                &mut parts,
                Some(&mut control),
                MsgFlags::MSG_CMSG_CLOEXEC,
            ) {
                Ok(received) => {
                    let pid = received.cmsgs()?.find_map(|control| match control {
                        ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.pid()),
                        _ => None,
                    });
                    break (received.bytes, pid.filter(|pid| *pid > 0));
                }
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        message.truncate(length);
        Ok((message, pid))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where the last steps before the program failed: see [`enter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Closing what the program must not inherit.
    Descriptors,
    /// Setting the program's own limits.
    Limits,
    /// Installing the seccomp filter.
    Filter,
    /// execve(2) itself.
    Exec,
}

/// A page that a forked child shares with its parent, for the one thing that it may have to say when it can make no calls any longer.
#[derive(Debug)]
pub struct FailurePage(NonNull<[AtomicI32; 2]>);

// SAFETY: the page is only reached through atomics, and it is unmapped once, by its owner.
unsafe impl Send for FailurePage {}
// SAFETY: as above.
unsafe impl Sync for FailurePage {}

impl FailurePage {
    /// A fresh page; children forked from now on share it.
    pub fn new() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new anonymous mapping at a place of the kernel's choice disturbs nothing.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                protection,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(page.cast())
            .map(Self)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
    }

    fn cells(&self) -> &[AtomicI32; 2] {
        // SAFETY: the page is mapped, aligned and zero-filled for as long as `self` lives, and atomics allow the sharing.
        unsafe { self.0.as_ref() }
    }

    /// Leaves word of a failure.
    pub fn report(&self, step: Step, errno: i32) {
        let [code, error] = self.cells();
        error.store(errno, Ordering::Relaxed);
        let step = match step {
            Step::Filter => 1,
            Step::Exec => 2,
            Step::Descriptors => 3,
            Step::Limits => 4,
        };
        code.store(step, Ordering::Release);
    }

    /// What failed, if anything did.
    pub fn read(&self) -> Option<(Step, io::Error)> {
        let [code, error] = self.cells();
        let step = match code.load(Ordering::Acquire) {
            1 => Step::Filter,
            2 => Step::Exec,
            3 => Step::Descriptors,
            4 => Step::Limits,
            _ => return None,
        };
        Some((
            step,
            io::Error::from_raw_os_error(error.load(Ordering::Relaxed)),
        ))
    }
}

impl Drop for FailurePage {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made, and nobody borrows it any longer.
        unsafe { libc::munmap(self.0.as_ptr().cast(), 4096) };
    }
}

/// A program ready to be executed: nothing is left to allocate.
#[derive(Debug)]
pub struct Image {
    path: CString,
    _strings: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
}

impl Image {
    /// The file at `path` with these arguments (the first is the program's name) and this environment (`NAME=value`).
    pub fn new<A: AsRef<OsStr>, E: AsRef<OsStr>>(
        path: &OsStr,
        arguments: &[A],
        environment: &[E],
    ) -> io::Result<Self> {
        let c_string = |text: &OsStr| {
            CString::new(text.as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
        };
        let mut strings = Vec::with_capacity(arguments.len() + environment.len());
        for text in arguments
            .iter()
            .map(AsRef::as_ref)
            .chain(environment.iter().map(AsRef::as_ref))
        {
            strings.push(c_string(text)?);
        }
        let pointers = |texts: &[CString]| {
            texts
                .iter()
                .map(|text| text.as_ptr())
                .chain([std::ptr::null()])
                .collect::<Vec<_>>()
        };
        let (argv, envp) = strings.split_at(arguments.len());
        Ok(Self {
            path: c_string(path)?,
            argv: pointers(argv),
            envp: pointers(envp),
            _strings: strings,
        })
    }
}

/// The seccomp filter of a run and how its tracer learns of it.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The program; empty for none, as tests of the world want it.
    pub program: Vec<libc::sock_filter>,
    /// Whether a notification listener is wanted.
    pub listener: bool,
    /// The call by which the program's process shows its tracer the listener's number, or -1.
    pub hello: i64,
}

/// The last steps of the process that becomes the untrusted program: the filter, the hello, exec. From the filter on every
/// call is mediated, so nothing happens in between; a failure is left on the page, since no write could be trusted to arrive.
pub fn enter(filter: &Filter, image: &Image, failure: &FailurePage) -> ! {
    let errno = || {
        io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO)
    };
    if !filter.program.is_empty() {
        let program = libc::sock_fprog {
            len: filter.program.len() as u16,
            filter: filter.program.as_ptr().cast_mut(),
        };
        let flags = if filter.listener {
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
        } else {
            0
        };
        // SAFETY: the program is live and its length is the vector's; the kernel copies it.
        let value = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        if value < 0 {
            failure.report(Step::Filter, errno());
            exit_now(125);
        }
        let listener: RawFd = if filter.listener { value as RawFd } else { -1 };
        // SAFETY: a number of our own that the tracer stops; no pointer is passed.
        unsafe { libc::syscall(filter.hello, libc::c_long::from(listener)) };
    }
    // SAFETY: path, argv and envp are NUL-terminated strings and null-terminated arrays that live in `image`.
    unsafe {
        libc::execve(
            image.path.as_ptr(),
            image.argv.as_ptr(),
            image.envp.as_ptr(),
        )
    };
    let errno = errno();
    failure.report(Step::Exec, errno);
    exit_now(if matches!(errno, libc::ENOENT | libc::ENOTDIR) {
        127
    } else {
        126
    })
}
