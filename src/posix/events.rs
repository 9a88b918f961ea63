//! epoll, poll, select, eventfd, timerfd, signalfd, inotify.

use super::{Ctx, Outcome, SysResult};
use crate::abi::Errno;
use crate::guest::{Addr, Fd, UserIn, UserOut, UserPath};

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
pub fn epoll_create(_cx: &Ctx<'_>, _size: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See epoll_wait(2).
pub fn epoll_wait(
    cx: &Ctx<'_>,
    epfd: Fd,
    _events: UserOut,
    _maxevents: i32,
    _timeout: i32,
) -> SysResult {
    cx.descriptor(epfd)?;
    Ok(Outcome::Continue)
}

/// See epoll_ctl(2).
pub fn epoll_ctl(cx: &Ctx<'_>, epfd: Fd, _op: i32, fd: Fd, _event: UserIn) -> SysResult {
    cx.descriptor(epfd)?;
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See inotify_init(2).
pub fn inotify_init(_cx: &Ctx<'_>) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See inotify_add_watch(2).
pub fn inotify_add_watch(_cx: &Ctx<'_>, _fd: Fd, _pathname: UserPath, _mask: u32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
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
    cx: &Ctx<'_>,
    epfd: Fd,
    _events: UserOut,
    _maxevents: i32,
    _timeout: i32,
    _sigmask: Addr,
    _sigsetsize: usize,
) -> SysResult {
    cx.descriptor(epfd)?;
    Ok(Outcome::Continue)
}

/// See signalfd(2).
pub fn signalfd(_cx: &Ctx<'_>, _fd: Fd, _mask: UserIn, _sizemask: usize) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See timerfd_create(2).
pub fn timerfd_create(_cx: &Ctx<'_>, _clockid: i32, _flags: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See eventfd(2).
pub fn eventfd(_cx: &Ctx<'_>, _initval: u32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See timerfd_settime(2).
pub fn timerfd_settime(
    cx: &Ctx<'_>,
    fd: Fd,
    _flags: i32,
    _new_value: UserIn,
    _old_value: UserOut,
) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See timerfd_gettime(2).
pub fn timerfd_gettime(cx: &Ctx<'_>, fd: Fd, _curr_value: UserOut) -> SysResult {
    cx.descriptor(fd)?;
    Ok(Outcome::Continue)
}

/// See signalfd4(2).
pub fn signalfd4(
    _cx: &Ctx<'_>,
    _fd: Fd,
    _mask: UserIn,
    _sizemask: usize,
    _flags: i32,
) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See eventfd2(2).
pub fn eventfd2(_cx: &Ctx<'_>, _initval: u32, _flags: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See epoll_create1(2).
pub fn epoll_create1(_cx: &Ctx<'_>, _flags: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See inotify_init1(2).
pub fn inotify_init1(_cx: &Ctx<'_>, _flags: i32) -> SysResult {
    Err(Errno::ENOSYS) // STUB
}

/// See epoll_pwait2(2).
pub fn epoll_pwait2(
    cx: &Ctx<'_>,
    epfd: Fd,
    _events: UserOut,
    _maxevents: i32,
    _timeout: Addr,
    _sigmask: Addr,
    _sigsetsize: usize,
) -> SysResult {
    cx.descriptor(epfd)?;
    Ok(Outcome::Continue)
}
