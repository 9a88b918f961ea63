//! Calls at a stop: asked of the dispatcher, answered, forwarded, looked at when they end.

use std::sync::Arc;

use super::super::process_guest::ProcessGuest;
use super::super::{HELLO, Promise, ToTracer, all_addable};
use super::Tracer;
use super::jobs::Job;
use super::script::{After, Script};
use super::tracee::{Asked, At, Entry, Forwarded, Phase, args};
use crate::abi::Errno;
use crate::cage::{Change, Files, Freeze, Owed, Thread, Waker};
use crate::dispatch::Answer;
use crate::interpose::{Call, Handled};
use crate::posix::{Ctx, Forward, Install, Outcome, Role, SysResult};
use crate::sys::ptrace::{Error, Resume, Stopped};
use crate::sys::seccomp::FOREIGN;
use crate::sys::signal;

fn is_restart(value: i64) -> bool {
    (-516..=-512).contains(&value)
}

impl Tracer {
    pub(super) fn on_seccomp(&mut self, stopped: Stopped, data: u16) -> Result<(), Error> {
        let tid = stopped.tid();
        let regs = stopped.regs()?;
        let Some(tracee) = self.tracees.get_mut(&tid) else {
            // A call from an unknown cage: refused, and its thread ends.
            signal::kill_thread(tid);
            return Ok(());
        };
        match &tracee.phase {
            Phase::Script(_) | Phase::Forwarded(_) | Phase::Promised { .. } if data == FOREIGN => {
                Self::diverted(tid);
                return Ok(());
            }
            Phase::Script(_) | Phase::Forwarded(_) | Phase::Promised { .. } => {
                return self.go_on(stopped, 0);
            }
            Phase::Launching if data != FOREIGN && regs.orig_rax == u64::from(HELLO) => {
                return self.on_hello(stopped, i32::try_from(regs.rdi).unwrap_or(-1));
            }
            _ => {}
        }
        tracee.restartable = false;
        tracee.thread.settle();
        // The kernel, and so the filter, looks at the lower half of the number alone.
        let call = Call::new(regs.orig_rax & 0xffff_ffff, args(&regs));
        let entry = Entry {
            regs,
            call,
            at: At::Entry,
        };
        if data == FOREIGN {
            self.platform.dispatcher.note_unknown(call.nr);
            stopped.set_regs(&entry.with_result(-i64::from(Errno::ENOSYS.into_raw())))?;
            return stopped.resume(Resume::Run, 0);
        }
        self.maybe_check(tid);
        if let Some(value) = self.gs_for(&regs, tid) {
            return self.answer(stopped, entry, Handled::Virtual, value, Vec::new(), None);
        }
        if let Some(fast) = &self.platform.fast
            && let Some(tracee) = self.tracees.get_mut(&tid)
        {
            // Where another site made it nobody who looks at the lane would have seen it.
            if tracee.space.lock().ends_site(regs.rip) {
                tracee.heats = fast.misses(&self.platform.meter, tid, call.nr);
            }
            if fast.arrives(tid, call.nr) {
                return self.look(stopped, entry);
            }
        }
        self.ask(stopped, entry)
    }

    /// Asks the dispatcher and carries its answer out.
    pub(super) fn ask(&mut self, stopped: Stopped, entry: Entry) -> Result<(), Error> {
        let platform = Arc::clone(&self.platform);
        let Some(thread) = self.thread(stopped.tid()) else {
            return Err(Error::Gone(stopped.tid()));
        };
        let guest = ProcessGuest::stopped(&thread);
        let cx = Ctx::new(
            &platform.dispatcher.kernel,
            &thread,
            &guest,
            entry.call.nr,
            entry.call.args,
        );
        match platform.dispatcher.dispatch(&cx, &entry.call) {
            Answer::Now(result, change) => self.carry_out(stopped, entry, &cx, result, change),
            Answer::Wait(files) => {
                let tid = stopped.tid();
                self.set_phase(tid, Phase::Parked(entry, stopped, None));
                files.when_free(self.retry_later(tid));
                Ok(())
            }
        }
    }

