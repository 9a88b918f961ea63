//! The comparing: every module natively and caged, what passes there and not here, held against the ratchet.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::process::Output;
use crate::harness::scratch::{Scratch, User, running_as_root};
use crate::harness::{platforms, skip};

use super::ratchet::{self, Known};
use super::{Module, Suite, Verdict, Verdicts};

/// How many modules run side by side: most of them wait most of the time.
const SIDE_BY_SIDE: usize = 2;

/// How much of the end of a failed run is shown.
const SHOWN: usize = 4_000;

/// Which modules `CAGE_TRACE_SUITES` chooses, by whom.
struct Choice {
    modules: Vec<Module>,
    users: Vec<User>,
}

impl Choice {
    fn of(suite: &dyn Suite) -> Self {
        let chosen = env::var("CAGE_TRACE_SUITES").unwrap_or_else(|_| "sample".to_owned());
        let names: Vec<&str> = chosen.split(',').collect();
        let mut modules = suite.modules();
        modules.retain(|module| match chosen.as_str() {
            "all" => true,
            "sample" => module.sample,
            _ => names.contains(&module.name),
        });
        let mut users = User::all().to_vec();
        if chosen == "sample" || !suite.as_root() {
            // Last is the ordinary one, where there are two.
            users.drain(..users.len().saturating_sub(1));
        }
        Self { modules, users }
    }
}

/// One module in one variant.
struct Variant<'a> {
    suite: &'a dyn Suite,
    module: &'a Module,
    user: User,
    platform: &'a str,
}

/// What came of a variant.
#[derive(Default)]
struct Result {
    native: usize,
    caged: usize,
    failures: String,
}

/// Runs what is chosen of a suite, prints the figures, and panics with all that is not as the ratchet file says.
pub(crate) fn check(suite: &dyn Suite) {
    let choice = Choice::of(suite);
    if choice.modules.is_empty() {
        return;
    }
    if let Some(missing) = suite.missing() {
        return skip(suite.name(), &missing);
    }
    let known = ratchet::read(suite.name());
    let platforms = platforms();
    let mut variants = Vec::new();
    for &user in &choice.users {
        for platform in &platforms {
            for module in &choice.modules {
                variants.push(Variant {
                    suite,
                    module,
                    user,
                    platform,
                });
            }
        }
    }
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Result::default());
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(variant) = variants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = variant.compare(&known);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.native += one.native;
                    total.caged += one.caged;
                    total.failures += &one.failures;
                }
            });
        }
    });
    let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    say(&format!(
        "{}: native passed {}, caged passed {}",
        suite.name(),
        total.native,
        total.caged
    ));
    for entry in &known {
        let module = entry.test.split("::").next().unwrap_or_default();
        if !suite.modules().iter().any(|known| known.name == module) {
            let _ = writeln!(total.failures, "the entry {} names no module", entry.test);
        }
    }
    assert!(total.failures.is_empty(), "\n{}", total.failures);
}

/// Not eprintln: the test runner would hide it, since a test that passes is silent.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn passed(verdicts: &Verdicts) -> BTreeSet<String> {
    verdicts
        .iter()
        .filter(|&(_, &verdict)| verdict == Verdict::Passed)
        .map(|(test, _)| test.clone())
        .collect()
}

