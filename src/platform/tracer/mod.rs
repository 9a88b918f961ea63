//! The tracer: one thread that owns every tracee's stops. It waits, looks at each event once, and never blocks on a
//! cage's behalf; what it does at a stop is in the files beside this one.

mod arena;
mod calls;
mod company;
mod jobs;
mod lives;
mod promote;
mod script;
mod shim_stop;
mod tracee;
mod unseen;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::meter::count;
use super::{Handover, Next, Platform, ToTracer, fast, notifier};
use crate::abi::wait::Ended;
use crate::cage::{Thread, Tid};
use crate::dispatch::Way;
use crate::interpose::Call;
use crate::posix::row::lets_through;
use crate::posix::table;
use crate::sys::courier::COURIER;
use crate::sys::ptrace::{self, Error, Event, Regs, Resume, Stopped, Waited};
use crate::sys::{memory, notify, privilege, signal};
use jobs::Job;
use script::{After, Script};
use shim_stop::Left;
use tracee::{At, Entry, Phase, Tracee};

const EINTR: i64 = 4;
impl Handover {
    /// Whether the thread is on its way back from the call, its notification answered with "make it again".
    fn is_at(&self, regs: &Regs) -> bool {
        regs.orig_rax == self.call.nr && regs.rax.cast_signed() == -ERESTARTNOINTR
    }
}

const ERESTARTSYS: i64 = 512;
const ERESTARTNOINTR: i64 = 513;

/// How many stops are taken in one round, at most; the rest is left to the next one, for the messages' sake.
const ROUND: usize = 64;

/// What a round was ended by.
enum Gathered {
    /// These stops, each thread once.
    Stops(Vec<(Stopped, Event)>),
    /// Nothing at the moment.
    Nothing,
    /// There is nobody left to report.
    NoneLeft,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The first program's end; `None` where it never came to one.
    pub first: Option<Ended>,
    /// Cages that were killed because the first one had ended.
    pub killed: usize,
}

/// The tracer of a run.
#[derive(Debug)]
pub struct Tracer {
    platform: Arc<Platform>,
    tracees: HashMap<i32, Tracee>,
    /// Children that stopped for the first time before their maker's event told of them.
    orphans: HashMap<i32, (Stopped, Event)>,
    first: i32,
    init: i32,
    init_pidfd: OwnedFd,
    wait_for_all: bool,
    check_invariants: bool,
    next_check: Option<Instant>,
    ending: Ending,
    init_gone: bool,
    stops: u64,
}

impl Tracer {
    /// Attaches to the run's first thread, which waits to be released.
    ///
    /// # Errors
    /// Where the kernel refuses to attach.
    pub fn attach(
        platform: Arc<Platform>,
        first: Arc<Thread>,
        init: i32,
        wait_for_all: bool,
        check_invariants: bool,
    ) -> Result<Self, Error> {
        let tid = first.tid.0;
        let init_pidfd = memory::pidfd_open(init).map_err(|errno| Error::Host {
            op: "pidfd_open",
            tid: init,
            errno,
        })?;
        if platform.dispatcher.kernel.credentials.differ() {
            // The kernel asks later what the tracer was allowed when it attached itself.
            privilege::with_ptrace(|| ptrace::seize(tid))?;
        } else {
            ptrace::seize(tid)?;
        }
        platform
            .tracer_tid
            .store(signal::own_tid(), Ordering::Release);
        platform
            .dispatcher
            .kernel
            .cages
            .write()
            .insert(Arc::clone(&first));
        let tracees = HashMap::from([(tid, Tracee::new(first, Phase::Launching))]);
        Ok(Self {
            platform,
            tracees,
            orphans: HashMap::new(),
            first: tid,
            init,
            init_pidfd,
            wait_for_all,
            check_invariants,
            next_check: None,
            ending: Ending {
                first: None,
                killed: 0,
            },
            init_gone: false,
            stops: 0,
        })
    }

