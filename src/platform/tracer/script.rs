//! A script: jobs done in a stopped thread by calls of the tracer's, then the answer or the call that they prepare.
//! The cage's signals wait meanwhile, and nothing is decided about the calls.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;

use super::super::meter::count;
use super::super::process_guest::ProcessGuest;
use super::Tracer;
use super::jobs::{Bench, Job, Step};
use super::promote::Promotion;
use super::tracee::{Asked, At, Entry, Phase};
use crate::abi::Errno;
use crate::cage::{Freeze, Owed, Thread};
use crate::interpose::Handled;
use crate::posix::{Forward, Role};
use crate::sys::limits::MoreNumbers;
use crate::sys::ptrace::{self, Error, Resume, Stopped};
use crate::sys::signal;

/// How many descriptors a job has about at a time.
const JOB_NUMBERS: u64 = 3;

/// What a script leads to.
pub(super) enum After {
    /// The call's answer; the numbers that go with it are taken back where the script fails or is never done.
    Answer {
        handled: Handled,
        value: i64,
        owed: Option<Owed>,
    },
    /// The thread's call again, with the fast path's means in its address space.
    Promote(Box<Promotion>),
    /// The thread's call again.
    Again,
    /// The call that was prepared.
    Run {
        forward: Forward,
        freeze: Option<Freeze>,
    },
}

impl After {
    pub(super) fn answer(value: i64) -> Self {
        Self::Answer {
            handled: Handled::Virtual,
            value,
            owed: None,
        }
    }
}

impl Debug for After {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer { value, .. } => write!(f, "Answer({value})"),
            Self::Promote(_) => write!(f, "Promote"),
            Self::Again => write!(f, "Again"),
            Self::Run { forward, .. } => write!(f, "Run({forward:?})"),
        }
    }
}

/// A script under way.
#[derive(Debug)]
pub(super) struct Script {
    entry: Entry,
    jobs: VecDeque<Job>,
    after: After,
    mask: Option<u64>,
    /// The thread goes back to its instruction: the next edge is the beginning of this call.
    entering: Option<Asked>,
    still: Option<Freeze>,
    lent: Option<i32>,
    numbers: Option<MoreNumbers>,
}

impl Script {
    pub(super) fn new(entry: Entry, jobs: Vec<Job>, after: After) -> Self {
        Self {
            entry,
            jobs: jobs.into(),
            after,
            mask: None,
            entering: None,
            still: None,
            lent: None,
            numbers: None,
        }
    }
}

impl Tracer {
    /// The jobs that a forwarded call needs first.
    pub(super) fn jobs_for(&self, tid: i32, forward: &Forward) -> Vec<Job> {
        let mut jobs = vec![Job::map_writable()];
        if forward.lent.iter().any(|lent| !lent.writable) {
            jobs.push(Job::map_read_only());
        }
        if let Some(cwd) = &forward.at_cwd
            && let Some(path) = self.host_path(cwd)
        {
            jobs.push(Job::chdir(path));
            if let Some(thread) = self.thread(tid) {
                thread.fs().set_kernel_cwd(cwd);
            }
        }
        if let Some(file) = &forward.lent_file
            && let Ok(copy) = file.try_clone()
        {
            jobs.push(Job::lend(copy));
        }
        jobs
    }

    fn host_path(&self, cwd: &crate::cage::OpenFile) -> Option<Vec<u8>> {
        use std::os::fd::AsRawFd;
        use std::os::unix::ffi::OsStringExt;
        let name = format!("self/fd/{}", cwd.host()?.as_raw_fd());
        nix::fcntl::readlinkat(&self.platform.dispatcher.kernel.host_proc, name.as_str())
            .ok()
            .map(OsStringExt::into_vec)
    }

