//! What a served call still owes the kernel's descriptor table: the thread itself does it, in the shim, by a call that the
//! filter lets pass; where a signal comes first, the tracer sees to it.

use zerocopy::IntoBytes;

use crate::abi::Sysno;
use crate::abi::layout::{Iovec, Msghdr};
use crate::interpose::Call;
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
