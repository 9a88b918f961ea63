//! The job that maps the fast path's means in an address space.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::super::super::fast::NEAR;
use super::{Bench, Job, Place, RECEIVED, Step, Work, check, nr, number};
use crate::abi::{Errno, Sysno};
use crate::sys::courier::{COURIER, Courier};
use crate::sys::shim::MAILBOX;

impl Job {
    /// Maps the fast path's code, which is at the beginning of this file, and the mailbox behind it; a fork's child has
    /// the code, but not the mailbox. The socket that the file comes by stays as a courier, where one is wanted.
    pub(in super::super) fn map_fast(
        file: OwnedFd,
        near_at: Option<u64>,
        mailbox_at: Option<u64>,
        keeps_courier: bool,
    ) -> Self {
        let map = |at, len, prot: i32, flags: i32, offset| {
            let flags = flags | libc::MAP_FIXED_NOREPLACE;
            (Sysno::mmap, [at, len, prot as u64, flags as u64, 0, offset])
        };
        let near = near_at.map(|at| {
            let prot = libc::PROT_READ | libc::PROT_EXEC;
            map(at, NEAR, prot, libc::MAP_PRIVATE, 0)
        });
        let mailbox = mailbox_at.map(|at| {
            let (len, prot) = (MAILBOX as u64, libc::PROT_READ | libc::PROT_WRITE);
            [
                map(at, len, prot, libc::MAP_SHARED, NEAR),
                (
                    Sysno::madvise,
                    [at, len, libc::MADV_DONTFORK as u64, 0, 0, 0],
                ),
            ]
        });
        Self::new(Work::MapFast {
            file: Arc::new(file),
            calls: near
                .into_iter()
                .chain(mailbox.into_iter().flatten())
                .collect(),
            failed: false,
            keeps_courier,
        })
    }

    /// The courier that it left in the cage.
    pub(in super::super) fn take_courier(&mut self) -> Option<Courier> {
        self.courier.take()
    }

    pub(super) fn keeps_courier(&self) -> bool {
        matches!(
            self.work,
            Work::MapFast {
                keeps_courier: true,
                ..
            }
        )
    }

    /// Whether it could not do all that it was to do.
    pub(in super::super) fn has_failed(&self) -> bool {
        matches!(self.work, Work::MapFast { failed: true, .. })
    }

    /// Its next step.
    pub(super) fn map_fast_step(
        &mut self,
        bench: &Bench<'_>,
        stage: u8,
        result: i64,
    ) -> Result<Step, Errno> {
        const CLOSED: u8 = u8::MAX - 1;
        let received = self.received;
        if stage == RECEIVED - 1 && check(result) != Ok(number(COURIER)) {
            // Another number than its own is of no use.
            self.courier = None;
        }
        let Work::MapFast {
            file,
            calls,
            failed,
            ..
        } = &mut self.work
        else {
            return Ok(Step::Done(None));
        };
        if stage < RECEIVED {
            let file = Arc::clone(file);
            let step = self.receive_step(bench, stage, result, &file, Place::Anywhere)?;
            return match step {
                Step::Done(_) => self.map_fast_step(bench, RECEIVED, 0),
                call => Ok(call),
            };
        }
        if stage == CLOSED {
            return Ok(Step::Done(None));
        }
        if result < 0 {
            tracing::debug!(result, ?calls, "the fast path cannot be mapped");
            *failed = true;
        }
        let Some((sysno, mut args)) = calls.pop_front().filter(|_| !*failed) else {
            self.stage = CLOSED;
            return Ok(Step::Call(
                nr(Sysno::close),
                [number(received), 0, 0, 0, 0, 0],
            ));
        };
        if sysno == Sysno::mmap {
            args[4] = number(received);
        }
        Ok(Step::Call(nr(sysno), args))
    }
}