    /// Looks at this stopped thread again, when its table allows it.
    pub(super) fn retry_later(&self, tid: i32) -> Waker {
        let platform = Arc::clone(&self.platform);
        Box::new(move || platform.ask_tracer(ToTracer::Retry(tid)))
    }

    /// A table is free again.
    pub(super) fn retry(&mut self, tid: i32) -> Result<(), Error> {
        let Some(tracee) = self.tracees.get_mut(&tid) else {
            return Ok(());
        };
        match std::mem::replace(&mut tracee.phase, Phase::Running) {
            // What is wanted stays so until it is had.
            Phase::Parked(entry, stopped, _want) => self.ask(stopped, entry),
            Phase::Waiting(script, stopped, _want) => self.begin(stopped, script),
            other => {
                tracee.phase = other;
                Ok(())
            }
        }
    }

    fn carry_out(
        &mut self,
        stopped: Stopped,
        entry: Entry,
        cx: &Ctx<'_>,
        result: SysResult,
        change: Option<Change>,
    ) -> Result<(), Error> {
        let begun = cx.take_change();
        let change = change.or(begun);
        let (handled, value) = match result {
            Ok(Outcome::Emulated(value)) => (Handled::Virtual, value.cast_signed()),
            Ok(Outcome::Deny(errno)) => (Handled::Denied, -i64::from(errno.into_raw())),
            Err(errno) => (Handled::Virtual, -i64::from(errno.into_raw())),
            Ok(Outcome::Continue) => return self.run_as_it_is(stopped, entry, cx, change),
            Ok(Outcome::Forward(forward)) => return self.forward(stopped, entry, forward, change),
        };
        self.answer(stopped, entry, handled, value, cx.take_installs(), change)
    }

    /// The kernel runs the cage's own call.
    fn run_as_it_is(
        &mut self,
        stopped: Stopped,
        entry: Entry,
        cx: &Ctx<'_>,
        change: Option<Change>,
    ) -> Result<(), Error> {
        let dispatcher = &self.platform.dispatcher;
        if entry.at != At::Entry {
            // A native call ended, and its hook leaves the result as it is.
            self.set_phase(stopped.tid(), Phase::Running);
            return stopped.resume(Resume::Run, 0);
        }
        if !dispatcher.wants_result(entry.call.nr) {
            dispatcher.finish(cx, &entry.call, Handled::Kernel, 0);
            self.set_phase(stopped.tid(), Phase::Running);
            let resumed = stopped.resume(Resume::Run, 0);
            drop(change);
            return resumed;
        }
        self.set_phase(
            stopped.tid(),
            Phase::Forwarded(Box::new(Forwarded {
                entry,
                then: None,
                role: Role::Plain,
                rewritten: false,
                entering: None,
                mask: None,
                freeze: None,
                // As where nobody looks at the result: it may wait long, for a lock, and the table is not held up for that.
                change: None,
                slots: Vec::new(),
                lent: None,
            })),
        );
        let resumed = stopped.resume(Resume::ToCallEdge, 0);
        drop(change);
        resumed
    }

    pub(super) fn set_phase(&mut self, tid: i32, phase: Phase) {
        let Some(tracee) = self.tracees.get_mut(&tid) else {
            return;
        };
        tracee.phase = phase;
        // Not before: whoever looks needs a CPU, as does the tracer while the thread is stopped.
        if matches!(tracee.phase, Phase::Running)
            && let Some(lane) = tracee.heats.take()
            && let Some(fast) = &self.platform.fast
        {
            fast.heat(lane);
        }
    }

