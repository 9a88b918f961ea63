//! The one table: every call is one row.
//!
//! `pass` runs natively; `data(handler)` too, unless it is to be mediated; `run(handler)` reaches its handler by a
//! notification, `shared(handler)` too and then the kernel runs the call as it is, `trace(handler)` by a stop; `fail(errno)` always fails. `/ files` marks a row that changes the
//! descriptor table; `unless CONDITION` says what of a mediated row passes.

use super::row::{Row, syscalls};
use crate::guest::{Addr, UserOut};

syscalls! {
    24 sched_yield() => pass, Host;
    39 getpid() => pass, Host;
    96 gettimeofday(tv: UserOut, tz: UserOut) => pass, Host;
    101 ptrace(op: i64, pid: i32, addr: Addr, data: Addr) => fail(EPERM), No("a cage has one tracer");
}

/// The row of a number.
#[must_use]
pub fn row(nr: u64) -> Option<&'static Row> {
    let index = ROWS
        .binary_search_by_key(&nr, |row| u64::from(row.nr))
        .ok()?;
    ROWS.get(index)
}
