//! The seccomp filter of a run, made from the table's rows and what the interposers want of them.

use crate::abi::Sysno;
use crate::dispatch::{Plan, Way};
use crate::posix::row::Passes;
use crate::posix::table::ROWS;
use crate::sys::courier::COURIER;
use crate::sys::seccomp::{Condition, ROW, Rule, Verdict, assemble};
use crate::sys::shim::{LOST, OWN, WAIT};

use super::Kind;

/// The first private number: a thread that was promised files makes this call (plus an index) to get them.
pub(crate) const PRIVATE: u32 = 0x2000_0000;
/// How many private numbers there are.
pub(crate) const PRIVATES: u32 = 0x1_0000;
/// How many of them are for promised files; the last are the shim's own.
pub(crate) const PROMISES: u32 = PRIVATES - 2;
const _: () = assert!(LOST == PRIVATE + PROMISES && WAIT == LOST + 1);
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

/// What passes because the shim makes it: what a call that was served owes the kernel's table. It says so by its last two
/// arguments. Anybody in a cage can say so, to whom it does nothing but to his own table, which holds only what he was
/// granted.
fn own(nr: u32) -> Option<Vec<Condition<'static>>> {
    const NUMBER: Condition<'static> = Condition {
        arg: 0,
        mask: u32::MAX,
        values: &[COURIER.cast_unsigned()],
    };
    const SETFD: Condition<'static> = Condition {
        arg: 1,
        mask: u32::MAX,
        values: &[libc::F_SETFD.cast_unsigned()],
    };
    let says = |arg, value| Condition {
        arg,
        mask: u32::MAX,
        values: value,
    };
    let mut all = vec![says(4, &[OWN[0]]), says(5, &[OWN[1]])];
    match usize::try_from(nr).ok().and_then(Sysno::new)? {
        Sysno::close | Sysno::dup3 => {}
        Sysno::fcntl => all.push(SETFD),
        Sysno::recvmsg => all.push(NUMBER),
        _ => return None,
    }
    Some(all)
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
            let mut passes = passes;
            if kind == Kind::Fast && verdict != Verdict::Allow {
                passes.extend(own(row.nr));
            }
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
