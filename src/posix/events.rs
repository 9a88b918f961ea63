//! epoll, poll, select, eventfd, timerfd, signalfd, inotify.
//!
//! What waits, and what adds to a set, runs in the cage: the kernel holds nothing at a number that the virtual table
//! does not, so its `EBADF` is ours, in its own order of errors.

use super::path::{Last, Path};
use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::cage::FileKind;
use crate::guest::{Addr, DirFd, Fd, UserIn, UserOut, UserPath, UserPtr};
use crate::sys::{self, event};

/// See poll(2).
pub fn poll(_cx: &Ctx<'_>, _fds: Addr, _nfds: u32, _timeout: i32) -> SysResult {
    Ok(Outcome::Continue)
}

/// See select(2).
pub fn select(
    _cx: &Ctx<'_>,
    _nfds: i32,
    _readfds: Addr,
    _writefds: Addr,
    _exceptfds: Addr,
    _timeout: Addr,
) -> SysResult {
    Ok(Outcome::Continue)
}

/// See epoll_create(2).
pub fn epoll_create(cx: &Ctx<'_>, size: i32) -> SysResult {
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    epoll_create1(cx, 0)
}

/// See epoll_wait(2).
pub fn epoll_wait(
    _cx: &Ctx<'_>,
    _epfd: Fd,
    _events: UserOut,
    _maxevents: i32,
    _timeout: i32,
) -> SysResult {
    Ok(Outcome::Continue)
}

/// See epoll_ctl(2).
pub fn epoll_ctl(_cx: &Ctx<'_>, _epfd: Fd, _op: i32, _fd: Fd, _event: UserIn) -> SysResult {
    Ok(Outcome::Continue)
}

/// See inotify_init(2).
pub fn inotify_init(cx: &Ctx<'_>) -> SysResult {
    inotify_init1(cx, 0)
}

/// See inotify_add_watch(2).
pub fn inotify_add_watch(cx: &Ctx<'_>, fd: Fd, pathname: UserPath, mask: u32) -> SysResult {
    const KNOWN: u32 = libc::IN_ALL_EVENTS
        | libc::IN_UNMOUNT
        | libc::IN_Q_OVERFLOW
        | libc::IN_IGNORED
        | libc::IN_ONLYDIR
        | libc::IN_DONT_FOLLOW
        | libc::IN_EXCL_UNLINK
        | libc::IN_MASK_CREATE
        | libc::IN_MASK_ADD
        | libc::IN_ISDIR
        | libc::IN_ONESHOT;
    if mask & !KNOWN != 0 || mask & KNOWN == 0 {
        return Err(Errno::EINVAL);
    }
    cx.with_file(fd, |inotify| {
        let last = if mask & libc::IN_DONT_FOLLOW == 0 {
            Last::Follow
        } else {
            Last::Keep
        };
        let path = cx
            .guest
            .get_path(pathname)
            .and_then(|bytes| Path::new(cx, DirFd::CWD, bytes, last));
        let path = match path {
            Ok(path) => path,
            // Linux looks at the descriptor before it looks at the name.
            Err(errno) => match event::watch(inotify, None, mask) {
                Err(Errno::EFAULT) => return Err(errno),
                Err(first) => return Err(first),
                Ok(_) => return Err(Errno::EFAULT),
            },
        };
        let watch = path.run(cx, |target| {
            let mask = if target.is_object() {
                mask & !libc::IN_DONT_FOLLOW
            } else {
                mask
            };
            sys::fs::in_dir(target.dir, || {
                event::watch(inotify, Some(target.name), mask)
            })
        })?;
        Outcome::value(watch)
    })
}

