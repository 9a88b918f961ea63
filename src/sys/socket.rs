//! Sockets of the host: making them, receiving on a borrowed one without waiting, accepting on one that may have
//! been emptied meanwhile.
//!
//! Nothing here waits for a peer: receiving has `MSG_DONTWAIT`, and accept4, which has no such flag (`O_NONBLOCK` is
//! the cage's), runs under a repeating timer of its thread, whose signal ends a wait with `EINTR`.
#![expect(
    unsafe_code,
    reason = "received descriptors come as numbers, and a timer of one thread has no safe wrapper"
)]

use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Once;
use std::time::Duration;

use crate::abi::Errno;

/// The longest address, `sizeof(struct sockaddr_storage)`.
pub const ADDRESS_MAX: usize = 128;
/// Room for all control data that one message can carry; see [`receive`].
const CONTROL_ROOM: usize = 8 * 1024;
/// How often accept4 is interrupted while it waits.
const TICK: Duration = Duration::from_millis(2);
/// `SCM_PIDFD`.
const SCM_PIDFD: i32 = 4;

/// One piece of control data; descriptors are owned at once, so that none can be lost.
#[derive(Debug)]
pub enum Control {
    /// `SCM_RIGHTS`.
    Rights(Vec<OwnedFd>),
    /// `SCM_PIDFD`: the sender's pid descriptor.
    Pidfd(OwnedFd),
    /// `SCM_CREDENTIALS`, the pid as this process's namespace sees it.
    Credentials {
        /// The sender's process.
        pid: i32,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// Anything else: level, type, data.
    Other(i32, i32, Vec<u8>),
}

/// A received message.
#[derive(Debug)]
pub struct Message {
    /// What recvmsg returned; with `MSG_TRUNC` it may be more than the buffer holds.
    pub len: usize,
    /// The sender's address.
    pub name: Vec<u8>,
    /// `MSG_*` of the message.
    pub flags: i32,
    /// Control data, all of it.
    pub control: Vec<Control>,
}

fn last_error() -> Errno {
    let raw = std::io::Error::last_os_error().raw_os_error();
    Errno::new(raw.unwrap_or(libc::EIO))
}

fn owned(fd: i32) -> Result<OwnedFd, Errno> {
    if fd < 0 {
        return Err(last_error());
    }
    // SAFETY: the callers pass what a call that makes a descriptor has just returned: it is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a socket; it is close-on-exec here whatever `ty` says.
///
/// # Errors
/// What socket(2) says.
pub fn socket(domain: i32, ty: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: socket takes numbers only.
    owned(unsafe { libc::socket(domain, ty | libc::SOCK_CLOEXEC, protocol) })
}

/// Makes a pair of connected sockets; they are close-on-exec here whatever `ty` says.
///
/// # Errors
/// What socketpair(2) says.
pub fn pair(domain: i32, ty: i32, protocol: i32) -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut fds = [-1; 2];
    // SAFETY: `fds` is an array of two ints, which is what the call writes.
    if unsafe { libc::socketpair(domain, ty | libc::SOCK_CLOEXEC, protocol, fds.as_mut_ptr()) } < 0
    {
        return Err(last_error());
    }
    let [first, second] = fds;
    Ok((owned(first)?, owned(second)?))
}

fn option<T>(socket: BorrowedFd<'_>, name: i32) -> Result<T, Errno>
where
    T: zerocopy::FromBytes,
{
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: `value` has room for `len` bytes and `len` says so; both live through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result < 0 {
        return Err(last_error());
    }
    // SAFETY: all bytes are zero or the kernel's, and `T: FromBytes` is valid for any bytes.
    Ok(unsafe { value.assume_init() })
}

/// `SO_DOMAIN`.
///
/// # Errors
/// `ENOTSOCK`.
pub fn domain(socket: BorrowedFd<'_>) -> Result<i32, Errno> {
    option(socket, libc::SO_DOMAIN)
}

/// `SO_TYPE`.
///
/// # Errors
/// `ENOTSOCK`.
pub fn kind(socket: BorrowedFd<'_>) -> Result<i32, Errno> {
    option(socket, libc::SO_TYPE)
}

/// `SO_ACCEPTCONN`: whether it listens.
///
/// # Errors
/// `ENOTSOCK`.
pub fn listens(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    option::<i32>(socket, libc::SO_ACCEPTCONN).map(|listens| listens != 0)
}

/// `SO_ERROR`, which is taken by asking for it.
///
/// # Errors
/// `ENOTSOCK`, and the socket's error.
pub fn take_error(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    match option(socket, libc::SO_ERROR)? {
        0 => Ok(()),
        errno => Err(Errno::new(errno)),
    }
}

/// `SO_RCVTIMEO`; `None` where it waits for ever.
///
/// # Errors
/// `ENOTSOCK`.
pub fn receive_timeout(socket: BorrowedFd<'_>) -> Result<Option<Duration>, Errno> {
    let [seconds, micros]: [i64; 2] = option(socket, libc::SO_RCVTIMEO)?;
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let micros = u64::try_from(micros).unwrap_or(0);
    let timeout = Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros));
    Ok((!timeout.is_zero()).then_some(timeout))
}

