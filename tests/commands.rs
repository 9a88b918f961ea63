//! Subcommands and profiles, as a user meets them.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use harness::case::{run_cage_trace, run_caged, run_native};
use harness::flags::{everyone, refused};
use harness::scratch::{Installed, Scratch, User};

#[test]
fn doctor_says_whether_a_run_is_possible() {
    everyone(|scratch| {
        let output = run_cage_trace(&["doctor"], scratch);
        let said = output.stdout_text();
        assert_eq!(output.status, 0, "{said}{}", output.stderr_text());
        for name in [
            "kernel",
            "user namespaces",
            "ptrace",
            "seccomp",
            "cgroups",
            "overlay",
            "TIOCSTI",
            "a run",
        ] {
            assert!(
                said.lines().any(|line| line.contains(name)),
                "{name}: {said}"
            );
        }
        assert!(!said.contains("BAD"), "{said}");
    });
}

#[test]
fn completions_are_scripts_that_their_shell_reads() {
    let scratch = Scratch::new(User::Own);
    let output = run_cage_trace(&["completions", "bash"], &scratch);
    scratch.write("complete.bash", &output.stdout, 0o644);
    let check = "source ./complete.bash && complete -p cage-trace";
    let output = run_native(&["/bin/bash", "-c", check], &scratch);
    assert_eq!(output.status, 0, "{}", output.stderr_text());
    assert!(output.stdout_text().contains("cage-trace"));
    refused(
        &run_cage_trace(&["completions", "csh"], &scratch),
        &["csh", "bash"],
    );
    let page = run_cage_trace(&["man"], &scratch).stdout_text();
    assert!(
        page.starts_with(".ie") || page.starts_with(".TH"),
        "{page:.40}"
    );
}

#[test]
fn a_profile_sets_flags_and_the_command_line_wins() {
    everyone(|scratch| {
        let profile =
            "version = 1\nhostname = \"from-profile\"\nenv = [\"A=profile\", \"B=profile\"]\n";
        scratch.write("mine.toml", profile.as_bytes(), 0o644);
        let run = |flags: &[&str]| {
            run_caged(flags, &["/bin/sh", "-c", "echo $A $B $(uname -n)"], scratch)
        };
        assert_eq!(
            run(&["--profile=./mine.toml"]).stdout_text(),
            "profile profile from-profile\n"
        );
        let changed = run(&["-e", "B=line", "--profile=mine.toml", "--hostname=line"]);
        assert_eq!(changed.stdout_text(), "profile line line\n");
        let strict = run_caged(&["--profile=strict"], &["/usr/bin/env"], scratch);
        assert_eq!(
            strict
                .stdout_text()
                .lines()
                .filter(|line| line.starts_with("HOME="))
                .count(),
            0
        );
        scratch.write("bad.toml", b"version = 1\nhostnme = \"x\"\n", 0o644);
        refused(&run(&["--profile=bad.toml"]), &["bad.toml", "hostnme"]);
        scratch.write("old.toml", b"hostname = \"x\"\n", 0o644);
        refused(&run(&["--profile=old.toml"]), &["version = 1"]);
        scratch.write("broken.toml", b"version = ", 0o644);
        refused(&run(&["--profile=broken.toml"]), &["broken.toml", "TOML"]);
        refused(&run(&["--profile=nothing"]), &["nothing", "strict"]);
        refused(
            &run(&["--profile=./no.toml"]),
            &["no.toml", "cannot be read"],
        );
    });
}

/// A build may write to its directory, and nowhere else of the host.
#[test]
fn the_build_profile_builds() {
    if harness::program("gcc").is_none() {
        return harness::skip("the_build_profile_builds", "gcc");
    }
    everyone(|scratch| {
        scratch.write("x.c", b"int main(void) { return 7; }\n", 0o644);
        let program = Installed::get().cage_trace();
        let line = format!(
            "{} -q --profile=build -- gcc -o x x.c && ./x",
            program.display()
        );
        let output = run_native(&["/bin/sh", "-c", &line], scratch);
        assert_eq!(output.status, 7, "{}", output.stderr_text());
    });
}

/// Every flag is in docs/OPTIONS.md, and nothing else is.
#[test]
fn the_options_are_written_down() {
    let scratch = Scratch::new(User::Own);
    let help = run_cage_trace(&["--help"], &scratch).stdout_text();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let written = std::fs::read_to_string(root.join("docs/OPTIONS.md")).unwrap();
    let flags = |text: &str| -> std::collections::BTreeSet<String> {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|word| word.starts_with("--") && word.len() > 4)
            .map(str::to_owned)
            .collect()
    };
    let options = help
        .lines()
        .filter(|line| line.trim_start().starts_with('-') || line.contains("syscalls [--"));
    let known = flags(&options.collect::<Vec<_>>().join("\n"));
    assert!(known.len() > 40, "{known:?}");
    assert_eq!(flags(&written), known);
}