    /// Begins a script, or waits until the table can be held still.
    pub(super) fn begin(&mut self, stopped: Stopped, mut script: Box<Script>) -> Result<(), Error> {
        let tid = stopped.tid();
        let Some(thread) = self.thread(tid) else {
            return Err(Error::Gone(tid));
        };
        let held = matches!(
            &script.after,
            After::Run {
                freeze: Some(_),
                ..
            }
        );
        let copies = matches!(
            &script.after,
            After::Run { forward, freeze: None } if forward.role == Role::Copy
        );
        if copies || (!held && script.jobs.iter().any(Job::needs_still_table)) {
            let files = thread.files();
            match files.freeze() {
                Ok(still) => match &mut script.after {
                    After::Run { freeze, .. } if copies => *freeze = Some(still),
                    _ => script.still = Some(still),
                },
                Err(_) => {
                    let want = files.want_freeze();
                    self.set_phase(tid, Phase::Waiting(script, stopped, want));
                    files.when_quiet(self.retry_later(tid));
                    return Ok(());
                }
            }
        }
        if script.jobs.iter().any(Job::needs_still_table) {
            script.numbers = MoreNumbers::lend(thread.cage.tgid.0, JOB_NUMBERS);
        }
        script.mask = Some(stopped.signal_mask()?);
        stopped.set_signal_mask(u64::MAX)?;
        thread.set_injected(true);
        self.step(stopped, script, 0)
    }

    pub(super) fn on_script_edge(&mut self, stopped: Stopped) -> Result<(), Error> {
        let tid = stopped.tid();
        let Some(tracee) = self.tracees.get_mut(&tid) else {
            return Err(Error::Gone(tid));
        };
        let Phase::Script(mut script) = std::mem::replace(&mut tracee.phase, Phase::Running) else {
            return stopped.resume(Resume::Run, 0);
        };
        if let Some(asked) = script.entering.take() {
            if !asked.is_made_by(&stopped.regs()?) {
                Self::diverted(tid);
                return Ok(());
            }
            tracee.phase = Phase::Script(script);
            return stopped.resume(Resume::ToCallEdge, 0);
        }
        let result = stopped.regs()?.rax.cast_signed();
        script.entry.at = At::Exit;
        self.step(stopped, script, result)
    }

    fn step(
        &mut self,
        stopped: Stopped,
        mut script: Box<Script>,
        mut result: i64,
    ) -> Result<(), Error> {
        let tid = stopped.tid();
        let Some(tracee) = self.tracees.get(&tid) else {
            return Err(Error::Gone(tid));
        };
        let (thread, arenas) = (Arc::clone(&tracee.thread), Arc::clone(&tracee.arenas));
        let platform = Arc::clone(&self.platform);
        let guest = ProcessGuest::stopped(&thread);
        let bench = Bench {
            guest: &guest,
            arenas: &arenas,
            host_proc: &platform.dispatcher.kernel.host_proc,
            tid,
        };
        while let Some(job) = script.jobs.front_mut() {
            match job.step(&bench, result) {
                Ok(Step::Call(nr, args)) => {
                    count(&platform.meter.injected);
                    stopped.set_regs(&script.entry.with_call(nr, args))?;
                    script.entering =
                        (script.entry.at != At::Entry).then(|| Asked::new(&script.entry, nr, args));
                    self.set_phase(tid, Phase::Script(script));
                    return stopped.resume(Resume::ToCallEdge, 0);
                }
                Ok(Step::Done(lent)) => {
                    if let Some(number) = lent {
                        // Nobody else gets this number until it is closed: the call names the file by it.
                        thread.files().lock().mark_closing(number, thread.tid);
                        script.lent = Some(number);
                    }
                    if let Some(number) = job.closes() {
                        thread.files().lock().closed(number);
                    }
                    if let After::Promote(promotion) = &mut script.after {
                        promotion.mapped &= !job.has_failed();
                        promotion.is_refused |= job.is_refused();
                        promotion.courier = promotion.courier.take().or(job.take_courier());
                    }
                    if job.is_grant() {
                        count(&platform.meter.grants);
                    }
                    script.jobs.pop_front();
                    result = 0;
                }
                Ok(Step::Copied(copy)) => {
                    result = match &mut script.after {
                        After::Promote(promotion) => self.patch_copy(&stopped, promotion, copy)?,
                        _ => -i64::from(Errno::EINVAL.into_raw()),
                    };
                }
                Err(Errno::EPERM) => {
                    tracing::warn!(
                        tid,
                        "a cage changed what was being prepared for it; it is killed"
                    );
                    signal::kill_thread(tid);
                    return Ok(());
                }
                Err(errno) => {
                    script.jobs.clear();
                    match &mut script.after {
                        After::Promote(promotion) => promotion.mapped = false,
                        after => *after = After::answer(-i64::from(errno.into_raw())),
                    }
                }
            }
        }
        let owes_stop = self
            .tracees
            .get_mut(&tid)
            .is_some_and(|tracee| std::mem::take(&mut tracee.owes_stop));
        self.conclude(stopped, *script, &bench, &thread)?;
        if owes_stop {
            // In a process that is stopped it is the stop that was passed over, in any other none.
            let _ = ptrace::interrupt(tid);
        }
        Ok(())
    }