    /// Serves the run until nothing of it is left. `on_signal` is told of signals to the supervisor and, as SIGSTOP, of
    /// the first program's stops.
    pub fn serve(mut self, mut on_signal: impl FnMut(i32)) -> Ending {
        // Now, beside the program's process, for which the kernel is busy with the filter.
        if self.platform.kind.notifies()
            && let Err(error) = notifier::start(&self.platform)
        {
            tracing::error!(%error, "no thread to answer notifications");
            signal::kill_thread(self.first);
        }
        if let Some(fast) = &self.platform.fast
            && let Err(error) = fast::start(&self.platform, fast)
        {
            tracing::error!(%error, "no thread to serve the mailboxes");
            signal::kill_thread(self.first);
        }
        let weigh = self.platform.meter.weighs.load(Ordering::Relaxed);
        loop {
            loop {
                while let Some(message) = self.platform.next_for_tracer() {
                    self.heed(message);
                }
                let stops = match self.gather(weigh) {
                    Gathered::Stops(stops) => stops,
                    Gathered::Nothing => {
                        self.drop_orphans();
                        break;
                    }
                    Gathered::NoneLeft => return self.ending,
                };
                for (place, (stopped, event)) in stops.into_iter().enumerate() {
                    let tid = stopped.tid();
                    if place > 0 && self.is_leader_of_others(tid) && stopped.is_over() {
                        continue;
                    }
                    if let Event::GroupStop = event
                        && tid == self.first
                    {
                        on_signal(libc::SIGSTOP);
                    }
                    if let Err(error) = self.on_stop(stopped, event) {
                        self.failed(tid, error);
                    }
                }
            }
            if self.init_gone && self.tracees.is_empty() {
                return self.ending;
            }
            match signal::next() {
                libc::SIGCHLD | libc::SIGURG => {}
                other => on_signal(other),
            }
        }
    }

    /// Takes what the kernel has to report at a moment, each thread once. It looks through the threads in one order, and
    /// begins anew each time: served one by one, those at the end would never come to their turn beside busy ones. An
    /// end is served at once: its parent hears of it by now, and finds nothing of what the dead held.
    fn gather(&mut self, weigh: bool) -> Gathered {
        let mut stops: Vec<(Stopped, Event)> = Vec::new();
        let mut some = false;
        while stops.len() < ROUND {
            // What is kept of the files that the dead had open goes first.
            let release = |tid| drop(self.known(tid).map(|thread| thread.take_files()));
            let keeps = self.platform.dispatcher.kernel.keeps_files;
            match ptrace::wait_any(weigh, keeps.then_some(&release)) {
                Waited::Stopped(stopped, event) => stops.push((stopped, event)),
                Waited::Ended(tid, status, used) => {
                    some = true;
                    stops.retain(|(stopped, _)| stopped.tid() != tid);
                    // A child that died before its maker's event was served: it is entered first, to be taken out again.
                    let of_maker = |(_, event): &(Stopped, Event)| matches!(event, Event::NewChild(child) if *child == tid);
                    if let Some(place) = stops.iter().position(of_maker) {
                        let (stopped, event) = stops.remove(place);
                        let maker = stopped.tid();
                        if let Err(error) = self.on_stop(stopped, event) {
                            self.failed(maker, error);
                        }
                    }
                    self.on_end(tid, status, used);
                }
                Waited::NoneLeft if stops.is_empty() && !some => return Gathered::NoneLeft,
                Waited::Nothing | Waited::NoneLeft => break,
            }
        }
        if stops.is_empty() && !some {
            Gathered::Nothing
        } else {
            Gathered::Stops(stops)
        }
    }

    /// A thread that is gone is an ordinary result; anything else is a fault of ours, and the thread cannot go on.
    fn failed(&mut self, tid: i32, error: Error) {
        match error {
            Error::Gone(_) => {}
            Error::Host { .. } => {
                tracing::error!(%error, "a tracee cannot be served and is killed");
                signal::kill_thread(tid);
            }
        }
    }

    fn heed(&mut self, message: ToTracer) {
        let (tid, result) = match message {
            ToTracer::Retry(tid) => (tid, self.retry(tid)),
            ToTracer::Served(tid) => (tid, self.on_served(tid)),
            ToTracer::Handover(handover) => (handover.thread.tid.0, self.take_handover(*handover)),
        };
        if let Err(error) = result {
            self.failed(tid, error);
        }
    }

    fn take_handover(&mut self, handover: Handover) -> Result<(), Error> {
        let tid = handover.thread.tid.0;
        let id = handover.notification;
        let interrupted = match self.tracees.get_mut(&tid) {
            Some(tracee) => {
                tracee.handover = Some(handover);
                ptrace::interrupt(tid)
            }
            None => Err(Error::Gone(tid)),
        };
        if let Some(listener) = self.platform.listener.get() {
            // The thread stops on its way back to the cage's code: the interrupt is pending already.
            let _ = notify::send(
                listener.as_fd(),
                id,
                notify::Response::Result(-ERESTARTNOINTR),
            );
        }
        interrupted
    }

