//! What the tests of flags share: every user in turn, and how a refusal looks.

use super::process::Output;
use super::scratch::{Scratch, User};

/// Runs `test` for every user, with a scratch directory.
pub(crate) fn everyone(test: impl Fn(&Scratch)) {
    for &user in User::all() {
        test(&Scratch::new(user));
    }
}

/// Asserts that a command line was refused, with a message that has every word.
pub(crate) fn refused(output: &Output, words: &[&str]) {
    let said = output.stderr_text();
    assert_eq!(output.status, 125, "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}