    /// Answers the call with a value, once the files that go with it are in the cage.
    pub(super) fn answer(
        &mut self,
        stopped: Stopped,
        entry: Entry,
        handled: Handled,
        value: i64,
        installs: Vec<Install>,
        change: Option<Change>,
    ) -> Result<(), Error> {
        let tid = stopped.tid();
        let Some(thread) = self.thread(tid) else {
            return Err(Error::Gone(tid));
        };
        if installs.is_empty() {
            if let Some(tracee) = self.tracees.get_mut(&tid) {
                tracee.restartable = is_restart(value);
            }
            let value = self.finish(&thread, &entry.call, handled, value);
            stopped.set_regs(&entry.with_result(value))?;
            self.set_phase(tid, Phase::Running);
            let resumed = stopped.resume(Resume::Run, 0);
            drop(change);
            return resumed;
        }
        if self.platform.kind.notifies() && all_addable(&installs) {
            let promise = Promise {
                installs,
                call: entry.call,
                result: value,
                change,
            };
            let private = self.platform.promise(&thread, promise);
            stopped.set_regs(&entry.with_call(private, entry.call.args))?;
            // A signal would end the private call before a worker takes it, and what the call did already could not be
            // told to the cage: signals wait until it ended.
            let mask = stopped.signal_mask()?;
            stopped.set_signal_mask(u64::MAX)?;
            let entering = entry.at != At::Entry;
            let phase = Phase::Promised {
                mask,
                asked: Asked::new(&entry, private, entry.call.args),
                entering,
            };
            self.set_phase(tid, phase);
            return stopped.resume(Resume::ToCallEdge, 0);
        }
        // The script holds the table still by itself.
        drop(change);
        let numbers = installs.iter().map(|install| install.fd).collect();
        let owed = Owed::new(&thread.files(), numbers);
        let terminals: Vec<i32> = installs
            .iter()
            .filter(|install| install.controlling)
            .map(|install| install.fd)
            .collect();
        let mut jobs = vec![Job::map_writable()];
        jobs.extend(installs.into_iter().map(Job::receive));
        jobs.extend(terminals.into_iter().map(Job::take_terminal));
        self.begin(
            stopped,
            Box::new(Script::new(
                entry,
                jobs,
                After::Answer {
                    handled,
                    value,
                    owed: Some(owed),
                },
            )),
        )
    }

    /// After-hooks and counts; a result that makes the kernel restart the call is nobody's business yet.
    pub(super) fn finish(
        &self,
        thread: &Arc<Thread>,
        call: &Call,
        handled: Handled,
        value: i64,
    ) -> i64 {
        if is_restart(value) {
            return value;
        }
        let dispatcher = &self.platform.dispatcher;
        let guest = ProcessGuest::stopped(thread);
        let cx = Ctx::new(&dispatcher.kernel, thread, &guest, call.nr, call.args);
        dispatcher.finish(&cx, call, handled, value)
    }

    /// The kernel runs another call in this one's place.
    pub(super) fn forward(
        &mut self,
        stopped: Stopped,
        entry: Entry,
        forward: Forward,
        change: Option<Change>,
    ) -> Result<(), Error> {
        let tid = stopped.tid();
        let Some(thread) = self.thread(tid) else {
            return Err(Error::Gone(tid));
        };
        if forward.role == Role::Copy {
            // Its own change would be in the way of holding the table still.
            drop(change);
            let after = After::Run {
                forward,
                freeze: None,
            };
            return self.begin(stopped, Box::new(Script::new(entry, Vec::new(), after)));
        }
        let files = thread.files();
        let freeze = match &forward.role {
            // A process with the same table holds it still all the same: while a script runs in a thread nobody copies
            // the memory, nor comes to share it.
            Role::Fork(sharing) if sharing.files && sharing.thread => None,
            Role::Fork(_) | Role::Exec(_) => match files.freeze() {
                Ok(freeze) => Some(freeze),
                Err(_) => {
                    let want = files.want_freeze();
                    self.set_phase(tid, Phase::Parked(entry, stopped, Some(want)));
                    files.when_quiet(self.retry_later(tid));
                    return Ok(());
                }
            },
            Role::Plain | Role::Copy => None,
        };
        if let Role::Exec(judged) = &forward.role
            && let Some(tracee) = self.tracees.get_mut(&tid)
        {
            tracee.judged = Some(judged.clone());
        }
        let needs_script =
            !forward.lent.is_empty() || forward.lent_file.is_some() || forward.at_cwd.is_some();
        if needs_script {
            drop(change);
            let jobs = self.jobs_for(tid, &forward);
            let script = Script::new(entry, jobs, After::Run { forward, freeze });
            return self.begin(stopped, Box::new(script));
        }
        self.run(
            stopped,
            entry,
            forward,
            freeze,
            change,
            None,
            Vec::new(),
            None,
        )
    }

