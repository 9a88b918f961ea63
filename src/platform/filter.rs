//! The seccomp filter of a run, made from the table's rows and what the interposers want of them.

use crate::dispatch::{Plan, Way};
use crate::posix::row::Passes;
use crate::posix::table::ROWS;
use crate::sys::seccomp::{Condition, ROW, Rule, Verdict, assemble};

use super::Kind;

/// The first private number: a thread that was promised files makes this call (plus an index) to get them.
pub(crate) const PRIVATE: u32 = 0x2000_0000;
/// How many private numbers there are.
pub(crate) const PRIVATES: u32 = 0x1_0000;
/// How many of them are for promised files; the last is the shim's own.
pub(crate) const PROMISES: u32 = PRIVATES - 1;
const _: () = assert!(crate::sys::shim::WAIT == PRIVATE + PROMISES);
/// The call by which the program's process shows its listener.
pub(crate) const HELLO: u32 = PRIVATE + PRIVATES;

fn conditions(passes: Passes) -> Vec<Vec<Condition<'static>>> {
    passes
        .iter()
        .map(|alternative| {
            alternative
                .iter()
                .map(|condition| Condition {
                    arg: condition.arg,
                    mask: condition.mask,
                    values: condition.values,
                })
                .collect()
        })
        .collect()
}

/// Assembles the filter.
#[must_use]
pub fn filter(plan: &Plan, kind: Kind) -> Vec<libc::sock_filter> {
    let notify = match kind {
        Kind::Hybrid | Kind::Fast => Verdict::Notify,
        Kind::Ptrace => Verdict::Trace(ROW),
    };
    let rules: Vec<Rule<'_>> = ROWS
        .iter()
        .map(|row| {
            let (verdict, passes) = match plan.way(row) {
                Way::Pass => (Verdict::Allow, Vec::new()),
                Way::Notify(passes) => (notify, conditions(passes)),
                Way::Trace(passes) => (Verdict::Trace(ROW), conditions(passes)),
            };
            Rule {
                nr: row.nr,
                verdict,
                passes,
            }
        })
        .collect();
    assemble(&rules, (PRIVATE, PRIVATES), notify)
}

/// The call by which the program's process shows its tracer the listener.
#[must_use]
pub fn hello() -> i64 {
    i64::from(HELLO)
}