    fn on_stop(&mut self, stopped: Stopped, event: Event) -> Result<(), Error> {
        let meter = &self.platform.meter;
        self.stops += 1;
        match event {
            Event::Seccomp { data } => {
                count(&meter.seccomp_stops);
                self.on_seccomp(stopped, data)
            }
            Event::CallEdge => {
                count(&meter.exit_stops);
                self.on_call_edge(stopped)
            }
            Event::NewChild(child) => {
                count(&meter.event_stops);
                self.on_new_child(stopped, child)
            }
            Event::Exec(old) => {
                count(&meter.event_stops);
                self.on_exec(stopped, old)
            }
            Event::Signal(number) => {
                count(&meter.signal_stops);
                self.on_signal(stopped, number)
            }
            Event::GroupStop => {
                count(&meter.group_stops);
                match self.tracees.get_mut(&stopped.tid()) {
                    // It may hold a table that others of the process wait for, who must stop too before anybody hears of it.
                    Some(tracee) if matches!(tracee.phase, Phase::Script(_)) => {
                        tracee.owes_stop = true;
                        self.go_on(stopped, 0)
                    }
                    Some(tracee) if !matches!(tracee.phase, Phase::Newborn(_)) => stopped.listen(),
                    _ => self.on_plain(stopped, event),
                }
            }
            Event::Plain => {
                count(&meter.event_stops);
                self.on_plain(stopped, event)
            }
            Event::Other(_) => self.go_on(stopped, 0),
        }
    }

    /// Lets a thread go on as its phase wants it.
    fn go_on(&self, stopped: Stopped, signal: i32) -> Result<(), Error> {
        let how = self
            .tracees
            .get(&stopped.tid())
            .map_or(Resume::Run, |tracee| tracee.phase.resume());
        stopped.resume(how, signal)
    }

    fn on_plain(&mut self, stopped: Stopped, event: Event) -> Result<(), Error> {
        let tid = stopped.tid();
        let Some(tracee) = self.tracees.get_mut(&tid) else {
            self.orphans.insert(tid, (stopped, event));
            return Ok(());
        };
        if matches!(tracee.phase, Phase::Newborn(_)) {
            return self.first_breath(stopped, event);
        }
        if let Some(handover) = tracee.handover.take() {
            return self.on_handover(stopped, handover);
        }
        self.go_on(stopped, 0)
    }

    fn on_handover(&mut self, stopped: Stopped, handover: Handover) -> Result<(), Error> {
        let regs = stopped.regs()?;
        let is_there = handover.is_at(&regs);
        let Handover {
            thread,
            call,
            next,
            change,
            ..
        } = handover;
        if !is_there {
            // A signal came between: the call is made again afterwards.
            if let Next::Install(installs, _) = next {
                for install in installs {
                    let _ = thread.files().lock().remove(install.fd);
                }
            }
            return self.go_on(stopped, 0);
        }
        let entry = Entry {
            regs,
            call,
            at: At::Back,
        };
        match next {
            Next::Look => self.look(stopped, entry),
            Next::Clear => {
                drop(change);
                thread.files().lock().lose_courier(COURIER..=COURIER);
                let jobs = vec![Job::close(COURIER)];
                let script = Script::new(entry, jobs, After::Again);
                self.begin(stopped, Box::new(script))
            }
            Next::Forward(forward) => self.forward(stopped, entry, forward, change),
            Next::Install(installs, value) => self.answer(
                stopped,
                entry,
                crate::interpose::Handled::Virtual,
                value,
                installs,
                change,
            ),
        }
    }