impl Variant<'_> {
    fn title(&self) -> String {
        format!(
            "{} {}, {}, {}",
            self.suite.name(),
            self.module.name,
            self.who(),
            self.platform
        )
    }

    fn who(&self) -> &'static str {
        if self.user == User::Own && running_as_root() {
            "root"
        } else {
            "ordinary"
        }
    }

    /// A failed test is one that passes natively, twice if need be, and fails caged twice.
    fn compare(&self, known: &[Known]) -> Result {
        let title = self.title();
        let mut result = Result::default();
        let (native_said, native) = self.once(&[], false);
        let (caged_said, caged) = self.once(&[], true);
        let judged = native.clone();
        let (mut native, caged) = (passed(&native), passed(&caged));
        let mut failing: BTreeSet<String> = native.difference(&caged).cloned().collect();
        let mut again = None;
        if !failing.is_empty() {
            let only: Vec<String> = failing.iter().cloned().collect();
            let (said, verdicts) = self.once(&only, true);
            let better = passed(&verdicts);
            failing.retain(|test| !better.contains(test));
            again = Some(said);
        }
        if !failing.is_empty() {
            let only: Vec<String> = failing.iter().cloned().collect();
            let sure = passed(&self.once(&only, false).1);
            native.retain(|test| !failing.contains(test) || sure.contains(test));
            failing.retain(|test| sure.contains(test));
        }
        result.native = native.len();
        result.caged = native.len() - failing.len();

        let mut wrong = String::new();
        for (side, said) in [
            ("native", Some(&native_said)),
            ("caged", Some(&caged_said)),
            ("second caged", again.as_ref()),
        ] {
            if let Some(why) = said.and_then(|said| said.hung) {
                let _ = writeln!(wrong, "  the {side} run {why}");
            }
        }
        if native.is_empty() {
            let _ = writeln!(
                wrong,
                "  nothing passes natively; its output ends\n{}",
                end(&native_said)
            );
        }
        let mut expected = BTreeSet::new();
        for entry in known
            .iter()
            .filter(|entry| entry.applies(self.who(), self.platform))
        {
            if let Some((module, test)) = entry.test.split_once("::")
                && module == self.module.name
            {
                expected.insert(test.to_owned());
            }
        }
        for test in failing.difference(&expected) {
            let _ = writeln!(
                wrong,
                "  passes natively, not caged: {}::{test}",
                self.module.name
            );
        }
        let unknown = failing.difference(&expected).next().is_some();
        for test in expected.difference(&failing) {
            // What this machine does not run natively (a program is missing) says nothing of a cage.
            let unjudged = judged
                .get(test)
                .is_some_and(|verdict| *verdict != Verdict::Passed);
            if unjudged {
                continue;
            }
            let _ = writeln!(
                wrong,
                "  an entry that does not fail caged, or not only there: {}::{test}",
                self.module.name
            );
        }
        if unknown && let Some(said) = again.as_ref() {
            let _ = writeln!(wrong, "  the second caged run ends\n{}", end(said));
        }
        say(&format!(
            "{title}: native passed {}, caged passed {}",
            result.native, result.caged
        ));
        if !wrong.is_empty() {
            result.failures = format!("── {title}\n{wrong}");
        }
        result
    }

    /// Runs the module, or `only` some of its tests, in a scratch directory of its own.
    fn once(&self, only: &[String], caged: bool) -> (Output, Verdicts) {
        let scratch = Scratch::new(self.user);
        let run = self.suite.run(self.module, only, &scratch);
        let output = if caged && self.platform != "native" {
            let platform = format!("--platform={}", self.platform);
            let mut flags = vec![platform.as_str()];
            if self.who() == "root" {
                // Natively root has all there are.
                flags.push("--cap-add=ALL");
            }
            run.start_caged(&flags, &scratch)
        } else {
            run.start_native(&scratch)
        }
        .finish();
        let verdicts = self.suite.verdicts(self.module, &output, &scratch);
        self.keep(
            &output,
            if caged { "caged" } else { "native" },
            !only.is_empty(),
        );
        (output, verdicts)
    }

    /// Leaves what a run printed below target/, for whoever looks into a failure.
    fn keep(&self, output: &Output, side: &str, again: bool) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("suites")
            .join(self.suite.name());
        let name = format!(
            "{}.{}.{}.{side}{}.log",
            self.module.name.replace('/', "_"),
            self.who(),
            self.platform,
            if again { ".again" } else { "" }
        );
        let mut text = output.stdout.clone();
        text.extend(&output.stderr);
        let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(&name), text));
        kept.unwrap_or_else(|e| panic!("keep {name}: {e}"));
    }
}

/// The end of what a run printed.
fn end(output: &Output) -> String {
    let text = format!("{}{}", output.stdout_text(), output.stderr_text());
    let from = text.len().saturating_sub(SHOWN);
    text.char_indices()
        .find(|&(at, _)| at >= from)
        .map_or(String::new(), |(at, _)| text.split_at(at).1.to_owned())
}
