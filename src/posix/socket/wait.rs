//! A native poll in the place of a call that waits on a socket: the cage waits, the supervisor then does the work.
//! The call's own rules for time-outs and signals are kept here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zerocopy::IntoBytes;

use super::lookup;
use crate::abi::layout::Pollfd;
use crate::abi::{Errno, Sysno};
use crate::cage::OpenFile;
use crate::guest::Fd;
use crate::posix::{Ctx, Forward, Lent, Outcome, SysResult};

/// The kernel's `ERESTARTSYS`: run the call again where the signal has no handler or one with `SA_RESTART`, else `EINTR`.
const ERESTARTSYS: i32 = 512;
/// After so many wake-ups for nothing in a row the cage pauses between them.
const EAGER: u32 = 8;

/// A call that waits on a socket.
pub(super) struct Wait {
    fd: Fd,
    file: Arc<OpenFile>,
    events: i16,
    /// `SO_RCVTIMEO` at the call's begin.
    patience: Option<Duration>,
    deadline: Option<Instant>,
    in_vain: u32,
}

/// Sends the cage to a short sleep: its descriptor table is just being copied by the kernel.
pub(super) fn pause(
    done: u64,
    again: impl FnOnce(&Ctx<'_>) -> SysResult + Send + 'static,
) -> SysResult {
    Forward::new(Sysno::poll, [0, 0, 1, 0, 0, 0])
        .then(move |cx, result| match (result, done) {
            (0.., _) => again(cx),
            (_, 0) => Err(Errno::new(ERESTARTSYS)),
            (_, done) => Outcome::value(done),
        })
        .into()
}

impl Wait {
    /// A call that waits for `events` on `fd`, for at most `patience`.
    pub(super) fn new(
        fd: Fd,
        file: Arc<OpenFile>,
        events: i16,
        patience: Option<Duration>,
    ) -> Self {
        let mut wait = Self {
            fd,
            file,
            events,
            patience,
            deadline: None,
            in_vain: 0,
        };
        wait.begin();
        wait
    }

    /// Counts the time-out anew and forgets wake-ups for nothing: something came.
    pub(super) fn begin(&mut self) {
        self.deadline = self
            .patience
            .and_then(|patience| Instant::now().checked_add(patience));
        self.in_vain = 0;
    }

    /// Sends the cage into poll and goes on with `again` when the socket is ready. Where time runs out or a signal comes the
    /// call ends with `done`, or where that is zero with `EAGAIN`, `EINTR` or a restart.
    pub(super) fn forward(
        mut self,
        done: u64,
        again: impl FnOnce(&Ctx<'_>, Self) -> SysResult + Send + 'static,
    ) -> SysResult {
        let ended = move |errno: Errno| match done {
            0 => Err(errno),
            done => Outcome::value(done),
        };
        let left = match self.deadline {
            None => None,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return ended(Errno::EAGAIN);
                }
                Some(left)
            }
        };
        let mut milliseconds = left.map_or(-1, |left| {
            i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        self.in_vain = self.in_vain.saturating_add(1);
        // Something that poll reports and the call does not take (an error queue, a faster thread) must not spin.
        let pause = self.in_vain > EAGER && self.in_vain.is_multiple_of(2);
        let mut count = 1;
        if pause {
            milliseconds = 4;
            count = 0;
        }
        let entry = Pollfd {
            fd: self.fd.0,
            events: self.events,
            revents: 0,
        };
        let args = [0, count, u64::from(milliseconds.cast_unsigned()), 0, 0, 0];
        Forward::new(Sysno::poll, args)
            .lend(Lent {
                arg: 0,
                bytes: entry.as_bytes().to_vec(),
                writable: true,
                ..Lent::default()
            })
            .then(move |cx, result| {
                if result < 0 {
                    return ended(if self.patience.is_some() {
                        Errno::EINTR
                    } else {
                        Errno::new(ERESTARTSYS)
                    });
                }
                if result == 0 && !pause && self.expired() {
                    return ended(Errno::EAGAIN);
                }
                // Another thread may have put another file at this number.
                match lookup(cx, self.fd) {
                    Ok(file) if Arc::ptr_eq(&file, &self.file) => again(cx, self),
                    _ => ended(Errno::EBADF),
                }
            })
            .into()
    }

    fn expired(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }
}