/// Whether `O_NONBLOCK` is set.
///
/// # Errors
/// `EBADF`.
pub fn nonblocking(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    // SAFETY: F_GETFL takes no pointer.
    let flags = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(last_error());
    }
    Ok(flags & libc::O_NONBLOCK != 0)
}

/// Whether poll reports anything at all for these events, now.
///
/// # Errors
/// `ENOMEM`.
pub fn ready(socket: BorrowedFd<'_>, events: i16) -> Result<bool, Errno> {
    let mut entry = libc::pollfd {
        fd: socket.as_raw_fd(),
        events,
        revents: 0,
    };
    // SAFETY: one entry, which lives through the call; a time-out of zero does not wait.
    match unsafe { libc::poll(&raw mut entry, 1, 0) } {
        result if result < 0 => Err(last_error()),
        result => Ok(result > 0),
    }
}

/// Receives a message into `data` without waiting. All its control data is taken and each descriptor in it owned
/// (close-on-exec), however little room a cage gave: what is cut off must not stay open here.
///
/// # Errors
/// What recvmsg(2) says with `MSG_DONTWAIT`.
pub fn receive(socket: BorrowedFd<'_>, data: &mut [u8], flags: i32) -> Result<Message, Errno> {
    let mut name = [0u8; ADDRESS_MAX];
    // Aligned for struct cmsghdr.
    let mut control = [0u64; CONTROL_ROOM / 8];
    let mut iov = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    // SAFETY: msghdr is plain data, for which zeros are null pointers and empty lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = libc::socklen_t::try_from(name.len()).map_err(|_| Errno::EINVAL)?;
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_ROOM;
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: every pointer in `header` is to a buffer of the length beside it, and all of them outlive the call.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let len = usize::try_from(len).map_err(|_| last_error())?;
    let bytes = zerocopy::IntoBytes::as_bytes(control.as_slice());
    let bytes = bytes.get(..header.msg_controllen).unwrap_or(bytes);
    let name_len = usize::try_from(header.msg_namelen).unwrap_or(0);
    Ok(Message {
        len,
        name: name.get(..name_len).unwrap_or(&name).to_vec(),
        flags: header.msg_flags,
        control: parse(bytes),
    })
}

fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(i32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Reads the kernel's control data. Each descriptor in it is taken once.
fn parse(mut bytes: &[u8]) -> Vec<Control> {
    let mut items = Vec::new();
    while let Some(header) = bytes.get(..16) {
        let len: [u8; 8] = header
            .get(..8)
            .and_then(|len| len.try_into().ok())
            .unwrap_or_default();
        let len = usize::try_from(u64::from_ne_bytes(len)).unwrap_or(0);
        let (Some(data), Some(level), Some(ty)) =
            (bytes.get(16..len), int_at(header, 8), int_at(header, 12))
        else {
            break;
        };
        items.push(item(level, ty, data));
        bytes = bytes.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    items
}

fn item(level: i32, ty: i32, data: &[u8]) -> Control {
    match (level, ty) {
        (libc::SOL_SOCKET, libc::SCM_RIGHTS) => Control::Rights(
            (0..data.len() / 4)
                .filter_map(|index| int_at(data, index * 4))
                .filter_map(|fd| owned(fd).ok())
                .collect(),
        ),
        (libc::SOL_SOCKET, SCM_PIDFD) => match int_at(data, 0).map(owned) {
            Some(Ok(pidfd)) => Control::Pidfd(pidfd),
            _ => Control::Other(level, ty, data.to_vec()),
        },
        (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
            match (int_at(data, 0), int_at(data, 4), int_at(data, 8)) {
                (Some(pid), Some(uid), Some(gid)) => Control::Credentials {
                    pid,
                    uid: uid.cast_unsigned(),
                    gid: gid.cast_unsigned(),
                },
                _ => Control::Other(level, ty, data.to_vec()),
            }
        }
        _ => Control::Other(level, ty, data.to_vec()),
    }
}

/// A timer of this thread, whose signal does nothing but end a wait.
struct Ticker(libc::timer_t);

fn tick_signal() -> i32 {
    libc::SIGRTMIN() + 7
}

extern "C" fn ignore(_: i32) {}

fn install_tick_handler() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: sigaction is plain data; zeros are an empty mask and no flags, so no SA_RESTART.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = ignore as *const () as usize;
        // SAFETY: the handler touches nothing, and the signal is one that nothing else in this process uses.
        unsafe { libc::sigaction(tick_signal(), &raw const action, ptr::null_mut()) };
    });
}