/// See inotify_rm_watch(2).
pub fn inotify_rm_watch(cx: &Ctx<'_>, fd: Fd, _wd: i32) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See pselect6(2).
pub fn pselect6(
    _cx: &Ctx<'_>,
    _nfds: i32,
    _readfds: Addr,
    _writefds: Addr,
    _exceptfds: Addr,
    _timeout: Addr,
    _sig: Addr,
) -> SysResult {
    Ok(Outcome::Continue)
}

/// See ppoll(2).
pub fn ppoll(
    _cx: &Ctx<'_>,
    _fds: Addr,
    _nfds: u32,
    _tmo_p: Addr,
    _sigmask: Addr,
    _sigsetsize: usize,
) -> SysResult {
    Ok(Outcome::Continue)
}

/// See epoll_pwait(2).
pub fn epoll_pwait(
    _cx: &Ctx<'_>,
    _epfd: Fd,
    _events: UserOut,
    _maxevents: i32,
    _timeout: i32,
    _sigmask: Addr,
    _sigsetsize: usize,
) -> SysResult {
    Ok(Outcome::Continue)
}

/// See signalfd(2).
pub fn signalfd(cx: &Ctx<'_>, fd: Fd, mask: UserIn, sizemask: usize) -> SysResult {
    signalfd4(cx, fd, mask, sizemask, 0)
}

/// See timerfd_create(2).
pub fn timerfd_create(cx: &Ctx<'_>, clockid: i32, flags: i32) -> SysResult {
    if flags & !(libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let cloexec = flags & libc::TFD_CLOEXEC != 0;
    let host = event::timerfd(clockid, flags)?;
    Outcome::value(cx.grant(FileKind::Event, "anon_inode:[timerfd]", host, cloexec)?)
}

/// See eventfd(2).
pub fn eventfd(cx: &Ctx<'_>, initval: u32) -> SysResult {
    eventfd2(cx, initval, 0)
}

/// See timerfd_settime(2).
pub fn timerfd_settime(
    _cx: &Ctx<'_>,
    _fd: Fd,
    _flags: i32,
    _new_value: UserIn,
    _old_value: UserOut,
) -> SysResult {
    Ok(Outcome::Continue)
}

/// See timerfd_gettime(2).
pub fn timerfd_gettime(cx: &Ctx<'_>, fd: Fd, _curr_value: UserOut) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See signalfd4(2).
pub fn signalfd4(cx: &Ctx<'_>, fd: Fd, mask: UserIn, sizemask: usize, flags: i32) -> SysResult {
    if fd.0 != -1 {
        // Another set for one that is open: it makes no descriptor, and whom it wakes are the caller's own threads.
        return Ok(Outcome::Continue);
    }
    if sizemask != event::SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let mask = cx.guest.get(UserPtr::<u64>::new(mask.0))?;
    if flags & !(libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let cloexec = flags & libc::SFD_CLOEXEC != 0;
    let host = event::signalfd(mask, flags)?;
    Outcome::value(cx.grant(FileKind::Event, "anon_inode:[signalfd]", host, cloexec)?)
}

/// See eventfd2(2).
pub fn eventfd2(cx: &Ctx<'_>, initval: u32, flags: i32) -> SysResult {
    if flags & !(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE) != 0 {
        return Err(Errno::EINVAL);
    }
    let cloexec = flags & libc::EFD_CLOEXEC != 0;
    let host = event::eventfd(initval, flags)?;
    Outcome::value(cx.grant(FileKind::Event, "anon_inode:[eventfd]", host, cloexec)?)
}

/// See epoll_create1(2).
pub fn epoll_create1(cx: &Ctx<'_>, flags: i32) -> SysResult {
    if flags & !libc::EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let cloexec = flags & libc::EPOLL_CLOEXEC != 0;
    let host = event::epoll()?;
    Outcome::value(cx.grant(FileKind::Epoll, "anon_inode:[eventpoll]", host, cloexec)?)
}

/// See inotify_init1(2).
pub fn inotify_init1(cx: &Ctx<'_>, flags: i32) -> SysResult {
    if flags & !(libc::IN_CLOEXEC | libc::IN_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let cloexec = flags & libc::IN_CLOEXEC != 0;
    let host = event::inotify(flags)?;
    Outcome::value(cx.grant(FileKind::Event, "anon_inode:inotify", host, cloexec)?)
}

/// See epoll_pwait2(2).
pub fn epoll_pwait2(
    _cx: &Ctx<'_>,
    _epfd: Fd,
    _events: UserOut,
    _maxevents: i32,
    _timeout: Addr,
    _sigmask: Addr,
    _sigsetsize: usize,
) -> SysResult {
    Ok(Outcome::Continue)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::guest::Guest;
    use crate::posix::bench_cage::{NOWHERE, TestCage, fails};

    fn reg(value: i32) -> u64 {
        u64::from(value.cast_unsigned())
    }

    #[test]
    fn each_maker_hands_out_a_number_and_knows_its_flags() {
        let cage = TestCage::new();
        let mask = cage.put(&(1_u64 << 9).to_ne_bytes());
        let none = reg(-1);
        let cloexec = reg(libc::O_CLOEXEC);
        assert_eq!(cage.call("epoll_create", &[1]), 0);
        assert_eq!(cage.call("epoll_create1", &[cloexec]), 1);
        assert_eq!(cage.call("eventfd", &[7]), 2);
        assert_eq!(cage.call("eventfd2", &[7, cloexec]), 3);
        assert_eq!(cage.call("timerfd_create", &[1, cloexec]), 4);
        assert_eq!(cage.call("signalfd", &[none, mask, 8]), 5);
        assert_eq!(cage.call("signalfd4", &[none, mask, 8, cloexec]), 6);
        assert_eq!(cage.call("inotify_init", &[]), 7);
        assert_eq!(cage.call("inotify_init1", &[cloexec]), 8);
        let marked: Vec<i32> = (0..9).filter(|&fd| cage.cloexec(fd)).collect();
        assert_eq!(marked, vec![1, 3, 4, 6, 8]);
        let mut count = [0; 8];
        let eventfd = cage.ram.borrow_file(3).unwrap();
        assert_eq!(nix::unistd::read(eventfd.as_fd(), &mut count), Ok(8));
        assert_eq!(u64::from_ne_bytes(count), 7);
        assert_eq!(cage.numbers(), cage.ram.open_numbers());
    }

    #[test]
    fn bad_arguments_make_nothing() {
        let cage = TestCage::new();
        let mask = cage.room(8);
        let none = reg(-1);
        for (name, args, errno) in [
            ("epoll_create", vec![0], Errno::EINVAL),
            ("epoll_create1", vec![1], Errno::EINVAL),
            ("eventfd2", vec![0, 0x100], Errno::EINVAL),
            ("timerfd_create", vec![99, 0], Errno::EINVAL),
            ("timerfd_create", vec![1, 0x100], Errno::EINVAL),
            ("signalfd4", vec![none, mask, 4, 0], Errno::EINVAL),
            ("signalfd4", vec![none, NOWHERE, 8, 1], Errno::EFAULT),
            ("signalfd4", vec![none, mask, 8, 1], Errno::EINVAL),
            ("inotify_init1", vec![0x100], Errno::EINVAL),
        ] {
            assert_eq!(cage.call(name, &args), fails(errno), "{name}{args:?}");
        }
        assert!(cage.numbers().is_empty() && cage.ram.open_numbers().is_empty());
    }

    #[test]
    fn a_new_set_for_an_open_signalfd_is_the_kernels_business() {
        let cage = TestCage::new();
        let mask = cage.room(8);
        let answer = cage.outcome("signalfd4", &[3, mask, 8, 0]);
        assert!(matches!(answer, Ok(Outcome::Continue)));
    }

    #[test]
    fn a_watch_sees_what_happens_in_the_directory() {
        let dir = std::env::temp_dir().join(format!("cage-trace-watch-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        let cage = TestCage::at(&dir);
        let at = cage.put_str("sub");
        let create = u64::from(libc::IN_CREATE);
        let nonblock = reg(libc::IN_NONBLOCK);
        assert_eq!(cage.call("inotify_init1", &[nonblock]), 0);
        assert_eq!(cage.call("inotify_add_watch", &[0, at, create]), 1);
        std::fs::write(dir.join("sub/new"), b"").unwrap();
        let mut event = [0; 64];
        let inotify = cage.ram.borrow_file(0).unwrap();
        assert_eq!(nix::unistd::read(inotify.as_fd(), &mut event), Ok(32));
        assert_eq!(&event[16..20], b"new\0");

        assert_eq!(cage.call("eventfd", &[0]), 1);
        let (missing, empty) = (cage.put_str("missing"), cage.put_str(""));
        for (args, errno) in [
            ([0, missing, create], Errno::ENOENT),
            ([0, empty, create], Errno::ENOENT),
            ([0, NOWHERE, create], Errno::EFAULT),
            ([0, at, 0], Errno::EINVAL),
            ([7, NOWHERE, 0], Errno::EINVAL),
            ([7, NOWHERE, create], Errno::EBADF),
            ([1, NOWHERE, create], Errno::EINVAL),
            ([1, at, create], Errno::EINVAL),
        ] {
            assert_eq!(
                cage.call("inotify_add_watch", &args),
                fails(errno),
                "{args:?}"
            );
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