    /// Runs a forwarded call whose surroundings are prepared.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is what a forwarded call must give back at its end"
    )]
    pub(super) fn run(
        &mut self,
        stopped: Stopped,
        entry: Entry,
        forward: Forward,
        freeze: Option<Freeze>,
        change: Option<Change>,
        mask: Option<u64>,
        slots: Vec<super::arena::Slot>,
        lent: Option<i32>,
    ) -> Result<(), Error> {
        let tid = stopped.tid();
        let rewritten = forward.nr != entry.call.nr || forward.args != entry.call.args;
        let changed = rewritten || entry.at != At::Entry;
        if changed {
            stopped.set_regs(&entry.with_call(forward.nr, forward.args))?;
            if let Some(thread) = self.thread(tid) {
                thread.set_injected(true);
            }
        }
        let watched = changed
            || forward.then.is_some()
            || forward.role != Role::Plain
            || self.platform.dispatcher.wants_result(entry.call.nr);
        if !watched {
            if let Some(thread) = self.thread(tid) {
                self.finish(&thread, &entry.call, Handled::Kernel, 0);
            }
            self.set_phase(tid, Phase::Running);
            let resumed = stopped.resume(Resume::Run, 0);
            drop((freeze, change));
            return resumed;
        }
        let entering =
            (entry.at != At::Entry).then(|| Asked::new(&entry, forward.nr, forward.args));
        // On its way back to the instruction the thread takes no signal: the call that it goes to is what is interrupted.
        let mask = match mask {
            None if entering.is_some() => {
                let own = stopped.signal_mask()?;
                stopped.set_signal_mask(u64::MAX)?;
                Some(own)
            }
            mask => mask,
        };
        // A wait may last; what it leads to begins its change when it comes.
        let change = change.filter(|_| forward.then.is_none());
        self.set_phase(
            tid,
            Phase::Forwarded(Box::new(Forwarded {
                entry,
                then: forward.then,
                role: forward.role,
                rewritten,
                entering,
                mask: mask.filter(|_| entering.is_some()),
                freeze,
                change,
                slots,
                lent,
            })),
        );
        if let (Some(mask), None) = (mask, entering) {
            stopped.set_signal_mask(mask)?;
        }
        stopped.resume(Resume::ToCallEdge, 0)
    }

    /// A thread that was sent back to its instruction made another call than it was sent for: the cage had changed its
    /// code under it. What it makes there is not judged, so it makes nothing more.
    pub(super) fn diverted(tid: i32) {
        tracing::warn!(
            tid,
            "a cage changed the code of a call under way; it is killed"
        );
        signal::kill_thread(tid);
    }

    pub(super) fn on_call_edge(&mut self, stopped: Stopped) -> Result<(), Error> {
        let tid = stopped.tid();
        let Some(tracee) = self.tracees.get_mut(&tid) else {
            return stopped.resume(Resume::Run, 0);
        };
        match &mut tracee.phase {
            Phase::Script(_) => return self.on_script_edge(stopped),
            Phase::Forwarded(forwarded) if forwarded.entering.is_some() => {
                let regs = stopped.regs()?;
                if !forwarded
                    .entering
                    .take()
                    .is_some_and(|asked| asked.is_made_by(&regs))
                {
                    Self::diverted(tid);
                    return Ok(());
                }
                if let Some(mask) = forwarded.mask.take() {
                    stopped.set_signal_mask(mask)?;
                }
                return stopped.resume(Resume::ToCallEdge, 0);
            }
            Phase::Promised {
                asked, entering, ..
            } if *entering => {
                if !asked.is_made_by(&stopped.regs()?) {
                    Self::diverted(tid);
                    return Ok(());
                }
                *entering = false;
                return stopped.resume(Resume::ToCallEdge, 0);
            }
            Phase::Promised { entering, .. } if is_restart(stopped.regs()?.rax.cast_signed()) => {
                // A signal was pending before it was blocked; the kernel finds none to deliver and makes the call again.
                *entering = true;
                return stopped.resume(Resume::ToCallEdge, 0);
            }
            Phase::Promised { mask, .. } => {
                stopped.set_signal_mask(*mask)?;
                self.set_phase(tid, Phase::Running);
                return stopped.resume(Resume::Run, 0);
            }
            Phase::Forwarded(_) => {}
            _ => return stopped.resume(Resume::Run, 0),
        }
        let thread = Arc::clone(&tracee.thread);
        let Phase::Forwarded(forwarded) = std::mem::replace(&mut tracee.phase, Phase::Running)
        else {
            return stopped.resume(Resume::Run, 0);
        };
        self.on_forwarded_end(stopped, &thread, *forwarded)
    }

    /// A native call ended: its hook looks at the result.
    fn on_forwarded_end(
        &mut self,
        stopped: Stopped,
        thread: &Arc<Thread>,
        forwarded: Forwarded,
    ) -> Result<(), Error> {
        thread.set_injected(false);
        let native = stopped.regs()?.rax.cast_signed();
        let Forwarded {
            mut entry,
            then,
            role,
            rewritten,
            freeze,
            change,
            slots,
            lent,
            ..
        } = forwarded;
        entry.at = At::Exit;
        if role == Role::Copy && native == 0 {
            let mut table = thread.files().copy();
            let unclosed = table.take_closing();
            thread.set_files(Files::new(table));
            self.keep_unclosed(thread, unclosed);
        }
        drop((slots, freeze));
        let platform = Arc::clone(&self.platform);
        let guest = ProcessGuest::stopped(thread);
        let cx = Ctx::new(
            &platform.dispatcher.kernel,
            thread,
            &guest,
            entry.call.nr,
            entry.call.args,
        );
        let result = match then {
            Some(then) => cx
                .kernel
                .act_for(thread, false)
                .and_then(|_acting| then(&cx, native)),
            None => Ok(Outcome::Continue),
        };
        if let Some(number) = lent {
            // Whatever comes next, the cage must not keep what was lent.
            let after = match result {
                Ok(Outcome::Forward(forward)) => After::Run {
                    forward,
                    freeze: None,
                },
                Ok(Outcome::Emulated(value)) => After::answer(value.cast_signed()),
                Ok(Outcome::Deny(errno)) | Err(errno) => {
                    After::answer(-i64::from(errno.into_raw()))
                }
                Ok(Outcome::Continue) => After::Answer {
                    handled: Handled::Kernel,
                    value: native,
                    owed: None,
                },
            };
            drop(change);
            return self.begin(
                stopped,
                Box::new(Script::new(entry, vec![Job::close(number)], after)),
            );
        }
        if let Ok(Outcome::Continue) = result {
            let value = if is_restart(native) {
                native
            } else {
                platform
                    .dispatcher
                    .finish(&cx, &entry.call, Handled::Kernel, native)
            };
            if rewritten || value != native {
                stopped.set_regs(&entry.with_result(value))?;
            }
            self.set_phase(stopped.tid(), Phase::Running);
            let resumed = stopped.resume(Resume::Run, 0);
            drop(change);
            return resumed;
        }
        self.carry_out(stopped, entry, &cx, result, change)
    }
}
