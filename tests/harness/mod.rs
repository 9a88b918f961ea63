//! What the integration tests share: scratch directories, users, runs with a hard time limit, and a case that is run
//! natively and caged and compared. Nothing here knows what a cage may do; the oracle is the native run.
//!
//! `CAGE_TRACE_TESTS=all` turns a missing prerequisite from a visible skip into a failure;
//! `CAGE_TRACE_TESTS=quick` runs a case as the tests' own user and in its first variant only.
//! `CAGE_TRACE_PLATFORMS=hybrid,fast,ptrace` chooses `--platform=` (default `hybrid`); the word `native` compares a second
//! native run instead, which shows whether a case is deterministic at all.

pub(crate) mod case;
pub(crate) mod fixture;
pub(crate) mod flags;
pub(crate) mod outer;
pub(crate) mod process;
pub(crate) mod reported;
pub(crate) mod scratch;

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The search path of every run: plain, so that nothing below a home is found first.
pub(crate) const PLAIN_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Whether a missing prerequisite is a failure.
pub(crate) fn must_run_all() -> bool {
    env::var("CAGE_TRACE_TESTS").is_ok_and(|value| value == "all")
}

/// Whether one user and one variant of each case will do.
pub(crate) fn quick() -> bool {
    env::var("CAGE_TRACE_TESTS").is_ok_and(|value| value == "quick")
}

/// Reports that `name` cannot run here because `what` is missing: fails under `CAGE_TRACE_TESTS=all`, else says so.
pub(crate) fn skip(name: &str, what: &str) {
    assert!(
        !must_run_all(),
        "{name}: needs {what}, which this machine lacks (CAGE_TRACE_TESTS=all)"
    );
    // Not eprintln: the test runner would hide it, since a skipped test passes.
    let _ = writeln!(
        io::stderr(),
        "SKIPPED {name}: needs {what}, which this machine lacks"
    );
}

/// Reports that `name` cannot run here because the kernel or how it was booted lacks `what`, which no package brings:
/// visible, and no failure.
pub(crate) fn skip_for_kernel(name: &str, what: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED {name}: this machine has no {what}");
}

/// Finds a program on [`PLAIN_PATH`], or takes an absolute path as it is.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(|path| path.exists());
    }
    PLAIN_PATH
        .split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
}

/// The platforms that this run of the tests compares with native.
pub(crate) fn platforms() -> Vec<String> {
    env::var("CAGE_TRACE_PLATFORMS")
        .unwrap_or_else(|_| "hybrid".to_owned())
        .split(',')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}
