//! Letting go of files that were borrowed from a cage. Whoever drops the last copy of a socket with `SO_LINGER` waits
//! until its peer has taken all of it, and a cage may have dropped its own meanwhile: such a copy is dropped by a thread
//! that nobody waits for. Everything else is dropped at once, so that nothing is held longer than it was needed.

#![expect(unsafe_code, reason = "a file is taken out of what is being dropped")]

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{getsockopt, sockopt};
use parking_lot::{Condvar, Mutex};

/// As many copies may wait for their peers at once; more wait for those.
const MOST: usize = 8;

struct State {
    waiting: VecDeque<OwnedFd>,
    idle: usize,
    threads: usize,
}

static STATE: Mutex<State> = Mutex::new(State {
    waiting: VecDeque::new(),
    idle: 0,
    threads: 0,
});
static CAME: Condvar = Condvar::new();

/// A file borrowed from a cage: [released](release) when dropped.
#[derive(Debug)]
pub struct Loan(ManuallyDrop<OwnedFd>);

impl From<OwnedFd> for Loan {
    fn from(file: OwnedFd) -> Self {
        Self(ManuallyDrop::new(file))
    }
}

impl AsFd for Loan {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // SAFETY: this is the only place that takes the file out, and nobody can look at it after a drop.
        release(unsafe { ManuallyDrop::take(&mut self.0) });
    }
}

/// Drops a file without waiting for what lingers in it.
pub fn release(file: OwnedFd) {
    if lingers(&file) {
        drop_aside(file);
    }
}

fn lingers(file: &OwnedFd) -> bool {
    getsockopt(&file.as_fd(), sockopt::Linger)
        .is_ok_and(|linger| linger.l_onoff != 0 && linger.l_linger != 0)
}

fn drop_aside(file: OwnedFd) {
    let mut state = STATE.lock();
    state.waiting.push_back(file);
    if state.idle >= state.waiting.len() || state.threads == MOST {
        CAME.notify_one();
        return;
    }
    let spawned = std::thread::Builder::new()
        .name("closer".to_owned())
        .stack_size(64 * 1024)
        .spawn(close_all);
    if spawned.is_ok() {
        state.threads += 1;
    } else if state.threads == 0 {
        // Nobody would ever take it.
        state.waiting.clear();
    }
}

fn close_all() {
    let mut state = STATE.lock();
    loop {
        while let Some(file) = state.waiting.pop_front() {
            drop(state);
            drop(file);
            state = STATE.lock();
        }
        state.idle += 1;
        CAME.wait(&mut state);
        state.idle -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use nix::sys::socket::setsockopt;

    use super::*;

    /// A connection whose peer has not read what was written, and that waits for it when it is closed.
    fn lingering(listener: &TcpListener, seconds: i32) -> (TcpStream, TcpStream) {
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        while near.write(&[b'x'; 65536]).is_ok() {}
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: seconds,
        };
        setsockopt(&near, sockopt::Linger, &linger).unwrap();
        near.set_nonblocking(false).unwrap();
        (near, far)
    }

    #[test]
    fn nobody_waits_for_what_lingers_and_it_is_closed_all_the_same() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (near, _far) = lingering(&listener, 1);
        let begun = Instant::now();
        drop(near);
        assert!(
            begun.elapsed() >= Duration::from_millis(900),
            "this socket does not linger: the rest shows nothing"
        );
        let pairs: Vec<_> = (0..3).map(|_| lingering(&listener, 30)).collect();
        let begun = Instant::now();
        let mut peers = Vec::new();
        for (near, far) in pairs {
            release(near.into());
            peers.push(far);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "somebody waited");
        for mut far in peers {
            far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut rest = Vec::new();
            far.read_to_end(&mut rest).unwrap();
            assert!(!rest.is_empty());
        }
    }
}
