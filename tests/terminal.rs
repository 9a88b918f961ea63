//! The terminal of a run, used as a person uses one: `tests/terminal/driver.py` types and looks at what is shown, on a
//! pseudo-terminal that it made, and in tmux for what needs a whole screen. Each scenario is one of its functions.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use std::path::Path;
use std::time::Duration;

use harness::case::Run;
use harness::scratch::{Installed, Scratch, User};
use harness::{platforms, program, skip};

/// Runs a scenario as everyone at hand on every platform.
fn check(scenario: &str, needs: &[&str], more: &[&str]) {
    let needed = ["/usr/bin/python3", "bash", "ps"];
    if let Some(missing) = needed
        .iter()
        .chain(needs)
        .find(|&name| program(name).is_none())
    {
        return skip(scenario, missing);
    }
    let installed = Installed::get();
    let driver = installed.add(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join("terminal")
            .join("driver.py"),
    );
    for &user in User::all() {
        for platform in platforms().iter().filter(|&name| name != "native") {
            one(scenario, user, platform, &installed, &driver);
        }
        for platform in more {
            one(scenario, user, platform, &installed, &driver);
        }
    }
}

fn one(scenario: &str, user: User, platform: &str, installed: &Installed, driver: &Path) {
    let scratch = Scratch::new(user);
    let (driver, cage_trace) = (driver.to_string_lossy(), installed.cage_trace());
    let flag = format!("--platform={platform}");
    let mut run = Run::new(&[
        "/usr/bin/python3",
        &driver,
        scenario,
        &cage_trace.to_string_lossy(),
        "-q",
        "--check-invariants",
        &flag,
        "--bind",
        &scratch.path().to_string_lossy(),
    ]);
    run.limit = Duration::from_secs(240);
    let output = run.start_native(&scratch).finish();
    assert_eq!(
        (output.status, output.hung),
        (0, None),
        "{scenario}, {user:?}, {platform}\n{}{}",
        output.stdout_text(),
        output.stderr_text()
    );
}

#[test]
fn by_default_a_run_has_a_terminal_of_its_own() {
    check("terminal_of_its_own", &[], &[]);
}

#[test]
fn a_shell_in_a_cage_has_job_control() {
    check("jobs_inside", &[], &["ptrace"]);
}

#[test]
fn a_run_is_a_job_of_the_shell_that_started_it() {
    check("job_of_the_callers_shell", &[], &["ptrace"]);
}

#[test]
fn a_run_in_the_background_leaves_the_terminal_alone() {
    check("in_the_background", &[], &[]);
}

#[test]
fn a_run_that_nobody_could_continue_is_not_stopped() {
    check("nobody_to_stop_for", &[], &[]);
}

#[test]
fn what_was_typed_ahead_reaches_the_run() {
    check("typed_ahead", &[], &[]);
}

#[test]
fn the_window_is_as_large_as_the_callers() {
    check("window_size", &[], &[]);
}

#[test]
fn the_callers_modes_come_back_however_a_run_ends() {
    check("modes_come_back", &[], &[]);
}

#[test]
fn every_byte_passes_both_ways() {
    check("every_byte", &[], &[]);
}

#[test]
fn all_that_was_written_arrives() {
    check("fast_writer", &[], &[]);
}

#[test]
fn a_terminal_can_be_forced_on_pipes_and_files() {
    check("forced", &[], &[]);
}

#[test]
fn a_terminal_that_is_gone_ends_the_run() {
    check("gone_for_good", &[], &[]);
}

#[test]
fn nobody_types_for_another() {
    check("nobody_types_for_another", &[], &[]);
}

#[test]
fn full_screen_programs_in_tmux() {
    check("full_screen", &["tmux", "less", "vi"], &[]);
}
