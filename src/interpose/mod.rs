//! Interposers (Lind's grates): hooks before and after a call, stacked in the order of the command line. They see
//! calls and lives through [`Interposer`] alone; none of them knows a platform.

pub mod audit;
pub mod json;
mod log_file;
mod words;

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::time::Instant;

use crate::abi::wait::Ended;
use crate::cage::{Cage, Thread};
use crate::posix::row::Row;
use crate::posix::{Ctx, Outcome};

/// What an interposer wants of a row; asked once, the answer decides the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// To be asked before the call.
    pub before: bool,
    /// To see the result.
    pub after: bool,
}

/// One call on its way.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The number, as the cage gave it.
    pub nr: u64,
    /// The arguments, as the cage gave them.
    pub args: [u64; 6],
    /// The row, where the number has one.
    pub row: Option<&'static Row>,
    /// When it reached the dispatcher.
    pub started: Instant,
}

/// How a call was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// By a handler.
    Virtual,
    /// By the kernel, in the cage.
    Kernel,
    /// By a policy's no.
    Denied,
}

/// Something in the life of a cage.
#[derive(Debug)]
pub enum Life<'a> {
    /// A thread, or where it is the first of its cage a process, began.
    Began {
        /// The new thread.
        thread: &'a Thread,
    },
    /// An exec succeeded.
    Exec {
        /// The thread, as it goes on.
        thread: &'a Thread,
    },
    /// A signal is about to be delivered.
    Signal {
        /// To this thread.
        thread: &'a Thread,
        /// This signal.
        signal: i32,
    },
    /// A process ended.
    Ended {
        /// The cage.
        cage: &'a Cage,
        /// How.
        how: Ended,
    },
}

/// Hooks before and after calls.
pub trait Interposer: Send + Sync + Debug {
    /// What it wants of this row (`None`: the numbers that have no row).
    fn wants(&self, row: Option<&Row>) -> Wants;

    /// Before the call: may answer in the handler's place.
    fn before(&self, cx: &Ctx<'_>, call: &Call) -> ControlFlow<Outcome> {
        let _ = (cx, call);
        ControlFlow::Continue(())
    }

    /// The call that [`before`](Self::before) saw comes once more, another way: it is as if it had not come yet.
    fn withdraw(&self, cx: &Ctx<'_>, call: &Call) {
        let _ = (cx, call);
    }

    /// After the call: `result` is a value or a negative errno, and what it returns takes the result's place.
    fn after(&self, cx: &Ctx<'_>, call: &Call, handled: Handled, result: i64) -> i64 {
        let _ = (cx, call, handled);
        result
    }

    /// Something happened in a cage's life.
    fn life(&self, life: &Life<'_>) {
        let _ = life;
    }

    /// The run is over: write what is left.
    fn finish(&self) {}
}
