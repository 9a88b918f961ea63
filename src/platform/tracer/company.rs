//! The fast path of a process with several threads: all of them go on while one of them prepares it (`jobs/exchange.rs`),
//! and each gets a slot when its own calls come often.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::fast::Fast;
use super::super::meter::count;
use super::Tracer;
use super::promote::Promotion;
use super::tracee::Tracee;
use crate::abi::Errno;
use crate::sys::procfs::{self, Mapping};
use crate::sys::ptrace::{Error, Regs, Stopped};
use crate::sys::{memory, privilege};

/// What the job goes on with where the text is to stay as it is.
const REFUSED: i64 = -1;

impl Tracer {
    /// Gives a thread of an address space that is patched where its call came from all that it lacks: a slot. Whether it
    /// was one.
    pub(super) fn joins(
        &self,
        fast: &Fast,
        stopped: &Stopped,
        regs: &mut Regs,
    ) -> Result<bool, Error> {
        let tid = stopped.tid();
        let Some(tracee) = self.tracees.get(&tid) else {
            return Ok(false);
        };
        let client = fast.client(tid);
        let joins = regs.gs_base == 0
            && client.lane().is_none()
            && tracee.space.lock().is_patched_at(regs.rip);
        if !joins {
            return Ok(false);
        }
        match self.lane_for(&tracee.thread) {
            Some(slot) => {
                regs.gs_base = slot;
                stopped.set_regs(regs)?;
            }
            None => {
                client.settle();
                count(&self.platform.meter.declined);
            }
        }
        Ok(true)
    }

    /// The threads that run in a thread's address space, and itself.
    fn sharers<'a>(&'a self, tracee: &'a Tracee) -> impl Iterator<Item = &'a Tracee> {
        let shares = |other: &&Tracee| Arc::ptr_eq(&other.space, &tracee.space);
        self.tracees.values().filter(shares)
    }

    /// Whether a thread runs in its memory alone.
    pub(super) fn is_alone(&self, tracee: &Tracee) -> bool {
        self.sharers(tracee).count() == 1
    }

    /// Whether a script in one thread can keep all others that run in its memory from copying it or letting more in: they
    /// are of one process, and have one table, which the script holds still.
    pub(super) fn may_exchange(&self, tracee: &Tracee) -> bool {
        let files = tracee.thread.files();
        tracee.space.lock().is_one_process()
            && self
                .sharers(tracee)
                .all(|other| Arc::ptr_eq(&other.thread.files(), &files))
    }

    /// Patches the copy of a text, where the text is just as its file has it, and takes note of all that a thread will find
    /// there as soon as the copy is moved. Gives what the job goes on with.
    pub(super) fn patch_copy(
        &self,
        stopped: &Stopped,
        promotion: &mut Promotion,
        copy: u64,
    ) -> Result<i64, Error> {
        let tid = stopped.tid();
        let Some(tracee) = self.tracees.get(&tid) else {
            return Err(Error::Gone(tid));
        };
        let (Some(text), Some(near)) = (promotion.text.take(), promotion.near.take()) else {
            return Ok(REFUSED);
        };
        if !promotion.mapped || !self.may_exchange(tracee) {
            return Ok(REFUSED);
        }
        for (site, patch) in near.patches() {
            let addr = copy.wrapping_add(site.addr.wrapping_sub(text.range.0));
            let mut code = vec![0; site.code().len()];
            let mut word = [0; 8];
            if memory::read(tid, addr, &mut code) != Ok(code.len())
                || code != site.code()
                || memory::read(tid, addr, &mut word) != Ok(word.len())
            {
                continue;
            }
            let [a, b, c, d, e, ..] = &mut word;
            for (byte, new) in [a, b, c, d, e].into_iter().zip(patch) {
                *byte = new;
            }
            match stopped.poke(addr, word) {
                Ok(()) => promotion.patched += 1,
                Err(Error::Host { .. }) => return Ok(REFUSED),
                Err(gone) => return Err(gone),
            }
        }
        // Last of all: what the cage itself writes there from now on would be lost.
        if !self.is_as_its_file(tid, &text, copy) {
            tracing::debug!(tid, ?text, "a text that other threads run is not exchanged");
            // Nor will it be: it is not looked at again.
            tracee.space.lock().settle(&text, None);
            return Ok(REFUSED);
        }
        let mut space = tracee.space.lock();
        if let Some((at, mailbox)) = promotion.mailbox.take() {
            space.set_mailbox(at, mailbox);
        }
        space.settle(&text, Some(near));
        Ok(0)
    }

    /// At the end of its script: whether a promotion is all that it was to be. Where a process that nobody held back may
    /// have come by the mailbox, it has none.
    pub(super) fn is_still_whole(&self, promotion: &mut Promotion, tid: i32) -> bool {
        let meter = &self.platform.meter;
        let holds = |tracee: &Tracee| self.is_alone(tracee) || self.may_exchange(tracee);
        if !self.tracees.get(&tid).is_some_and(holds) {
            promotion.mailbox = None;
            promotion.is_refused = true;
        }
        if promotion.is_refused {
            // Nor is anything changed in place, which others may run.
            (promotion.text, promotion.near) = (None, None);
            count(&meter.declined);
            return false;
        }
        meter
            .patched
            .fetch_add(promotion.patched, Ordering::Relaxed);
        true
    }

    /// Whether a text stands in memory as in its file, and the copy is such a mapping of the same.
    fn is_as_its_file(&self, tid: i32, text: &Mapping, copy: u64) -> bool {
        let host_proc = self.platform.dispatcher.kernel.host_proc.as_fd();
        let look = || {
            let status = procfs::read(host_proc, &format!("{tid}/status"))?;
            let locked = String::from_utf8_lossy(&status)
                .lines()
                .find_map(|line| line.strip_prefix("VmLck:"))
                .is_none_or(|locked| locked.split_whitespace().next() != Some("0"));
            let of_copy = procfs::mapping_at(host_proc, tid, copy)?;
            let of_text = procfs::mapping_at(host_proc, tid, text.range.0)?;
            let wanted = Mapping {
                range: (copy, copy.wrapping_add(text.range.1 - text.range.0)),
                ..text.clone()
            };
            Ok::<_, Errno>(
                !locked
                    && of_copy.as_ref() == Some(&wanted)
                    && of_text.as_ref() == Some(text)
                    && procfs::is_unwritten(host_proc, tid, text.range)?,
            )
        };
        look()
            .or_else(|_| privilege::with_ptrace(look))
            .unwrap_or(false)
    }
}
