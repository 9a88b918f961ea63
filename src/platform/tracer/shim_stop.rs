//! A thread that a signal finds in the shim: the cage never sees it there. A call that nobody has taken is as if not
//! made, one that is served is as if returned, and one in hand is waited for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::fast::{Due, Lane, Native, Standing};
use super::super::process_guest::ProcessGuest;
use super::Tracer;
use super::jobs::Job;
use super::script::{After, Script};
use super::tracee::{At, Entry};
use crate::abi::{Errno, Sysno};
use crate::guest::{Guest, UserPtr};
use crate::interpose::{Call, Handled};
use crate::posix::Install;
use crate::sys::closer::Loan;
use crate::sys::ptrace::{Error, Regs, Stopped};
use crate::sys::shim::{self, Place, slot};

/// What becomes of a thread that was found in the shim.
pub(super) enum Left {
    /// It is where its own code is, and gets the signal.
    Out(Stopped),
    /// The signal was the shim's own fault at a pointer of the cage's: the kernel is to say what is wrong with it.
    Swallowed(Stopped),
    /// It stays in its stop until its call is served.
    Waits(Stopped),
    /// Its call was served, but not all of it is done; the signal comes when it is.
    Owes(Stopped, Box<Entry>, Due),
}

/// How a thread leaves.
enum Way {
    /// To the end of this site, with these registers.
    To(u64, Regs),
    /// As from this site, where it made this call, when what is due is done.
    When(u64, Box<Entry>, Due),
    /// Its call is in hand.
    Not,
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
        if let (Standing::Guard(_, 0), true) =
            (standing, number == libc::SIGTRAP && info.is_fault())
        {
            // A step over the jump: the site's own first instruction comes now.
            return Ok(Left::Swallowed(stopped));
        }
        let lane = fast.known(stopped.tid()).and_then(|client| client.lane());
        let (end, left) = match way_out(&regs, standing, lane.as_deref(), is_fault) {
            Way::To(end, left) => (end, left),
            Way::When(end, entry, due) if tracee.space.lock().ends_site(end) => {
                return Ok(Left::Owes(stopped, entry, due));
            }
            Way::When(..) => return Ok(Left::Out(stopped)),
            Way::Not => return Ok(Left::Waits(stopped)),
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

    /// Does what the call of an interrupted thread still owes the kernel's table; its signal is sent again and comes afterwards.
    pub(super) fn pay(&mut self, stopped: Stopped, entry: Entry, due: Due) -> Result<(), Error> {
        let tid = stopped.tid();
        let Some(thread) = self.thread(tid) else {
            return Err(Error::Gone(tid));
        };
        let lane = self
            .platform
            .fast
            .as_ref()
            .and_then(|fast| fast.known(tid)?.lane());
        let Some(lane) = lane else {
            return self.go_on(stopped, 0);
        };
        lane.due.lock().take();
        let (to, cloexec, file) = match due {
            Due::Call => {
                let jobs = vec![Job::own(entry.call.nr, entry.call.args)];
                let script = Script::new(entry, jobs, After::answer(0));
                return self.begin(stopped, Box::new(script));
            }
            Due::Copy { from, to, cloexec } => {
                let process = ProcessGuest::stopped(&thread);
                (to, cloexec, process.borrow_file(from).ok())
            }
            Due::Receive { to, cloexec } => {
                let courier = thread.files().lock().courier().cloned();
                (to, cloexec, courier.and_then(|courier| courier.take_back()))
            }
        };
        let kind = thread
            .files()
            .get(to)
            .map(|descriptor| descriptor.file.kind());
        let (Some(file), Ok(kind)) = (file, kind) else {
            // The cage took it for itself, or closed what was to be copied.
            thread.files().lock().abandon(to);
            let value = -i64::from(Errno::EMFILE.into_raw());
            return self.answer(stopped, entry, Handled::Virtual, value, Vec::new(), None);
        };
        let install = Install {
            fd: to,
            file: Arc::new(file),
            cloexec,
            kind,
            controlling: false,
        };
        self.answer(
            stopped,
            entry,
            Handled::Virtual,
            i64::from(to),
            vec![install],
            None,
        )
    }

    /// The answer to a thread that asks for gs where the shim has set it: there is none, as without a shim.
    pub(super) fn gs_for(&self, regs: &Regs, tid: i32) -> Option<i64> {
        const ARCH_SET_GS: u64 = 0x1001;
        const ARCH_GET_GS: u64 = 0x1004;
        if regs.orig_rax == Sysno::arch_prctl.id() as u64 && regs.rdi == ARCH_SET_GS {
            self.keeps_gs(tid);
        }
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
        if !is_ours && regs.gs_base != 0 {
            self.keeps_gs(tid);
        }
        is_ours.then(|| self.lane_for(&thread).unwrap_or(0))
    }

    /// A thread uses gs for its own ends: it never gets a slot, even where it sets it to zero.
    fn keeps_gs(&self, tid: i32) {
        if let Some(fast) = &self.platform.fast {
            fast.client(tid).settle();
        }
    }
}

/// How a thread leaves the shim from where it stands.
fn way_out(regs: &Regs, standing: Standing, lane: Option<&Lane>, is_fault: bool) -> Way {
    if let Standing::Guard(site, offset) = standing {
        let (end, left) = Native::within(&site, offset, regs);
        return Way::To(end, left);
    }
    if let Some(native) = Native::of(standing, regs) {
        return Way::To(native.end, native.before(regs));
    }
    let Some(lane) = lane else {
        // The shim never goes so far without a slot; this is the end of no site.
        return Way::To(0, *regs);
    };
    let native = Native::saved(lane.slot.return_address(), lane.slot.call());
    let before = Way::To(native.end, native.before(regs));
    match standing {
        Standing::Shim(Place::Paid) => {
            let regs = own_arguments(regs, lane);
            let result = paid(lane, &regs);
            return Way::To(native.end, native.after(&regs, result));
        }
        Standing::Shim(Place::Own) => {
            return Way::To(native.end, native.before(&own_second(regs, lane)));
        }
        Standing::Shim(Place::Made) => {
            return Way::To(native.end, native.after(&own_second(regs, lane), regs.rax));
        }
        Standing::Shim(Place::Posted | Place::Tail) => {}
        _ => return before,
    }
    lane.tracer_waits.store(true, Ordering::SeqCst);
    let is_back = lane.slot.withdraw();
    if !is_back && lane.slot.state() == slot::TAKEN {
        return Way::Not;
    }
    // Whoever took the flag away tells the tracer as well, which finds nothing to do then.
    lane.tracer_waits.store(false, Ordering::SeqCst);
    if is_back || lane.slot.state() != slot::SERVED {
        return before;
    }
    if is_fault {
        return without_bytes(lane, &native, regs);
    }
    let result = lane.slot.result();
    if standing == Standing::Shim(Place::Posted)
        && let Some(due) = *lane.due.lock()
    {
        let args = lane.slot.args();
        let regs = native.after(&own_arguments(regs, lane), result);
        let entry = Entry {
            regs,
            call: Call::new(shim::number(lane.slot.call()), args),
            at: At::Back,
        };
        return Way::When(native.end, Box::new(entry), due);
    }
    let (addr, bytes) = lane.slot.given();
    let process = ProcessGuest::stopped(&lane.thread);
    let memory: &dyn Guest = &process;
    match memory.write_all(addr, &bytes) {
        Ok(()) => Way::To(native.end, native.after(regs, result)),
        Err(_) => without_bytes(lane, &native, regs),
    }
}

/// How a thread leaves that cannot be given the bytes of its call: it makes the call itself, unless what was taken for it is gone.
fn without_bytes(lane: &Lane, native: &Native, regs: &Regs) -> Way {
    let can_be_made = lane.taken.lock().take().is_none_or(|taken| taken.undo());
    let left = if can_be_made {
        native.before(regs)
    } else {
        let fault = -i64::from(Errno::EFAULT.into_raw());
        native.after(regs, fault.cast_unsigned())
    };
    Way::To(native.end, left)
}

/// The registers with the second argument that the thread's own call had.
fn own_second(regs: &Regs, lane: &Lane) -> Regs {
    let [_, rsi, ..] = lane.slot.args();
    Regs { rsi, ..*regs }
}

/// The registers with the arguments that the thread's own call had.
fn own_arguments(regs: &Regs, lane: &Lane) -> Regs {
    let [rdi, rsi, rdx, _, r8, r9] = lane.slot.args();
    Regs {
        rdi,
        rsi,
        rdx,
        r8,
        r9,
        ..*regs
    }
}

/// The result of a call that has done what it owed.
fn paid(lane: &Lane, regs: &Regs) -> u64 {
    let due = *lane.due.lock();
    let to = match due {
        // rax still has what the kernel said.
        None | Some(Due::Call) => return regs.rax,
        Some(Due::Copy { to, .. } | Due::Receive { to, .. }) => to,
    };
    let process = ProcessGuest::stopped(&lane.thread);
    if process.borrow_file(to).map(Loan::from).is_ok() {
        return u64::from(to.cast_unsigned());
    }
    lane.lose();
    (-i64::from(Errno::EMFILE.into_raw())).cast_unsigned()
}
