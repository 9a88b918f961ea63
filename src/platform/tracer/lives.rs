//! Lives: children, execs and ends.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::Announced;
use super::super::process_guest::ProcessGuest;
use super::Tracer;
use super::tracee::{Phase, Tracee, args};
use crate::abi::wait::Ended;
use crate::cage::{Cage, Descriptor, Thread, Tid};
use crate::guest::Guest;
use crate::interpose::{Handled, Life};
use crate::posix::{Role, adopt};
use crate::sys::ptrace::{Error, Event, Resume, Stopped};
use crate::sys::usage::Used;
use crate::sys::{limits, memory, privilege, procfs, signal};

/// What a thread's notified call was let go on for.
fn announcement(thread: &Thread) -> Option<Announced> {
    let announced = thread.take_announced()?.downcast().ok()?;
    Some(*announced)
}

impl Tracer {
    /// fork, vfork or clone made a child: it gets its entry before it runs.
    pub(super) fn on_new_child(&mut self, stopped: Stopped, child: i32) -> Result<(), Error> {
        let tid = stopped.tid();
        let Some(tracee) = self.tracees.get_mut(&tid) else {
            signal::kill_thread(child);
            return stopped.resume(Resume::Run, 0);
        };
        let maker = Arc::clone(&tracee.thread);
        let arenas = Arc::clone(&tracee.arenas);
        let space = Arc::clone(&tracee.space);
        let mut announced = announcement(&maker);
        let forwarded = match &mut tracee.phase {
            Phase::Forwarded(forwarded) => Some(forwarded),
            _ => None,
        };
        let role = match (&forwarded, &announced) {
            (Some(forwarded), _) => Some(&forwarded.role),
            (None, Some(announced)) => Some(&announced.role),
            (None, None) => None,
        };
        let Some(&Role::Fork(sharing)) = role else {
            // No call of this thread was to make a child: it does not live.
            signal::kill_thread(child);
            return stopped.resume(Resume::Run, 0);
        };
        let looked_at = forwarded
            .as_ref()
            .is_some_and(|forwarded| forwarded.then.is_some());
        let entry = forwarded.map(|forwarded| (forwarded.entry, forwarded.rewritten));
        let cage = if sharing.thread {
            None
        } else {
            let id = self.platform.dispatcher.kernel.cages.write().next_id();
            let nofile = limits::nofile(child).unwrap_or(u64::MAX);
            let Ok(pidfd) = memory::pidfd_open(child) else {
                signal::kill_thread(child);
                return self.go_on(stopped, 0);
            };
            Some(Cage::new(
                id,
                Some(&maker.cage),
                Tid(child),
                Some(pidfd),
                nofile,
            ))
        };
        let lineage =
            self.platform
                .dispatcher
                .kernel
                .cages
                .write()
                .child(&maker, Tid(child), sharing, cage);
        // Its table is a copy of its own now: ours agrees with it, and the maker's may change again.
        if let Some(Phase::Forwarded(forwarded)) =
            self.tracees.get_mut(&tid).map(|tracee| &mut tracee.phase)
        {
            forwarded.freeze = None;
            forwarded.rewritten = false;
        }
        if let Some(announced) = &mut announced {
            announced.freeze = None;
        }
        self.keep_unclosed(&lineage.thread, lineage.to_close);
        let restore = entry.and_then(|(entry, rewritten)| rewritten.then_some(entry.regs));
        let mut newborn = Tracee::new(Arc::clone(&lineage.thread), Phase::Newborn(restore));
        newborn.arenas = if sharing.thread {
            arenas
        } else {
            let copy = arenas.lock().clone();
            Arc::new(parking_lot::Mutex::new(copy))
        };
        newborn.space = if sharing.thread {
            space
        } else {
            let mut of_maker = space.lock();
            let copy = of_maker.forked(sharing.memory);
            if sharing.memory && !sharing.awaited {
                of_maker.close();
            }
            drop(of_maker);
            Arc::new(parking_lot::Mutex::new(copy))
        };
        self.tracees.insert(child, newborn);
        self.platform.dispatcher.life(&Life::Began {
            thread: &lineage.thread,
        });
        if let Some((waiting, event)) = self.orphans.remove(&child) {
            self.first_breath(waiting, event)?;
        }
        maker.set_injected(false);
        let Some((entry, _)) = entry else {
            return stopped.resume(Resume::Run, 0);
        };
        if let Some(original) = restore {
            let mut regs = stopped.regs()?;
            let [rdi, rsi, rdx, r10, r8, r9] = args(&original);
            (regs.rdi, regs.rsi, regs.rdx) = (rdi, rsi, rdx);
            (regs.r10, regs.r8, regs.r9) = (r10, r8, r9);
            stopped.set_regs(&regs)?;
        }
        if looked_at || self.platform.dispatcher.wants_result(entry.call.nr) {
            return stopped.resume(Resume::ToCallEdge, 0);
        }
        self.finish(&maker, &entry.call, Handled::Kernel, i64::from(child));
        self.set_phase(tid, Phase::Running);
        stopped.resume(Resume::Run, 0)
    }

