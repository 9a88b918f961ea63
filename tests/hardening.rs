//! Attacks and accidents: small programs of tests/hardening/ that try to get past the supervisor or to hang it. Each is
//! bounded; what must come of it stands beside it, since natively most of them show nothing.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use harness::case::Run;
use harness::process::Output;
use harness::scratch::{Installed, Scratch, User};
use harness::{program, skip};

const PLATFORMS: [&str; 3] = ["--platform=hybrid", "--platform=fast", "--platform=ptrace"];

fn build(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/hardening/{name}.c"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hardening");
    std::fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("mkdir {}: {e}", folder.display()));
    let target = folder.join(name);
    let output = Command::new("gcc")
        .args(["-O1", "-Wall", "-Werror", "-pthread", "-std=gnu11", "-o"])
        .args([&target, &source])
        .output()
        .unwrap_or_else(|e| panic!("run gcc: {e}"));
    assert!(
        output.status.success(),
        "gcc cannot build {name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    target
}

/// Runs a program on every platform and as every user, and shows each outcome to `judge`.
fn each(name: &str, flags: &[&str], judge: impl Fn(&str, &Output)) {
    if program("gcc").is_none() {
        return skip(name, "gcc");
    }
    let installed = Installed::get();
    let program = installed.add(&build(name));
    for &user in User::all() {
        for platform in PLATFORMS {
            let scratch = Scratch::new(user);
            let mut run = Run::new(&[&program.to_string_lossy()]);
            run.limit = Duration::from_secs(20);
            let flags: Vec<&str> = flags.iter().copied().chain([platform]).collect();
            let output = run.start_caged(&flags, &scratch).finish();
            let what = format!(
                "{name}, {user:?}, {platform}: status {}\nstdout: {}\nstderr: {}",
                output.status,
                output.stdout_text(),
                output.stderr_text()
            );
            assert_eq!(output.hung, None, "{what}");
            judge(&what, &output);
        }
    }
}

#[test]
fn code_that_is_rewritten_under_a_call_makes_no_call_of_its_own() {
    each("rewritten_call", &[], |what, output| {
        // The cage is killed when it is caught; where the two threads never met it ends well.
        let text = output.stdout_text();
        assert!(
            (output.status == 137 && text.is_empty())
                || (output.status == 0 && text == "kept out\n"),
            "{what}"
        );
    });
}

#[test]
fn cages_killed_at_any_point_leave_nothing_behind() {
    // --wait: what is left would be waited for.
    each("killed_anywhere", &["--wait"], |what, output| {
        assert_eq!(
            (output.status, output.stdout_text().as_str()),
            (0, "wrong 0\n"),
            "{what}"
        );
    });
}

#[test]
fn a_table_outlives_whoever_is_killed_while_changing_it() {
    each("killed_sharing", &[], |what, output| {
        assert_eq!(
            (output.status, output.stdout_text().as_str()),
            (0, "wrong 0\n"),
            "{what}"
        );
    });
}

#[test]
fn threads_that_never_cease_to_open_hold_up_no_fork() {
    each("fork_in_a_storm", &[], |what, output| {
        assert_eq!(
            (output.status, output.stdout_text().as_str()),
            (0, "reaped 20\n"),
            "{what}"
        );
    });
}

#[test]
fn a_killed_supervisor_leaves_no_cage_behind() {
    let _installed = Installed::get();
    for platform in PLATFORMS {
        let scratch = Scratch::new(User::Own);
        let script = "sleep 300 & (while :; do /bin/true; done) & echo begun; while :; do : </dev/null; done";
        let running = Run::new(&["/bin/sh", "-c", script]).start_caged(&[platform], &scratch);
        assert!(running.wait_for("begun"), "{platform}: it did not begin");
        running.signal(Signal::SIGKILL);
        let output = running.finish();
        // Every cage holds the output open.
        assert_eq!((output.status, output.hung), (137, None), "{platform}");
    }
}
