//! What a program is given besides its world: standard streams, descriptors by number, the environment.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use harness::case::{run_caged, run_native};
use harness::flags::{everyone, refused};
use harness::process::Output;
use harness::scratch::{Installed, Scratch};

fn expect(output: &Output, status: i32, stdout: &str) {
    assert_eq!(
        (output.status, output.hung, output.stdout_text().as_str()),
        (status, None, stdout),
        "stderr: {}",
        output.stderr_text()
    );
}

/// A shell that starts cage-trace with this rest of the command line.
fn by_shell(rest: &str, scratch: &Scratch) -> Output {
    let program = Installed::get().cage_trace();
    let line = format!("{} -q {rest}", program.display());
    run_native(&["/bin/bash", "-c", &line], scratch)
}

#[test]
fn streams_can_be_files() {
    everyone(|scratch| {
        scratch.write("in", b"from a file\n", 0o644);
        let flags = ["--stdin=in", "--stdout=out", "--stderr=err"];
        let script = "cat; echo to stderr >&2";
        let output = run_caged(&flags, &["/bin/sh", "-c", script], scratch);
        expect(&output, 0, "");
        let read = |name: &str| std::fs::read_to_string(scratch.path().join(name)).unwrap();
        assert_eq!(read("out"), "from a file\n");
        assert_eq!(read("err"), "to stderr\n");
        let script = "echo one; echo two >&2; echo three";
        run_caged(
            &["--stdout=both", "--stderr=both"],
            &["/bin/sh", "-c", script],
            scratch,
        );
        assert_eq!(read("both"), "one\ntwo\nthree\n");
        refused(
            &run_caged(&["--stdin=no/such"], &["true"], scratch),
            &["--stdin=no/such", "name a file"],
        );
        refused(
            &run_caged(&["--stdout=no/such"], &["true"], scratch),
            &["--stdout=no/such"],
        );
    });
}

#[test]
fn descriptors_are_handed_on_by_name_only() {
    everyone(|scratch| {
        scratch.write("data", b"kept\n", 0o644);
        let output = by_shell("--pass-fd=7 -- cat /dev/fd/7 7<data", scratch);
        expect(&output, 0, "kept\n");
        let output = by_shell(
            "--pass-fd=63 --pass-fd 62 -- diff <(echo a) <(echo a) && echo same",
            scratch,
        );
        expect(&output, 0, "same\n");
        let output = by_shell("-- cat /dev/fd/7 7<data", scratch);
        assert_ne!(output.status, 0);
        let output = by_shell(
            "--pass-fd=9 -- sh -c 'ls /proc/self/fd | tr \"\\n\" \" \"' 7<data 9<data",
            scratch,
        );
        // The listing has the descriptor that it is read by.
        expect(&output, 0, "0 1 2 3 9 ");
        refused(
            &by_shell("--pass-fd=8 -- true", scratch),
            &["--pass-fd=8", "no such descriptor"],
        );
        refused(
            &by_shell("--pass-fd=x -- true", scratch),
            &["--pass-fd", "x"],
        );
        let program = Installed::get().cage_trace();
        let line = format!("{} -- cat /dev/fd/7 7<data", program.display());
        let output = run_native(&["/bin/bash", "-c", &line], scratch);
        assert!(
            output.stderr_text().contains("--pass-fd=7"),
            "{}",
            output.stderr_text()
        );
    });
}

#[test]
fn the_environment_is_what_was_asked_for() {
    everyone(|scratch| {
        let run = |flags: &str| by_shell(&format!("{flags} -- /usr/bin/env"), scratch);
        let has = |output: &Output, line: &str| output.stdout_text().lines().any(|it| it == line);
        let plain = run("");
        assert!(!plain.stdout_text().contains("CAGE_TEST"));
        let set = run("-e CAGE_TEST=1 --env=CAGE_OTHER='a=b c' -e CAGE_TEST=2");
        assert!(
            has(&set, "CAGE_TEST=2") && has(&set, "CAGE_OTHER=a=b c"),
            "{}",
            set.stdout_text()
        );
        let cleared = run("--clear-env -e ONLY=1");
        expect(&cleared, 0, "ONLY=1\n");
        let program = Installed::get().cage_trace();
        let by_env = |flags: &str| {
            let line = format!(
                "CAGE_TEST=x CAGE_MORE=y {} -q {flags} -- /usr/bin/env",
                program.display()
            );
            run_native(&["/bin/bash", "-c", &line], scratch)
        };
        assert!(!has(&by_env(""), "CAGE_TEST=x"));
        let inherited = by_env("-e CAGE_TEST");
        assert!(has(&inherited, "CAGE_TEST=x") && !has(&inherited, "CAGE_MORE=y"));
        let kept = by_env("--keep-env --unset-env CAGE_MORE");
        assert!(has(&kept, "CAGE_TEST=x") && !has(&kept, "CAGE_MORE=y"));
        refused(&run("-e =1"), &["no name"]);
        refused(&run("-e trace=open"), &["strace", "--env"]);
        refused(&run("--keep-env --clear-env"), &["--clear-env"]);
    });
}
