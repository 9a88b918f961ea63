//! A thread that a signal finds in the shim: the cage never sees it there. A call that nobody has taken is as if not
//! made, one that is served is as if returned, and one in hand is waited for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::fast::{Lane, Native, Standing};
use super::super::process_guest::ProcessGuest;
use super::Tracer;
use crate::abi::Sysno;
use crate::guest::{Guest, UserPtr};
use crate::sys::ptrace::{Error, Regs, Stopped};
use crate::sys::shim::{Place, slot};

/// What becomes of a thread that was found in the shim.
pub(super) enum Left {
    /// It is where its own code is, and gets the signal.
    Out(Stopped),
    /// The signal was the shim's own fault at a pointer of the cage's: the kernel is to say what is wrong with it.
    Swallowed(Stopped),
    /// It stays in its stop until its call is served.
    Waits(Stopped),
}

impl Tracer {
    /// Brings a thread that stopped for a signal out of the shim, where it is there.
    pub(super) fn leave_shim(&self, stopped: Stopped, number: i32) -> Result<Left, Error> {
        let (Some(fast), Some(tracee)) = (&self.platform.fast, self.tracees.get(&stopped.tid()))
        else {
            return Ok(Left::Out(stopped));
        };
        if !tracee.space.lock().is_touched() {
            return Ok(Left::Out(stopped));
        }
        let regs = stopped.regs()?;
        let Some(standing) = tracee.space.lock().standing(regs.rip) else {
            return Ok(Left::Out(stopped));
        };
        let mut info = stopped.signal_info()?;
        let is_fault = matches!(number, libc::SIGSEGV | libc::SIGBUS) && info.is_fault();
        let lane = fast.known(stopped.tid()).and_then(|client| client.lane());
        let Some((end, left)) = way_out(&regs, standing, lane.as_deref(), is_fault) else {
            return Ok(Left::Waits(stopped));
        };
        if !tracee.space.lock().ends_site(end) {
            // What the slot says of the call is not what the shim would have written.
            return Ok(Left::Out(stopped));
        }
        stopped.set_regs(&left)?;
        if number == libc::SIGTRAP && info.is_fault() {
            // A step over the patch: it ended where the one over what stood there would have.
            info.set_address(left.rip);
            stopped.set_signal_info(&info)?;
        }
        Ok(if is_fault {
            Left::Swallowed(stopped)
        } else {
            Left::Out(stopped)
        })
    }

    /// The answer to a thread that asks for gs where the shim has set it: there is none, as without a shim.
    pub(super) fn gs_for(&self, regs: &Regs, tid: i32) -> Option<i64> {
        const ARCH_GET_GS: u64 = 0x1004;
        if regs.orig_rax != Sysno::arch_prctl.id() as u64 || regs.rdi != ARCH_GET_GS {
            return None;
        }
        let tracee = self.tracees.get(&tid)?;
        if !tracee.space.lock().is_in_mailbox(regs.gs_base) {
            return None;
        }
        let process = ProcessGuest::stopped(&tracee.thread);
        let memory: &dyn Guest = &process;
        Some(match memory.put(UserPtr::new(regs.rsi), &0_u64) {
            Ok(()) => 0,
            Err(errno) => -i64::from(errno.into_raw()),
        })
    }

    /// The call that a stopped thread waits for is served: its signal goes on.
    pub(super) fn on_served(&mut self, tid: i32) -> Result<(), Error> {
        let waiting = self
            .tracees
            .get_mut(&tid)
            .and_then(|tracee| tracee.awaiting.take());
        match waiting {
            Some((stopped, number)) => self.on_signal(stopped, number),
            None => Ok(()),
        }
    }

    /// A new thread begins with its maker's gs: gets a slot of its own, or none.
    pub(super) fn newborn_gs(&self, regs: &Regs, tid: i32) -> Option<u64> {
        let tracee = self.tracees.get(&tid)?;
        let thread = Arc::clone(&tracee.thread);
        let is_ours = tracee.space.lock().is_in_mailbox(regs.gs_base);
        is_ours.then(|| self.lane_for(&thread).unwrap_or(0))
    }
}

/// The end of the site that a thread leaves to, and the registers that it leaves with; `None` while its call is in hand.
fn way_out(
    regs: &Regs,
    standing: Standing,
    lane: Option<&Lane>,
    is_fault: bool,
) -> Option<(u64, Regs)> {
    if let Some(native) = Native::of(standing, regs) {
        return Some((native.end, native.before(regs)));
    }
    let Some(lane) = lane else {
        // The shim never goes so far without a slot; this is the end of no site.
        return Some((0, *regs));
    };
    let native = Native::saved(lane.slot.return_address(), lane.slot.call());
    let before = Some((native.end, native.before(regs)));
    if !matches!(standing, Standing::Shim(Place::Posted | Place::Tail)) {
        return before;
    }
    lane.tracer_waits.store(true, Ordering::SeqCst);
    let is_back = lane.slot.withdraw();
    if !is_back && lane.slot.state() == slot::TAKEN {
        return None;
    }
    // Whoever took the flag away tells the tracer as well, which finds nothing to do then.
    lane.tracer_waits.store(false, Ordering::SeqCst);
    if is_back || is_fault || lane.slot.state() != slot::SERVED {
        return before;
    }
    let (addr, bytes) = lane.slot.given();
    let process = ProcessGuest::stopped(&lane.thread);
    let memory: &dyn Guest = &process;
    match memory.write_all(addr, &bytes) {
        Ok(()) => Some((native.end, native.after(regs, lane.slot.result()))),
        Err(_) => before,
    }
}
