//! Go's own tests of its packages that face the operating system: test binaries built with Debian's Go 1.19, run in the
//! package's directory of its source tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::harness::case::Run;
use crate::harness::process::{Output, compile};
use crate::harness::scratch::{Installed, Scratch};

use super::{Module, Suite, Verdict, Verdicts, note, whole};

/// A package, whether it is in the sample, and whether all of it is more than its short tests: the long ones of net and
/// net/http want the world's network, those of runtime are many minutes of arithmetic.
const PACKAGES: &[(&str, bool, bool)] = &[
    ("os", true, true),
    ("os/exec", true, true),
    ("os/signal", true, true),
    ("syscall", true, true),
    ("net", true, false),
    ("net/http", false, false),
    ("io", true, true),
    ("time", true, true),
    ("path/filepath", true, true),
    ("runtime", false, false),
];

const GO: &str = "/usr/lib/go-1.19/bin/go";
const SOURCES: &str = "/usr/lib/go-1.19/src";

/// Go 1.19.
#[derive(Debug)]
pub(crate) struct Go;

impl Suite for Go {
    fn name(&self) -> &'static str {
        "go"
    }

    fn missing(&self) -> Option<String> {
        let sources = format!("{SOURCES}/os/os_test.go");
        [GO, &sources]
            .into_iter()
            .find(|path| fs::metadata(path).is_err())
            .map(str::to_owned)
    }

    fn modules(&self) -> Vec<Module> {
        PACKAGES
            .iter()
            .map(|&(name, sample, _)| Module {
                name,
                sample,
                limit: Duration::from_secs(900),
            })
            .collect()
    }

    fn run(&self, module: &Module, only: &[String], scratch: &Scratch) -> Run {
        let binary = Installed::get().add(&build(module.name));
        let directory = format!("{SOURCES}/{}", module.name);
        let binary = binary.to_string_lossy().into_owned();
        // It ends itself with all goroutines' stacks, which says more than a kill.
        let timeout = format!("-test.timeout={}s", module.limit.as_secs() - 20);
        let mut argv = vec![
            "/usr/bin/env",
            "-C",
            &directory,
            &binary,
            "-test.v",
            &timeout,
        ];
        let long = PACKAGES
            .iter()
            .any(|&(name, _, long)| name == module.name && long);
        if !(whole() && long) {
            argv.push("-test.short");
        }
        let mut tests: Vec<&str> = only
            .iter()
            .filter_map(|test| test.split('/').next())
            .collect();
        tests.dedup();
        let chosen = format!("-test.run=^({})$", tests.join("|"));
        if !tests.is_empty() {
            argv.push(&chosen);
        }
        let mut run = Run::new(&argv);
        let own = scratch.path().display();
        run.env = vec![
            format!("HOME={own}"),
            format!("TMPDIR={own}"),
            format!("GOCACHE={own}/cache"),
            format!("PWD={directory}"),
        ];
        run.limit = module.limit;
        run
    }

    fn verdicts(&self, _module: &Module, output: &Output, _scratch: &Scratch) -> Verdicts {
        let mut verdicts = Verdicts::new();
        let mut begun = Vec::new();
        for line in output.stdout_text().lines() {
            if let Some(test) = line.strip_prefix("=== RUN   ") {
                begun.push(test.to_owned());
            }
            // What a test prints without a newline stands before its verdict.
            for (mark, verdict) in [
                ("--- PASS: ", Verdict::Passed),
                ("--- FAIL: ", Verdict::Failed),
                ("--- SKIP: ", Verdict::Skipped),
            ] {
                if let Some((_, rest)) = line.split_once(mark)
                    && let Some((test, _)) = rest.split_once(" (")
                {
                    note(&mut verdicts, test, verdict);
                }
            }
        }
        // A test that began and never ended took the package with it.
        for test in begun {
            verdicts.entry(test).or_insert(Verdict::Failed);
        }
        verdicts
    }
}

/// Builds a package's test binary, once.
fn build(package: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("suites/go.built");
    let target = folder.join(format!("{}.test", package.replace('/', "_")));
    let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    if !target.exists() {
        // Zones are built in: Debian's tzdata may be absent, and would not be where these tests look.
        compile(
            Command::new(GO)
                .args(["test", "-c", "-vet=off", "-tags=timetzdata", "-o"])
                .arg(&target)
                .arg(package)
                .current_dir("/")
                .env("GOCACHE", folder.join("cache"))
                .env("GOFLAGS", ""),
        );
    }
    target
}
