//! Exit statuses, messages and signals of a run: what a shell that started cage-trace gets to see.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use harness::case::run_caged;
use harness::scratch::{Scratch, User};

#[test]
fn the_first_child_decides() {
    let scratch = Scratch::new(User::Own);
    let output = run_caged(
        &[],
        &["/bin/sh", "-c", "(sleep 30; exit 9) & exit 3"],
        &scratch,
    );
    assert_eq!(
        (output.status, output.hung),
        (3, None),
        "{}",
        output.stderr_text()
    );
}
