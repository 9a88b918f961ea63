//! What a served call still owes the kernel's descriptor table: the thread itself does it, in the shim, by a call that the
//! filter lets pass; where a signal comes first, the tracer sees to it.

use std::sync::Arc;

use zerocopy::IntoBytes;

use super::super::Platform;
use super::super::meter::count;
use super::super::notifier::shows_numbers;
use crate::abi::layout::{Iovec, Msghdr};
use crate::abi::{Errno, Sysno};
use crate::cage::Thread;
use crate::guest::FromArg;
use crate::interpose::Call;
use crate::posix::{Ctx, Install};
use crate::sys::courier::COURIER;
use crate::sys::mailbox::Slot;
use crate::sys::shim::slot;

/// It.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Due {
    /// The call itself.
    Call,
    /// What is at one number is to be at another too.
    Copy { from: i32, to: i32, cloexec: bool },
    /// The courier has a file for this number.
    Receive { to: i32, cloexec: bool },
}

fn number(fd: i32) -> u64 {
    u64::from(fd.cast_unsigned())
}

impl Due {
    /// Writes it to the slot, which lies at `at` in the cage.
    pub(super) fn post(self, posted: &Slot, call: &Call, at: u64) {
        let flag = |cloexec, flag: i32| if cloexec { number(flag) } else { 0 };
        match self {
            Self::Call => {
                let [a, b, c, ..] = call.args;
                let nr = u32::try_from(call.nr).unwrap_or(0);
                posted.owe(nr, [a, b, c], slot::GIVES);
            }
            Self::Copy { from, to, cloexec } => {
                let args = [number(from), number(to), flag(cloexec, libc::O_CLOEXEC)];
                posted.owe(Sysno::dup3 as u32, args, slot::MAKES);
            }
            Self::Receive { cloexec, .. } => {
                let header = Msghdr {
                    iov: at + slot::VECTOR as u64,
                    iovlen: 1,
                    control: at + slot::CONTROL as u64,
                    controllen: 24,
                    ..Msghdr::default()
                };
                let vector = Iovec {
                    base: at + slot::BYTE as u64,
                    len: 1,
                };
                posted.put(slot::MESSAGE, header.as_bytes());
                posted.put(slot::VECTOR, vector.as_bytes());
                posted.put(slot::RECEIVED, &u64::MAX.to_ne_bytes());
                let flags = number(libc::MSG_DONTWAIT) | flag(cloexec, libc::MSG_CMSG_CLOEXEC);
                let args = [number(COURIER), at + slot::MESSAGE as u64, flags];
                posted.owe(Sysno::recvmsg as u32, args, slot::RECEIVES);
            }
        }
    }
}

/// Whether what a call changes in the virtual table is to be done to the kernel's by the call itself.
pub(super) fn is_by_call(call: &Call) -> bool {
    let [_, op, ..] = call.args;
    let is = |sysno: Sysno| call.nr == sysno.id() as u64;
    is(Sysno::close) || is(Sysno::fcntl) && i32::from_arg(op) == libc::F_SETFD
}

/// Whether nobody else can change a thread's descriptor table, and, for a call that `opens`, files can be brought to it and the
/// numbers that the kernel chooses are the table's own: not where somebody was killed while he changed it.
pub(super) fn owns_its_table(thread: &Thread, opens: bool) -> bool {
    let files = thread.files();
    // The thread's own and this one.
    let is_own = Arc::strong_count(&files) == 2;
    let table = files.lock();
    is_own && (!opens || (table.takes_files() && !table.is_shaken()))
}

/// What a call that gave `value` owes, its file sent already where it opened one. `None` where the call must go the kernel's way;
/// then the number is free again.
pub(super) fn bring(
    platform: &Platform,
    cx: &Ctx<'_>,
    value: u64,
    strayed: bool,
) -> Option<Result<Option<Due>, Errno>> {
    let installs = cx.take_installs();
    if installs.is_empty() && cx.source().is_none() {
        return Some(Ok(None));
    }
    let to = i32::try_from(value).ok()?;
    let files = cx.files();
    let take_back = || drop(files.lock().remove(to));
    let is_odd = |install: &Install| install.fd != to || install.controlling;
    if strayed || installs.len() > 1 || installs.iter().any(is_odd) || shows_numbers(cx, &installs)
    {
        take_back();
        return None;
    }
    let Some(install) = installs.first() else {
        let cloexec = files.get(to).is_ok_and(|descriptor| descriptor.cloexec);
        return Some(Ok(cx.source().map(|from| Due::Copy { from, to, cloexec })));
    };
    count(&platform.meter.grants);
    let courier = files.lock().courier().cloned();
    let sent = courier.map_or(Err(Errno::ENFILE), |courier| courier.send(&*install.file));
    if sent.is_err() {
        // It happened: what it made or cut off cannot be done again.
        take_back();
        return Some(Err(Errno::ENFILE));
    }
    let cloexec = install.cloexec;
    Some(Ok(Some(Due::Receive { to, cloexec })))
}