    fn on_signal(&mut self, stopped: Stopped, number: i32) -> Result<(), Error> {
        let tid = stopped.tid();
        let stopped = match self.leave_shim(stopped, number)? {
            Left::Out(stopped) => stopped,
            Left::Swallowed(stopped) => return self.go_on(stopped, 0),
            Left::Waits(stopped) => {
                if let Some(tracee) = self.tracees.get_mut(&tid) {
                    tracee.awaiting = Some((stopped, number));
                }
                return Ok(());
            }
            Left::Owes(stopped, entry, due) => {
                if let Some(tracee) = self.tracees.get_mut(&tid) {
                    let told = tracee.held.take_if(|(held, _)| *held == number);
                    tracee.held = match told {
                        Some(told) => Some(told),
                        None => Some((number, stopped.signal_info()?)),
                    };
                    signal::send_to_thread(tracee.thread.cage.tgid.0, tid, number);
                }
                return self.pay(stopped, *entry, due);
            }
        };
        let Some(tracee) = self.tracees.get_mut(&stopped.tid()) else {
            return stopped.resume(Resume::Run, number);
        };
        if let Some((_, info)) = tracee.held.take_if(|(held, _)| *held == number) {
            stopped.set_signal_info(&info)?;
        }
        if let Some(handover) = &tracee.handover {
            let regs = stopped.regs()?;
            if handover.is_at(&regs) {
                // What it stands in for may have happened already, and is looked at before the signal counts: the signal
                // comes again, to the native wait that the thread is sent to.
                tracee.held = Some((number, stopped.signal_info()?));
                signal::send_to_thread(tracee.thread.cage.tgid.0, stopped.tid(), number);
                if let Some(handover) = tracee.handover.take() {
                    return self.on_handover(stopped, handover);
                }
            }
        }
        let restartable = std::mem::take(&mut tracee.restartable);
        let thread = Arc::clone(&tracee.thread);
        if self.platform.kind.notifies() && !restartable {
            // A notified call that a signal caught before anybody took it never started: it is made again, whatever the
            // handler's flags are; natively it would not have been interruptible at all.
            let mut regs = stopped.regs()?;
            if regs.rax.cast_signed() == -ERESTARTSYS && self.is_notified(&regs) {
                regs.rax = (-ERESTARTNOINTR).cast_unsigned();
                stopped.set_regs(&regs)?;
            }
        }
        let kernel = &self.platform.dispatcher.kernel;
        let regs = stopped.regs()?;
        let is_call = regs.orig_rax.cast_signed() >= 0;
        let mut rest = None;
        if is_call && (regs.rax.cast_signed() == -EINTR || regs.rax.cast_signed() > 0) {
            rest = unseen::rest(&thread, &regs);
            let unseen = (rest.is_some() || regs.rax.cast_signed() == -EINTR)
                && unseen::is_unseen(kernel.host_proc.as_fd(), stopped.tid(), number);
            if !unseen {
                rest = None;
            } else if rest.is_none() {
                let mut regs = regs;
                regs.rax = (-ERESTARTNOINTR).cast_unsigned();
                stopped.set_regs(&regs)?;
            }
        }
        thread.settle();
        self.platform
            .dispatcher
            .life(&crate::interpose::Life::Signal {
                thread: &thread,
                signal: number,
            });
        // A log that wants results has a line of the part already, and gets one of the whole.
        if let Some(rest) = rest {
            let entry = Entry {
                regs,
                call: Call::new(regs.orig_rax, tracee::args(&regs)),
                at: At::Exit,
            };
            return self.forward(stopped, entry, rest, None);
        }
        self.go_on(stopped, number)
    }

    /// Whether this call is one that the filter sends to the listener.
    fn is_notified(&self, regs: &Regs) -> bool {
        let way = table::row(regs.orig_rax).map(|row| self.platform.dispatcher.way(row));
        matches!(way, Some(Way::Notify(passes)) if !lets_through(passes, &tracee::args(regs)))
    }

    /// The first program shows its listener.
    fn on_hello(&mut self, stopped: Stopped, listener: i32) -> Result<(), Error> {
        let tid = stopped.tid();
        let mut regs = stopped.regs()?;
        if self.platform.kind.notifies() {
            let taken = memory::pidfd_open(tid)
                .and_then(|pidfd| memory::pidfd_getfd(pidfd.as_fd(), listener));
            match taken {
                Ok(fd) => {
                    notify::prefer_sync_wake_up(fd.as_fd());
                    let _ = self.platform.listener.set(fd);
                }
                Err(error) => {
                    tracing::error!(%error, "the listener cannot be taken");
                    signal::kill_thread(tid);
                }
            }
        }
        regs.orig_rax = u64::MAX;
        regs.rax = 0;
        stopped.set_regs(&regs)?;
        if let Some(tracee) = self.tracees.get_mut(&tid) {
            tracee.phase = Phase::Running;
        }
        stopped.resume(Resume::Run, 0)
    }

    /// Whether this thread leads a process that has other threads: one of them may have taken its
    /// number by an exec since the stop was reported.
    fn is_leader_of_others(&self, tid: i32) -> bool {
        self.tracees.get(&tid).is_some_and(|tracee| {
            tracee.thread.cage.tgid.0 == tid && Arc::strong_count(&tracee.thread.cage) > 1
        })
    }

    fn thread(&self, tid: i32) -> Option<Arc<Thread>> {
        self.tracees
            .get(&tid)
            .map(|tracee| Arc::clone(&tracee.thread))
    }

    fn known(&self, tid: i32) -> Option<Arc<Thread>> {
        self.platform
            .dispatcher
            .kernel
            .cages
            .read()
            .get(Tid(tid))
            .cloned()
    }
}
