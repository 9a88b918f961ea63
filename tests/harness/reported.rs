//! Runs with a report: what one did, and what `--report` says of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::PLAIN_PATH;
use super::case::run_cage_trace;
use super::process::{Output, Running};
use super::scratch::{Installed, Scratch, User, ordinary_id};

/// A run with a report: what it did, and the report's lines.
pub(crate) struct Reported {
    pub(crate) output: Output,
    pub(crate) start: Option<Value>,
    pub(crate) end: Value,
    pub(crate) what: String,
}

impl Reported {
    pub(crate) fn text(&self) -> String {
        format!(
            "{}: status {}\nstdout: {}\nstderr: {}\nstart: {:?}\nend: {}",
            self.what,
            self.output.status,
            self.output.stdout_text(),
            self.output.stderr_text(),
            self.start,
            self.end
        )
    }

    /// Asserts the end: the status, the reason, and that the report says the same.
    pub(crate) fn expect(&self, status: i32, reason: &str) {
        assert_eq!(
            (self.output.status, self.output.hung),
            (status, None),
            "{}",
            self.text()
        );
        assert_eq!(self.end["reason"], reason, "{}", self.text());
        assert_eq!(self.end["status"], status, "{}", self.text());
        self.expect_nothing_left();
    }

    pub(crate) fn expect_nothing_left(&self) {
        let Some(start) = &self.start else { return };
        let pid = start["pid"].as_u64().expect("a pid");
        let alive = Path::new(&format!("/proc/{pid}")).exists();
        assert!(!alive, "the program is still there: {}", self.text());
        let supervisor = start["supervisor_pid"].as_u64().expect("a pid");
        let left = groups_of(supervisor);
        assert!(left.is_empty(), "{left:?} is left: {}", self.text());
    }

    /// Who upholds a limit.
    pub(crate) fn by(&self, name: &str) -> String {
        let limits = self
            .start
            .as_ref()
            .and_then(|start| start["limits"].as_array());
        let mut found = limits.into_iter().flatten();
        let limit = found.find(|limit| limit["name"] == name);
        limit.map_or_else(String::new, |limit| {
            limit["by"].as_str().expect("a word").to_owned()
        })
    }
}

/// Every directory of cgroup file systems, down to a depth that this machine's services may have.
pub(crate) fn all_groups() -> Vec<PathBuf> {
    let mut all = vec![PathBuf::from("/sys/fs/cgroup")];
    let mut next = 0;
    while let Some(place) = all.get(next).cloned() {
        next += 1;
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        all.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    all
}

/// The control groups that a supervisor made.
pub(crate) fn groups_of(supervisor: u64) -> Vec<PathBuf> {
    let part = format!("-{supervisor}-");
    let mut all = all_groups();
    all.retain(|place| {
        place.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with("cage-trace-") && name.contains(&part)
        })
    });
    all
}

pub(crate) fn read_report(scratch: &Scratch) -> (Option<Value>, Value) {
    let text = fs::read_to_string(scratch.path().join("report.json")).expect("a report");
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    let end = lines.pop().expect("an empty report");
    assert_eq!(end["event"], "exit", "{text}");
    let start = lines.pop();
    if let Some(start) = &start {
        assert_eq!(start["event"], "start", "{text}");
    }
    assert!(lines.is_empty(), "{text}");
    (start, end)
}

/// Runs cage-trace with `flags` and a report.
pub(crate) fn reported(flags: &[&str], command: &[&str], scratch: &Scratch) -> Reported {
    let arguments = [&["--report=report.json"], flags, &["--"], command].concat();
    let output = run_cage_trace(&arguments, scratch);
    let (start, end) = read_report(scratch);
    Reported {
        output,
        start,
        end,
        what: format!("{flags:?} as {:?}", scratch.user()),
    }
}

pub(crate) const PLATFORMS: [&str; 3] =
    ["--platform=hybrid", "--platform=fast", "--platform=ptrace"];

/// Runs `test` as everyone at hand, on every platform, with a scratch directory.
pub(crate) fn everywhere(test: impl Fn(&Scratch, &str)) {
    let _installed = Installed::get();
    for &user in User::all() {
        for platform in PLATFORMS {
            test(&Scratch::new(user), platform);
        }
    }
}

pub(crate) fn script(text: &str) -> [&str; 3] {
    ["/bin/sh", "-c", text]
}

/// Runs a script of the outer shell; `$CT` is cage-trace.
pub(crate) fn outer(user: User, scratch: &Scratch, text: &str) -> Running {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", text])
        .current_dir(scratch.path())
        .env_clear()
        .env("PATH", PLAIN_PATH)
        .env("ID", ordinary_id().to_string())
        .env("CT", Installed::get().cage_trace());
    user.apply(&mut command);
    Running::start(command, &[], Duration::from_secs(60))
}
