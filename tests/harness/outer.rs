//! A shell script that an ordinary shell runs, and which starts cage-trace itself: `$CT` is cage-trace, `$S` a scratch directory
//! below /tmp (and the working directory), `$HOME` the directory `$S/home`, `$O` is 1 for an ordinary user and empty for root.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use super::process::{Output, Running};
use super::scratch::{Installed, Scratch, User, running_as_root};
use super::{PLAIN_PATH, skip};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs `script` as `user`, with these variables besides.
pub(crate) fn outer_with(user: User, script: &str, variables: &[(&str, OsString)]) -> Output {
    let installed = Installed::get();
    let scratch = Scratch::new(user);
    scratch.write("home/file", b"mine\n", 0o644);
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script])
        .current_dir(scratch.path())
        .env_clear()
        .env("PATH", format!("{PLAIN_PATH}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .env("HOME", scratch.path().join("home"))
        .env("S", scratch.path())
        .env("CT", installed.cage_trace());
    if user == User::Ordinary || !running_as_root() {
        command.env("O", "1");
    }
    for (name, value) in variables {
        command.env(name, value);
    }
    user.apply(&mut command);
    Running::start(command, &[], LIMIT).finish()
}

/// Runs `script` as `user`.
pub(crate) fn outer(user: User, script: &str) -> Output {
    outer_with(user, script, &[])
}

/// Asserts what a script that `user` ran said on its standard output.
pub(crate) fn said(user: User, script: &str, output: &Output, expected: &str) {
    assert_eq!(
        (output.stdout_text().as_str(), output.hung),
        (expected, None),
        "as {user:?}, status {}; stderr:\n{}\nscript:\n{script}",
        output.status,
        output.stderr_text()
    );
}

/// Runs `script` as `user` and compares its standard output.
pub(crate) fn check_as(user: User, script: &str, expected: &str) {
    said(user, script, &outer(user, script), expected);
}

/// Runs `script` as everyone at hand and compares its standard output.
pub(crate) fn check(script: &str, expected: &str) {
    for user in User::all() {
        check_as(*user, script, expected);
    }
}

/// As [`check`], for what only root can try.
pub(crate) fn check_as_root(name: &str, script: &str, expected: &str) {
    if running_as_root() {
        check_as(User::Own, script, expected);
    } else {
        skip(name, "root");
    }
}
