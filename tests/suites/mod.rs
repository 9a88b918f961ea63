//! What a suite is to these tests: modules, each run as one command, and a verdict for every single test in it. How a
//! suite is started and read is in the suite's own file; the comparing is in `check`, what is known to fail in `ratchet`.

pub(crate) mod check;
pub(crate) mod cpython;
pub(crate) mod go;
pub(crate) mod ratchet;
pub(crate) mod stress_ng;

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use crate::harness::case::Run;
use crate::harness::process::Output;
use crate::harness::scratch::Scratch;

/// What a suite said of one of its tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// The verdicts of one run, by the tests' names.
pub(crate) type Verdicts = BTreeMap<String, Verdict>;

/// Notes a verdict; a test that has several (a test run twice, its parts) passed only if all of them say so.
pub(crate) fn note(verdicts: &mut Verdicts, test: &str, verdict: Verdict) {
    verdicts
        .entry(test.to_owned())
        .and_modify(|known| {
            if *known == Verdict::Passed || verdict == Verdict::Failed {
                *known = verdict;
            }
        })
        .or_insert(verdict);
}

/// Whether all of each suite is to run, and not a part.
pub(crate) fn whole() -> bool {
    env::var("CAGE_TRACE_SUITES").is_ok_and(|value| value == "all")
}

/// A part of a suite that is run as one command.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    pub(crate) name: &'static str,
    /// Whether it belongs to the sample that every run of the tests takes.
    pub(crate) sample: bool,
    /// A run that takes longer hangs.
    pub(crate) limit: Duration,
}

/// A suite. A test's name in the ratchet file is `MODULE::TEST`.
pub(crate) trait Suite: Sync {
    /// Its name, and its ratchet file's.
    fn name(&self) -> &'static str;

    /// A file or program that it needs and this machine lacks.
    fn missing(&self) -> Option<String>;

    fn modules(&self) -> Vec<Module>;

    /// Whether root runs it too, where root runs the tests.
    fn as_root(&self) -> bool {
        true
    }

    /// The command that runs a module, or only some tests of it. May put files into the scratch directory, which is the
    /// working directory and has been emptied.
    fn run(&self, module: &Module, only: &[String], scratch: &Scratch) -> Run;

    /// Reads what a run of the module said.
    fn verdicts(&self, module: &Module, output: &Output, scratch: &Scratch) -> Verdicts;
}