impl Ticker {
    fn new() -> Result<Self, Errno> {
        install_tick_handler();
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises `set` before it is read; the mask is this thread's own.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), tick_signal());
            libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
        }
        // SAFETY: sigevent is plain data; the fields that matter are set below.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = tick_signal();
        // SAFETY: gettid takes nothing and cannot fail.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = MaybeUninit::<libc::timer_t>::uninit();
        // SAFETY: both pointers are to values that live through the call.
        let result = unsafe {
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, timer.as_mut_ptr())
        };
        if result < 0 {
            return Err(last_error());
        }
        // SAFETY: timer_create succeeded, so it wrote the timer.
        Ok(Self(unsafe { timer.assume_init() }))
    }

    fn set(&self, period: Duration) -> Result<(), Errno> {
        let period = libc::timespec {
            tv_sec: 0,
            tv_nsec: i64::from(period.subsec_nanos()),
        };
        let spec = libc::itimerspec {
            it_interval: period,
            it_value: period,
        };
        // SAFETY: the timer is this thread's and was not deleted; `spec` lives through the call.
        if unsafe { libc::timer_settime(self.0, 0, &raw const spec, ptr::null_mut()) } < 0 {
            return Err(last_error());
        }
        Ok(())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // SAFETY: the timer was created once and is deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

thread_local! {
    static TICKER: Result<Ticker, Errno> = Ticker::new();
}

/// Accepts a connection on a socket that was ready a moment ago; `address` gets the peer's.
///
/// # Errors
/// What accept4(2) says; `EINTR` or `EAGAIN` where there is no connection any more.
pub fn accept_now(
    listener: BorrowedFd<'_>,
    flags: i32,
    address: Option<&mut Vec<u8>>,
) -> Result<OwnedFd, Errno> {
    TICKER.with(|ticker| {
        let ticker = ticker.as_ref().map_err(|&errno| errno)?;
        ticker.set(TICK)?;
        let accepted = accept4(listener, flags, address);
        // Disarming a timer that exists cannot fail; a tick that is already queued arrives before this returns.
        let _ = ticker.set(Duration::ZERO);
        accepted
    })
}

fn accept4(
    listener: BorrowedFd<'_>,
    flags: i32,
    address: Option<&mut Vec<u8>>,
) -> Result<OwnedFd, Errno> {
    let fd = listener.as_raw_fd();
    let flags = flags | libc::SOCK_CLOEXEC;
    let Some(address) = address else {
        // SAFETY: null pointers say that no address is wanted.
        return owned(unsafe { libc::accept4(fd, ptr::null_mut(), ptr::null_mut(), flags) });
    };
    let mut name = [0u8; ADDRESS_MAX];
    let mut len = libc::socklen_t::try_from(name.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: `name` has room for `len` bytes; both live through the call.
    let accepted =
        owned(unsafe { libc::accept4(fd, name.as_mut_ptr().cast(), &raw mut len, flags) })?;
    let len = usize::try_from(len).unwrap_or(0);
    address.extend_from_slice(name.get(..len).unwrap_or(&name));
    Ok(accepted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::time::Instant;

    #[test]
    fn accept_does_not_wait_for_a_connection_that_is_gone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for _ in 0..3 {
            let before = Instant::now();
            let result = accept_now(listener.as_fd(), 0, None);
            assert_eq!(result.map(|_| ()), Err(Errno::EINTR));
            assert!(before.elapsed() < Duration::from_secs(2));
        }
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut address = Vec::new();
        assert!(accept_now(listener.as_fd(), 0, Some(&mut address)).is_ok());
        let port = peer.local_addr().unwrap().port();
        assert_eq!(address.get(2..4), Some(&port.to_be_bytes()[..]));
    }

    #[test]
    fn a_message_brings_its_descriptors_owned() {
        use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
        let (a, b) = pair(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
        let fds = [a.as_raw_fd(), b.as_raw_fd()];
        let iov = [std::io::IoSlice::new(b"data")];
        sendmsg::<()>(
            a.as_raw_fd(),
            &iov,
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        let mut data = [0; 8];
        let message = receive(b.as_fd(), &mut data, 0).unwrap();
        assert_eq!((message.len, &data[..4]), (4, &b"data"[..]));
        assert!(matches!(&message.control[..], [Control::Rights(files)] if files.len() == 2));
        let again = receive(b.as_fd(), &mut data, 0);
        assert_eq!(again.map(|_| ()), Err(Errno::EAGAIN));
    }

    #[test]
    fn control_data_that_ends_early_is_not_read_beyond() {
        assert!(parse(&[1; 15]).is_empty());
        assert!(parse(&[0xff; 64]).is_empty());
        let mut zero_length = [0; 32];
        assert!(parse(&zero_length).is_empty());
        zero_length[0] = 16;
        assert_eq!(parse(&zero_length).len(), 1);
    }
}
