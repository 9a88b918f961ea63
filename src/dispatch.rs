//! The dispatcher: takes (cage, call), runs the interposers, then the row's handler. It does not know the platform,
//! but says which rows must reach it and how ([`Way`]), from which the seccomp filter is made.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::abi::{Errno, Sysno};
use crate::cage::{Change, Files};
use crate::interpose::{Call, Handled, Interposer, Life, Wants};
use crate::posix::row::{Action, Handler, Passes, Row};
use crate::posix::{Ctx, Kernel, Outcome, SysResult, table};

/// How a row reaches the dispatcher.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// Not at all: the kernel runs it.
    Pass,
    /// By a notification, but for what passes.
    Notify(Passes),
    /// By a stop, but for what passes.
    Trace(Passes),
}

/// The dispatcher's answer to a call.
#[derive(Debug)]
pub enum Answer {
    /// What happens. The change, where there is one, ends when the platform has carried the outcome out.
    Now(SysResult, Option<Change>),
    /// The table is being copied: ask again when it is free.
    Wait(Arc<Files>),
}

/// Counts of a run's calls, by outcome.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered by a handler with a value.
    pub emulated: AtomicU64,
    /// Answered by a handler with an errno.
    pub failed: AtomicU64,
    /// Denied by a policy.
    pub denied: AtomicU64,
    /// Run by the kernel after the dispatcher saw them.
    pub forwarded: AtomicU64,
    /// Numbers without a row, foreign architectures.
    pub unknown: AtomicU64,
}

/// What the user should hear at the end, at most one line each.
#[derive(Debug, Default)]
pub struct Remarks {
    /// Calls that got `ENOSYS`, by name or number, and how often.
    pub enosys: BTreeMap<String, u64>,
    /// The first path that could not be written because the world is read-only.
    pub read_only: Option<Vec<u8>>,
    /// A network was asked for that is not there.
    pub no_network: bool,
}

/// Takes calls, gives outcomes.
#[derive(Debug)]
pub struct Dispatcher {
    /// The run's state.
    pub kernel: Kernel,
    /// Counts.
    pub tally: Tally,
    /// What is to be said at the end.
    pub remarks: Mutex<Remarks>,
    plan: Plan,
}

/// The interposers and what they want: known before the run is launched, since the filter is made from it.
#[derive(Debug)]
pub struct Plan {
    interposers: Vec<Box<dyn Interposer>>,
    mediate_all: bool,
    hooks: Vec<(u32, Wants)>,
    unknown_hooks: Wants,
}

fn union(interposers: &[Box<dyn Interposer>], row: Option<&Row>) -> Wants {
    interposers
        .iter()
        .map(|interposer| interposer.wants(row))
        .fold(Wants::default(), |all, one| Wants {
            before: all.before || one.before,
            after: all.after || one.after,
        })
}

impl Plan {
    /// A plan; with `mediate_all` every row that has a handler goes through the dispatcher.
    #[must_use]
    pub fn new(interposers: Vec<Box<dyn Interposer>>, mediate_all: bool) -> Self {
        let hooks = table::ROWS
            .iter()
            .map(|row| (row.nr, union(&interposers, Some(row))))
            .collect();
        let unknown_hooks = union(&interposers, None);
        Self {
            interposers,
            mediate_all,
            hooks,
            unknown_hooks,
        }
    }

    /// What the interposers want of a number.
    #[must_use]
    pub fn wants(&self, nr: u64) -> Wants {
        self.hooks
            .binary_search_by_key(&nr, |&(row, _)| u64::from(row))
            .ok()
            .and_then(|index| self.hooks.get(index))
            .map_or(self.unknown_hooks, |&(_, wants)| wants)
    }

    /// Whether calls on the data of open files reach the dispatcher.
    #[must_use]
    pub fn mediates_data(&self) -> bool {
        table::row(Sysno::read as u64).is_some_and(|row| !matches!(self.way(row), Way::Pass))
    }

    /// How this row reaches the dispatcher where both stops and notifications can be had.
    #[must_use]
    pub fn way(&self, row: &Row) -> Way {
        let wants = self.wants(u64::from(row.nr));
        let hooked = wants.before || wants.after;
        let passes: Passes = if hooked || self.mediate_all {
            &[]
        } else {
            row.passes
        };
        match row.action {
            Action::Pass | Action::Data(_) if hooked => Way::Trace(&[]),
            Action::Pass => Way::Pass,
            Action::Data(_) if self.mediate_all => Way::Trace(&[]),
            Action::Data(_) => Way::Pass,
            // What would pass can block: a signal then means more than to a notification that nobody took.
            Action::Run(_) if (hooked || self.mediate_all) && !row.passes.is_empty() => {
                Way::Trace(passes)
            }
            // Only the kernel knows the result; that of a change to the table is known beforehand.
            Action::Shared(_) if wants.after && !row.changes_files => Way::Trace(passes),
            Action::Announce(_) if wants.after => Way::Trace(passes),
            // The tracer has heard of every end before: nobody still has the program open for writing.
            Action::Announce(_) if self.mediate_all && row.name.starts_with("exec") => {
                Way::Trace(passes)
            }
            Action::Run(_) | Action::Shared(_) | Action::Announce(_) | Action::Fail(_) => {
                Way::Notify(passes)
            }
            Action::Trace(_) => Way::Trace(passes),
        }
    }
}

impl Dispatcher {
    /// How this row reaches the dispatcher; see [`Plan::way`].
    #[must_use]
    pub fn way(&self, row: &Row) -> Way {
        self.plan.way(row)
    }

