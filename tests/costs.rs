//! What a call costs in stops and notifications, exactly: 1,000 more calls of one kind make the counters of `--stats`
//! differ by what ARCHITECTURE.md says, on `hybrid` and `ptrace`, and by nothing else. On `fast` time decides which way a
//! call goes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use harness::case::run_caged;
use harness::scratch::{Installed, Scratch, User};
use harness::{program, skip};

const MORE: u64 = 1000;

/// What a number of calls may cost.
#[derive(Debug, PartialEq, Eq, Default, Clone, Copy)]
struct Cost {
    notifications: u64,
    seccomp: u64,
    exit: u64,
    /// Stops of any other kind, injected calls, handed-over notifications.
    other: u64,
}

const NOTHING: Cost = Cost {
    notifications: 0,
    seccomp: 0,
    exit: 0,
    other: 0,
};
const NOTIFIED: Cost = Cost {
    notifications: MORE,
    ..NOTHING
};
const STOPPED: Cost = Cost {
    seccomp: MORE,
    ..NOTHING
};
const STOPPED_TWICE: Cost = Cost {
    exit: MORE,
    ..STOPPED
};

fn build() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/costs/loop.c");
            let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cost_loop");
            let status = Command::new("gcc")
                .args(["-O1", "-Wall", "-Werror", "-pthread", "-o"])
                .args([&target, &source])
                .status()
                .unwrap();
            assert!(status.success(), "gcc cannot build {}", source.display());
            target
        })
        .clone()
}

/// The counters of one run.
fn stats(flags: &[&str], name: &str, count: u64, scratch: &Scratch) -> Value {
    let fixture = Installed::get().add(&build());
    let count = count.to_string();
    let argv = [fixture.to_str().unwrap(), name, &count];
    let flags: Vec<&str> = ["--stats=json"].iter().chain(flags).copied().collect();
    let output = run_caged(&flags, &argv, scratch);
    let stderr = output.stderr_text();
    assert_eq!(
        (output.stdout_text().as_str(), output.status, output.hung),
        ("done\n", 0, None),
        "{flags:?} {name}: {stderr}"
    );
    let line = stderr.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.unwrap_or_else(|| panic!("no counters in {stderr}"))).unwrap()
}

fn number(stats: &Value, path: &str) -> u64 {
    let value = stats.pointer(path).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("no {path} in {stats}"))
}

/// What 1,000 more calls cost, and in which counter of outcomes they show.
fn cost(flags: &[&str], name: &str, outcome: &str) -> (Cost, u64) {
    let _installed = Installed::get();
    let scratch = Scratch::new(User::Own);
    let few = stats(flags, name, 10, &scratch);
    let many = stats(flags, name, 10 + MORE, &scratch);
    let more = |path: &str| number(&many, path).checked_sub(number(&few, path)).unwrap();
    let others = [
        "/stops/event",
        "/stops/signal",
        "/stops/group",
        "/handovers",
        "/injected",
    ];
    let cost = Cost {
        notifications: more("/notifications"),
        seccomp: more("/stops/seccomp"),
        exit: more("/stops/exit"),
        other: others.iter().map(|path| more(path)).sum(),
    };
    (cost, more(&format!("/calls/{outcome}")))
}

fn check(platform: &str, flags: &[&str], name: &str, outcome: &str, expected: Cost) {
    if program("gcc").is_none() {
        return skip(name, "gcc");
    }
    let platform = format!("--platform={platform}");
    let flags: Vec<&str> = [platform.as_str()].iter().chain(flags).copied().collect();
    let (cost, counted) = cost(&flags, name, outcome);
    assert_eq!(cost, expected, "{name} with {flags:?}");
    let counts = if outcome == "total" { 0 } else { MORE };
    assert_eq!(
        counted, counts,
        "{name} with {flags:?}: calls that {outcome}"
    );
}

#[test]
fn an_emulated_call_is_one_notification_or_one_stop() {
    check("hybrid", &[], "stat", "emulated", NOTIFIED);
    check("ptrace", &[], "stat", "emulated", STOPPED);
}

#[test]
fn a_failing_call_costs_what_an_emulated_one_does() {
    check("hybrid", &[], "missing", "failed", NOTIFIED);
    check("ptrace", &[], "missing", "failed", STOPPED);
}

#[test]
fn a_refused_call_is_one_notification_or_one_stop() {
    check("hybrid", &[], "refused", "failed", NOTIFIED);
    check("ptrace", &[], "refused", "failed", STOPPED);
}

#[test]
fn a_forwarded_call_is_one_stop() {
    check("hybrid", &["--mediate=all"], "read", "forwarded", STOPPED);
    check("ptrace", &["--mediate=all"], "read", "forwarded", STOPPED);
}

#[test]
fn a_forwarded_call_whose_result_is_looked_at_is_two_stops() {
    // The audit log wants to see every result.
    for platform in ["hybrid", "ptrace"] {
        let scratch = Scratch::new(User::Own);
        let log = scratch.path().join("log.jsonl");
        let flags = ["-o", log.to_str().unwrap()];
        check(platform, &flags, "read", "forwarded", STOPPED_TWICE);
    }
}

#[test]
fn a_passed_call_costs_nothing() {
    for platform in ["hybrid", "ptrace"] {
        check(platform, &[], "read", "total", NOTHING);
        check(platform, &[], "getppid", "total", NOTHING);
    }
}

#[test]
fn an_unknown_number_is_one_stop() {
    check("hybrid", &[], "unknown", "unknown", STOPPED);
    check("ptrace", &[], "unknown", "unknown", STOPPED);
}

#[test]
fn a_granted_descriptor_and_its_close_are_a_notification_each() {
    let two = Cost {
        notifications: 2 * MORE,
        ..NOTHING
    };
    check("hybrid", &[], "dup_close", "emulated", two);
}

#[test]
fn calls_from_patched_sites_go_by_the_mailbox() {
    go_by_the_mailbox("libc_stat");
}

#[test]
fn so_do_those_of_a_process_with_several_threads() {
    go_by_the_mailbox("threaded_stat");
}

fn go_by_the_mailbox(name: &str) {
    const CALLS: u64 = 30_000;
    if program("gcc").is_none() {
        return skip(name, "gcc");
    }
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
        return harness::skip_for_kernel(name, "second CPU");
    }
    let scratch = Scratch::new(User::Own);
    let counts = |flags: &[&str]| stats(flags, name, CALLS, &scratch);
    let (fast, hybrid) = (counts(&["--platform=fast"]), counts(&["--platform=hybrid"]));
    // Which way a call goes is a matter of time; that it goes exactly one is not.
    for outcome in ["emulated", "failed", "denied", "forwarded", "unknown"] {
        let path = format!("/calls/{outcome}");
        assert_eq!(number(&fast, &path), number(&hybrid, &path), "{outcome}");
    }
    assert!(number(&fast, "/mailed") > 0, "{fast}");
    assert!(number(&fast, "/patched") > 0, "{fast}");
    assert_eq!(number(&fast, "/declined"), 0, "{fast}");
    assert_eq!(
        (number(&hybrid, "/mailed"), number(&hybrid, "/patched")),
        (0, 0)
    );
    let unpatched = counts(&["--platform=fast", "--no-patch"]);
    assert_eq!(
        (
            number(&unpatched, "/mailed"),
            number(&unpatched, "/patched")
        ),
        (0, 0)
    );
    let idle = counts(&["--platform=fast", "--no-spin"]);
    assert_eq!(number(&idle, "/mailed"), 0);
    assert!(number(&idle, "/patched") > 0, "{idle}");
}
