//! CPython's own tests of its modules that face the operating system, from Debian's libpython3.11-testsuite (which leaves
//! test_sqlite3 out).

use std::fs;
use std::time::Duration;

use crate::harness::case::Run;
use crate::harness::process::Output;
use crate::harness::scratch::Scratch;

use super::{Module, Suite, Verdict, Verdicts, note};

/// The modules, and whether each is in the sample.
const MODULES: &[(&str, bool)] = &[
    ("test_os", true),
    ("test_posix", true),
    ("test_subprocess", false),
    ("test_socket", false),
    ("test_select", true),
    ("test_selectors", false),
    ("test_epoll", true),
    ("test_poll", true),
    ("test_threading", true),
    ("test_signal", false),
    ("test_mmap", true),
    ("test_fcntl", true),
    ("test_tempfile", true),
    ("test_shutil", true),
    ("test_glob", true),
    ("test_pathlib", true),
    ("test_pty", true),
    ("test_asyncio", false),
    ("test_multiprocessing_fork", false),
    ("test_fileio", true),
    ("test_io", false),
    ("test_resource", true),
    ("test_wait3", true),
    ("test_wait4", true),
    ("test_posixpath", true),
    ("test_ssl", false),
    ("test_httpservers", true),
];

const PYTHON: &str = "/usr/bin/python3.11";
const TESTS: &str = "/usr/lib/python3.11/test/test_os.py";
/// A file name that no test makes.
const VERDICTS: &str = "cpython.verdicts";

/// CPython 3.11.
#[derive(Debug)]
pub(crate) struct CPython;

impl Suite for CPython {
    fn name(&self) -> &'static str {
        "cpython"
    }

    fn missing(&self) -> Option<String> {
        [PYTHON, TESTS]
            .into_iter()
            .find(|path| fs::metadata(path).is_err())
            .map(str::to_owned)
    }

    fn modules(&self) -> Vec<Module> {
        MODULES
            .iter()
            .map(|&(name, sample)| Module {
                name,
                sample,
                limit: Duration::from_secs(600),
            })
            .collect()
    }

    fn run(&self, module: &Module, only: &[String], scratch: &Scratch) -> Run {
        scratch.write("cpython.py", include_bytes!("cpython.py"), 0o644);
        let mut argv = vec![PYTHON, "-B", "cpython.py", VERDICTS, "-v"];
        // One test that hangs shows where, and leaves time for the rest.
        argv.push("--timeout=240");
        for test in only {
            argv.extend(["-m", test]);
        }
        argv.push(module.name);
        let mut run = Run::new(&argv);
        run.env = vec![
            "LC_ALL=C.UTF-8".to_owned(),
            format!("HOME={}", scratch.path().display()),
            format!("TMPDIR={}", scratch.path().display()),
        ];
        run.limit = module.limit;
        run
    }

    fn verdicts(&self, _module: &Module, _output: &Output, scratch: &Scratch) -> Verdicts {
        let said = fs::read(scratch.path().join(VERDICTS)).unwrap_or_default();
        let mut verdicts = Verdicts::new();
        let mut begun = Vec::new();
        for line in String::from_utf8_lossy(&said).lines() {
            let Some((word, test)) = line.split_once(' ') else {
                continue;
            };
            match word {
                "start" => begun.push(test.to_owned()),
                "pass" => note(&mut verdicts, test, Verdict::Passed),
                "skip" => note(&mut verdicts, test, Verdict::Skipped),
                _ => note(&mut verdicts, test, Verdict::Failed),
            }
        }
        // A test that began and never ended took the module with it.
        for test in begun {
            verdicts.entry(test).or_insert(Verdict::Failed);
        }
        verdicts
    }
}