    fn conclude(
        &mut self,
        stopped: Stopped,
        script: Script,
        bench: &Bench<'_>,
        thread: &Arc<Thread>,
    ) -> Result<(), Error> {
        let Script {
            entry,
            after,
            mask,
            still,
            lent,
            numbers,
            ..
        } = script;
        drop((still, numbers));
        let failed = match after {
            After::Run {
                mut forward,
                freeze,
            } => {
                let mut slots = Vec::new();
                match place_lent(&mut forward, lent, bench, &mut slots) {
                    Ok(()) => {
                        return self.run(stopped, entry, forward, freeze, None, mask, slots, lent);
                    }
                    Err(errno) => {
                        debug_assert!(forward.role != Role::Plain || freeze.is_none());
                        (Handled::Virtual, -i64::from(errno.into_raw()))
                    }
                }
            }
            After::Promote(promotion) => return self.promoted(stopped, entry, *promotion, mask),
            After::Again => return self.again(stopped, &entry, mask, None),
            After::Answer {
                handled,
                value,
                owed,
            } => {
                owed.into_iter().for_each(Owed::paid);
                (handled, value)
            }
        };
        let (handled, value) = failed;
        thread.set_injected(false);
        let value = self.finish(thread, &entry.call, handled, value);
        stopped.set_regs(&entry.with_result(value))?;
        if let Some(mask) = mask {
            stopped.set_signal_mask(mask)?;
        }
        self.set_phase(stopped.tid(), Phase::Running);
        stopped.resume(Resume::Run, 0)
    }
}

/// Puts the lent bytes where the kernel will read them, and points the arguments at them.
fn place_lent(
    forward: &mut Forward,
    lent_file: Option<i32>,
    bench: &Bench<'_>,
    slots: &mut Vec<super::arena::Slot>,
) -> Result<(), Errno> {
    for lent in &mut forward.lent {
        if let (Some(at), Some(number)) = (lent.path_at, lent_file) {
            let name = format!("/proc/self/fd/{number}\0");
            let room = lent
                .bytes
                .get_mut(at..at + name.len())
                .ok_or(Errno::ENAMETOOLONG)?;
            room.copy_from_slice(name.as_bytes());
        }
        let slot = bench
            .arenas
            .lock()
            .take(lent.writable, lent.bytes.len())
            .ok_or(Errno::EMSGSIZE)?;
        for &at in &lent.relocations {
            let pointer = lent.bytes.get_mut(at..at + 8).ok_or(Errno::EINVAL)?;
            let mut offset = [0; 8];
            offset.copy_from_slice(pointer);
            let addr = slot.addr.wrapping_add(u64::from_ne_bytes(offset));
            pointer.copy_from_slice(&addr.to_ne_bytes());
        }
        slot.fill(bench.guest, &lent.bytes)?;
        *forward.args.get_mut(lent.arg).ok_or(Errno::EINVAL)? = slot.addr;
        slots.push(slot);
    }
    Ok(())
}
