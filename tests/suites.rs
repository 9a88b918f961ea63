//! Other people's test suites, natively and caged: whatever passes natively must pass caged, but for what the ratchet
//! files in tests/suites/ list with a reason; nothing may hang.
//!
//! `CAGE_TRACE_SUITES` chooses: unset or `sample` runs each suite's named sample as the ordinary user; `all` runs all of it by
//! every user; anything else is a list of modules (`test_os,os/exec`) to run by every user.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;
#[path = "suites/mod.rs"]
mod suite;

use suite::check::check;
use suite::cpython::CPython;
use suite::go::Go;
use suite::stress_ng::StressNg;

#[test]
fn cpython() {
    check(&CPython);
}

#[test]
fn go() {
    check(&Go);
}

#[test]
fn stress_ng() {
    check(&StressNg);
}