    /// Children whose maker was killed before its event could tell of them: nobody ever saw their numbers, and they never
    /// begin.
    pub(super) fn drop_orphans(&mut self) {
        if self.orphans.is_empty() {
            return;
        }
        let mut makers: Vec<i32> = Vec::new();
        for tracee in self.tracees.values() {
            let forks = match &tracee.phase {
                Phase::Forwarded(forwarded) => matches!(forwarded.role, Role::Fork(_)),
                _ => tracee.thread.has_announced(),
            };
            if forks {
                let process = tracee.thread.cage.tgid.0;
                // Its own, or with CLONE_PARENT its parent's.
                makers.push(process);
                makers.extend(self.family_of(process).map(|(_, parent)| parent));
            }
        }
        let mut lost = Vec::new();
        for &child in self.orphans.keys() {
            let waits = self.family_of(child).is_some_and(|(process, parent)| {
                makers.contains(&process) || makers.contains(&parent)
            });
            if !waits {
                lost.push(child);
            }
        }
        for child in lost {
            self.orphans.remove(&child);
            signal::kill_thread(child);
        }
    }

    /// A thread's process and that one's parent.
    fn family_of(&self, tid: i32) -> Option<(i32, i32)> {
        let proc = self.platform.dispatcher.kernel.host_proc.as_fd();
        let status = procfs::read(proc, &format!("{tid}/status")).ok()?;
        let status = String::from_utf8_lossy(&status);
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|number| number.trim().parse().ok())
        };
        Some((field("Tgid:")?, field("PPid:")?))
    }

    /// Numbers that were being closed when the kernel copied the table: where the copy came first they are open in it.
    pub(super) fn keep_unclosed(&self, thread: &Arc<Thread>, numbers: Vec<i32>) {
        let guest = ProcessGuest::stopped(thread);
        let kernel = &self.platform.dispatcher.kernel;
        for number in numbers {
            if let Ok(file) = guest.borrow_file(number) {
                let descriptor = Descriptor {
                    file: Arc::new(adopt(kernel, file)),
                    cloexec: self.is_cloexec(thread.tid, number),
                };
                thread.files().lock().replace(number, descriptor);
            }
        }
    }

    /// Whether the kernel will close this number of a stopped thread at its next exec.
    fn is_cloexec(&self, tid: Tid, number: i32) -> bool {
        let host_proc = self.platform.dispatcher.kernel.host_proc.as_fd();
        let read = || procfs::read(host_proc, &format!("{}/fdinfo/{number}", tid.0));
        let info = read().or_else(|_| privilege::with_ptrace(read));
        info.is_ok_and(|info| {
            String::from_utf8_lossy(&info)
                .lines()
                .find_map(|line| line.strip_prefix("flags:"))
                .and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok())
                .is_some_and(|flags| flags & libc::O_CLOEXEC != 0)
        })
    }

    /// A new thread's first stop; of a process that was stopped meanwhile it is the thread's part in that.
    pub(super) fn first_breath(&mut self, stopped: Stopped, event: Event) -> Result<(), Error> {
        let tid = stopped.tid();
        let Some(tracee) = self.tracees.get_mut(&tid) else {
            return Err(Error::Gone(tid));
        };
        let phase = std::mem::replace(&mut tracee.phase, Phase::Running);
        let is_touched = tracee.space.lock().is_touched();
        if is_touched || matches!(phase, Phase::Newborn(Some(_))) {
            let mut regs = stopped.regs()?;
            if let Phase::Newborn(Some(original)) = phase {
                let [rdi, rsi, rdx, r10, r8, r9] = args(&original);
                (regs.rdi, regs.rsi, regs.rdx) = (rdi, rsi, rdx);
                (regs.r10, regs.r8, regs.r9) = (r10, r8, r9);
            }
            if let Some(gs) = self.newborn_gs(&regs, tid) {
                regs.gs_base = gs;
            }
            stopped.set_regs(&regs)?;
        }
        match event {
            Event::GroupStop => stopped.listen(),
            _ => stopped.resume(Resume::Run, 0),
        }
    }

    /// exec succeeded: the image must be the file that was judged.
    pub(super) fn on_exec(&mut self, stopped: Stopped, old: i32) -> Result<(), Error> {
        let leader = stopped.tid();
        if let Some(fast) = &self.platform.fast {
            fast.forget(old);
            fast.forget(leader);
        }
        let Some(mut tracee) = self.tracees.remove(&old) else {
            signal::kill_thread(leader);
            return Err(Error::Gone(leader));
        };
        let announced = announcement(&tracee.thread);
        let judged = match &announced {
            Some(Announced {
                role: Role::Exec(judged),
                ..
            }) => Some(judged.clone()),
            _ => tracee.judged.take(),
        };
        let call = match &tracee.phase {
            Phase::Forwarded(forwarded) => Some(forwarded.entry.call),
            _ => None,
        };
        tracee.thread.set_injected(false);
        // Whatever held the old table still lets go.
        tracee.phase = Phase::Running;
        let lineage = self
            .platform
            .dispatcher
            .kernel
            .cages
            .write()
            .exec(Tid(old), Tid(leader));
        let Some(lineage) = lineage else {
            signal::kill_thread(leader);
            return Err(Error::Gone(leader));
        };
        let thread = lineage.thread;
        drop(lineage.ended);
        self.keep_unclosed(&thread, lineage.to_close);
        drop(announced);
        let is_judged = judged
            .as_ref()
            .is_some_and(|judged| self.image_of(leader) == Some(judged.identity));
        self.tracees
            .insert(leader, Tracee::new(Arc::clone(&thread), Phase::Running));
        if !is_judged {
            tracing::warn!(
                leader,
                "an exec ended in another file than was judged; the cage is killed"
            );
            signal::kill_thread(leader);
            return Err(Error::Gone(leader));
        }
        if let Some(judged) = judged {
            thread.cage.set_program(&judged.path);
        }
        self.platform
            .dispatcher
            .life(&Life::Exec { thread: &thread });
        if let Some(call) = call {
            self.finish(&thread, &call, Handled::Kernel, 0);
        }
        self.maybe_check(leader);
        stopped.resume(Resume::Run, 0)
    }

    /// Device and inode of the program that a process runs.
    fn image_of(&self, pid: i32) -> Option<(u64, u64)> {
        let name = format!("{pid}/exe");
        let host_proc: &OwnedFd = &self.platform.dispatcher.kernel.host_proc;
        let stat =
            || nix::sys::stat::fstatat(host_proc, name.as_str(), nix::fcntl::AtFlags::empty());
        let stat = stat().or_else(|_| privilege::with_ptrace(stat)).ok()?;
        Some((stat.st_dev, stat.st_ino))
    }

    /// A thread or a child of ours ended; `used` is what its process used, where that is counted.
    pub(super) fn on_end(&mut self, tid: i32, status: i32, used: Used) {
        self.orphans.remove(&tid);
        if tid == self.init {
            self.init_gone = true;
            return;
        }
        let known = self.known(tid);
        // The leader is reported last. Before its entry goes, so that no time is counted twice.
        if known
            .as_ref()
            .is_some_and(|thread| thread.cage.tgid.0 == tid)
        {
            let meter = &self.platform.meter;
            meter.ended_cpu.fetch_add(used.cpu, Ordering::AcqRel);
            meter.largest.fetch_max(used.peak_memory, Ordering::Relaxed);
        }
        // What the thread held goes first: a parent that is woken by the end finds nothing of it.
        drop(self.tracees.remove(&tid));
        if let Some(fast) = &self.platform.fast {
            fast.forget(tid);
        }
        let removed = {
            let mut cages = self.platform.dispatcher.kernel.cages.write();
            cages.remove(Tid(tid))
        };
        let last = removed.as_ref().is_some_and(|(_, last)| *last);
        drop(removed.map(|(thread, _)| thread.take_files()));
        if let Some(thread) = known
            && last
            && let Some(how) = Ended::from_status(status)
        {
            self.platform.dispatcher.life(&Life::Ended {
                cage: &thread.cage,
                how,
            });
        }
        if tid == self.first {
            self.ending.first = Ended::from_status(status);
            if !self.wait_for_all {
                let cages = self.platform.dispatcher.kernel.cages.read();
                self.ending.killed = cages.cage_count();
                drop(cages);
                signal::send(self.init_pidfd.as_fd(), libc::SIGKILL);
            }
        }
    }

    /// Now and then, with `--check-invariants`, holds the kernel's view of a stopped cage against ours. At most half of the
    /// time goes there: what a check costs grows with the descriptors.
    pub(super) fn maybe_check(&mut self, tid: i32) {
        if !self.check_invariants || !self.stops.is_multiple_of(7) {
            return;
        }
        let began = Instant::now();
        if self.next_check.is_some_and(|next| began < next) {
            return;
        }
        self.check(tid);
        self.next_check = Some(Instant::now() + began.elapsed());
    }

    fn check(&self, tid: i32) {
        let Some(thread) = self.known(tid) else {
            return;
        };
        if let Some(check) = self.platform.invariant_check.get()
            && let Err(violation) = check(&self.platform.dispatcher.kernel, &thread)
        {
            let mut violations = self.platform.violations.lock();
            if violations.len() < 16 {
                violations.push(violation);
            }
        }
    }
}