    /// A dispatcher for a run.
    #[must_use]
    pub fn new(kernel: Kernel, plan: Plan) -> Self {
        Self {
            kernel,
            tally: Tally::default(),
            remarks: Mutex::default(),
            plan,
        }
    }

    /// Answers a call.
    pub fn dispatch(&self, cx: &Ctx<'_>, call: &Call) -> Answer {
        cx.forget_paths();
        let Some(row) = call.row else {
            self.tally.unknown.fetch_add(1, Ordering::Relaxed);
            return Answer::Now(self.before(cx, call).unwrap_or(Err(Errno::ENOSYS)), None);
        };
        if !row.name.starts_with("open") && row.name != "rt_sigreturn" {
            // Whatever an interrupted open held is of no use to another call. A handler's return goes before the open is
            // made again.
            drop(cx.thread.take_end());
        }
        let change = if row.changes_files {
            let files = cx.files();
            match files.begin_change() {
                Ok(change) => Some(change),
                Err(_) => return Answer::Wait(files),
            }
        } else {
            None
        };
        if let Some(answer) = self.before(cx, call) {
            return Answer::Now(answer, change);
        }
        let result = match row.action {
            Action::Pass => Ok(Outcome::Continue),
            Action::Data(handler)
            | Action::Run(handler)
            | Action::Shared(handler)
            | Action::Announce(handler)
            | Action::Trace(handler) => self.act(cx, row, call.args, handler),
            Action::Fail(errno) => Err(errno),
        };
        Answer::Now(result, change)
    }

    /// Runs the handler, with the cage's credentials where it can have others than the supervisor.
    fn act(&self, cx: &Ctx<'_>, row: &Row, args: [u64; 6], handler: Handler) -> SysResult {
        let real = match row.name {
            "access" | "faccessat" => true,
            "faccessat2" => args[3] as i32 & libc::AT_EACCESS == 0,
            _ => false,
        };
        let _acting = self.kernel.act_for(cx.thread, real)?;
        handler(cx, args)
    }

    fn before(&self, cx: &Ctx<'_>, call: &Call) -> Option<SysResult> {
        if !self.plan.wants(call.nr).before {
            return None;
        }
        for interposer in &self.plan.interposers {
            if interposer.wants(call.row).before
                && let ControlFlow::Break(outcome) = interposer.before(cx, call)
            {
                return Some(Ok(outcome));
            }
        }
        None
    }

    /// Whether the platform must show this call's native result to [`finish`](Self::finish).
    #[must_use]
    pub fn wants_result(&self, nr: u64) -> bool {
        self.plan.wants(nr).after
    }

    /// The call is answered: counts it, runs the after-hooks in reverse, returns the result that the cage gets.
    pub fn finish(&self, cx: &Ctx<'_>, call: &Call, handled: Handled, result: i64) -> i64 {
        let counter = match handled {
            Handled::Kernel => &self.tally.forwarded,
            Handled::Denied => &self.tally.denied,
            Handled::Virtual if result < 0 => &self.tally.failed,
            Handled::Virtual => &self.tally.emulated,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if result < 0 {
            self.remark(cx, call, result);
        }
        if !self.plan.wants(call.nr).after {
            return result;
        }
        self.plan
            .interposers
            .iter()
            .rev()
            .filter(|interposer| interposer.wants(call.row).after)
            .fold(result, |result, interposer| {
                interposer.after(cx, call, handled, result)
            })
    }

    fn remark(&self, cx: &Ctx<'_>, call: &Call, result: i64) {
        if result == -i64::from(Errno::ENOSYS.into_raw()) {
            let name = call
                .row
                .map_or_else(|| unknown_name(call.nr), |row| row.name.to_owned());
            self.note_enosys(name);
        } else if result == -i64::from(Errno::EROFS.into_raw()) {
            let mut remarks = self.remarks.lock();
            if remarks.read_only.is_none() {
                remarks.read_only = cx.last_path();
            }
        } else if result == -i64::from(Errno::ENETUNREACH.into_raw()) {
            self.remarks.lock().no_network = true;
        }
    }

    /// A number that means nothing was called.
    pub fn note_unknown(&self, nr: u64) {
        self.tally.unknown.fetch_add(1, Ordering::Relaxed);
        self.note_enosys(unknown_name(nr));
    }

    fn note_enosys(&self, name: String) {
        let mut remarks = self.remarks.lock();
        // Hostile numbers must not grow the list without bound.
        if remarks.enosys.len() < 64 || remarks.enosys.contains_key(&name) {
            *remarks.enosys.entry(name).or_insert(0) += 1;
        }
    }

    /// The call that was dispatched is to be made another way: it is as if it had not come yet.
    pub fn withdraw(&self, cx: &Ctx<'_>, call: &Call) {
        if !self.plan.wants(call.nr).before {
            return;
        }
        for interposer in &self.plan.interposers {
            if interposer.wants(call.row).before {
                interposer.withdraw(cx, call);
            }
        }
    }

    /// Tells the interposers of something in a cage's life.
    pub fn life(&self, life: &Life<'_>) {
        for interposer in &self.plan.interposers {
            interposer.life(life);
        }
    }

    /// Tells the interposers that the run is over.
    pub fn end(&self) {
        for interposer in &self.plan.interposers {
            interposer.finish();
        }
    }
}

fn unknown_name(nr: u64) -> String {
    usize::try_from(nr).ok().and_then(Sysno::new).map_or_else(
        || format!("syscall {nr:#x}"),
        |sysno| sysno.name().to_owned(),
    )
}

impl Call {
    /// A call that has just arrived.
    #[must_use]
    pub fn new(nr: u64, args: [u64; 6]) -> Self {
        Self {
            nr,
            args,
            row: table::row(nr),
            started: Instant::now(),
        }
    }
}
