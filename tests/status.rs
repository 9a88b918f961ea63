//! Exit statuses, messages and signals of a run: what a shell that started cage-trace gets to see.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use harness::case::{Run, run_cage_trace, run_caged, run_native, start_cage_trace};
use harness::platforms;
use harness::process::{Output, Running};
use harness::scratch::{Installed, Scratch, User};

/// Runs `test` for every user and platform, with a scratch directory and the platform's flag.
fn everywhere(test: impl Fn(&Scratch, &str)) {
    let _installed = Installed::get();
    for &user in User::all() {
        for platform in platforms().iter().filter(|&platform| platform != "native") {
            test(&Scratch::new(user), &format!("--platform={platform}"));
        }
    }
}

/// Asserts a status and shows everything when it is another.
fn expect(output: &Output, status: i32, what: &str) {
    assert_eq!(
        (output.status, output.hung),
        (status, None),
        "{what}\nstdout: {}\nstderr: {}",
        output.stdout_text(),
        output.stderr_text()
    );
}

/// Asserts that stderr is one message of ours and contains every word.
fn expect_message(output: &Output, words: &[&str]) {
    let text = output.stderr_text();
    assert!(!text.is_empty(), "a failure without a message");
    assert!(text.starts_with("cage-trace: "), "not ours: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

fn exits_with(script: &str, scratch: &Scratch, flag: &str) -> Output {
    run_caged(&[flag], &["/bin/sh", "-c", script], scratch)
}

#[test]
fn every_exit_status_comes_through() {
    everywhere(|scratch, flag| {
        // All 256 once; the user makes no difference to them.
        let step = if scratch.user() == User::Own { 1 } else { 51 };
        for status in (0..=255).step_by(step) {
            let output = exits_with(&format!("exit {status}"), scratch, flag);
            expect(&output, status, flag);
            assert!(
                output.stderr.is_empty(),
                "exit {status} says {}",
                output.stderr_text()
            );
        }
    });
}

#[test]
fn a_signal_is_128_and_its_number() {
    everywhere(|scratch, flag| {
        for signal in [1, 2, 3, 6, 8, 9, 10, 11, 13, 14, 15, 31, 34, 64] {
            let script = format!("ulimit -c 0; kill -{signal} $$; sleep 5");
            expect(
                &exits_with(&script, scratch, flag),
                128 + signal,
                &format!("signal {signal}, {flag}"),
            );
        }
    });
}

#[test]
fn the_first_child_decides() {
    everywhere(|scratch, flag| {
        let began = Instant::now();
        let output = exits_with("(sleep 30; echo late; exit 9) & exit 3", scratch, flag);
        expect(&output, 3, flag);
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "the rest was waited for"
        );
        assert!(output.stdout.is_empty(), "{}", output.stdout_text());
    });
}

#[test]
fn verbose_says_how_many_were_killed() {
    everywhere(|scratch, flag| {
        let script = ["/bin/sh", "-c", "sleep 30 & sleep 30 & exit 3"];
        let loud = [&[flag, "-v", "--"], script.as_slice()].concat();
        let output = run_cage_trace(&loud, scratch);
        expect(&output, 3, flag);
        assert!(
            output.stderr_text().contains('2'),
            "{}",
            output.stderr_text()
        );
    });
}

#[test]
fn wait_waits_for_all() {
    everywhere(|scratch, flag| {
        let script = "(sleep 0.4; echo late; exit 9) & echo first; exit 3";
        let output = run_caged(&[flag, "--wait"], &["/bin/sh", "-c", script], scratch);
        expect(&output, 3, flag);
        assert_eq!(output.stdout_text(), "first\nlate\n");
    });
}

#[test]
fn bad_usage_is_125() {
    let scratch = Scratch::new(User::Own);
    let table: &[(&[&str], &[&str])] = &[
        (&["--no-such-option", "--", "true"], &["--no-such-option"]),
        (&["--platform=none", "--", "true"], &["none"]),
        (&["--stats=xml", "--", "true"], &["xml"]),
        (&[], &[]),
        (&["--"], &[]),
        (&["-o", "log.txt", "--", "true"], &["log.txt", "--format"]),
        (
            &["-o", "no/such/log.jsonl", "--", "true"],
            &["no/such/log.jsonl"],
        ),
        (
            &["--bind", "/no/such/directory", "--", "true"],
            &["/no/such/directory"],
        ),
        (
            &["--ro-bind", "/no/such/directory", "--", "true"],
            &["/no/such/directory"],
        ),
    ];
    for (arguments, words) in table {
        let output = run_cage_trace(arguments, &scratch);
        expect(&output, 125, &format!("{arguments:?}"));
        expect_message(&output, words);
        assert!(
            output.stdout.is_empty(),
            "{arguments:?} prints {}",
            output.stdout_text()
        );
    }
}

#[test]
fn help_and_version_succeed() {
    let scratch = Scratch::new(User::Own);
    for (flag, word) in [
        ("--help", "COMMAND"),
        ("--version", env!("CARGO_PKG_VERSION")),
    ] {
        let output = run_cage_trace(&[flag], &scratch);
        expect(&output, 0, flag);
        assert!(
            output.stdout_text().contains(word),
            "{}",
            output.stdout_text()
        );
        assert!(output.stderr.is_empty(), "{}", output.stderr_text());
    }
}

#[test]
fn what_cannot_be_executed_is_126() {
    everywhere(|scratch, flag| {
        scratch.write("plain", b"#!/bin/sh\nexit 0\n", 0o644);
        scratch.write("noise", b"\x7fELF but not really", 0o755);
        let bind = scratch.path().display().to_string();
        for command in ["./plain", "./noise", "/usr"] {
            let output = run_cage_trace(&[flag, "--bind", &bind, "--", command], scratch);
            expect(&output, 126, &format!("{command} {flag}"));
            expect_message(&output, &[command]);
        }
    });
}

#[test]
fn what_is_not_there_is_127() {
    everywhere(|scratch, flag| {
        for command in [
            "no-such-program-anywhere",
            "./no-such-program",
            "/no/such/program",
        ] {
            let output = run_cage_trace(&[flag, "--", command], scratch);
            expect(&output, 127, &format!("{command} {flag}"));
            expect_message(&output, &[command]);
        }
    });
}

#[test]
fn options_end_at_the_command() {
    everywhere(|scratch, flag| {
        let output = run_cage_trace(&[flag, "echo", "-o", "--", "--bind"], scratch);
        expect(&output, 0, flag);
        assert_eq!(output.stdout_text(), "-o -- --bind\n");
    });
}

/// Starts a script that says `ready`, and waits until it does.
fn ready(script: &str, scratch: &Scratch, flag: &str) -> Running {
    let running = Run::new(&["/bin/sh", "-c", script]).start_caged(&[flag], scratch);
    assert!(
        running.wait_for("ready"),
        "the program did not become ready ({flag})"
    );
    running
}

#[test]
fn signals_reach_the_program() {
    everywhere(|scratch, flag| {
        for (signal, name) in [
            (Signal::SIGTERM, "TERM"),
            (Signal::SIGINT, "INT"),
            (Signal::SIGHUP, "HUP"),
            (Signal::SIGQUIT, "QUIT"),
            (Signal::SIGUSR1, "USR1"),
            (Signal::SIGUSR2, "USR2"),
            (Signal::SIGWINCH, "WINCH"),
        ] {
            let script = format!(
                "trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 0.02; done"
            );
            let running = ready(&script, scratch, flag);
            running.signal(signal);
            let output = running.finish();
            expect(&output, 7, &format!("{name} {flag}"));
            assert_eq!(output.stdout_text(), format!("ready\ngot {name}\n"));
        }
    });
}

#[test]
fn a_forwarded_signal_can_end_the_program() {
    everywhere(|scratch, flag| {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            let running = ready("echo ready; exec sleep 30", scratch, flag);
            // `ready` was printed before the exec: the signal may come before it or after, both must end the program.
            running.signal(signal);
            expect(
                &running.finish(),
                128 + signal as i32,
                &format!("{signal} {flag}"),
            );
        }
    });
}

#[test]
fn an_ignored_signal_is_ignored() {
    everywhere(|scratch, flag| {
        let script =
            "trap '' TERM; trap 'echo usr1; exit 5' USR1; echo ready; while :; do sleep 0.02; done";
        let running = ready(script, scratch, flag);
        running.signal(Signal::SIGTERM);
        thread::sleep(Duration::from_millis(100));
        running.signal(Signal::SIGUSR1);
        let output = running.finish();
        expect(&output, 5, flag);
        assert_eq!(output.stdout_text(), "ready\nusr1\n");
    });
}

#[test]
fn nothing_outlives_a_killed_supervisor() {
    everywhere(|scratch, flag| {
        let running = ready(
            "(while :; do sleep 0.02; done) & echo ready; sleep 60",
            scratch,
            flag,
        );
        running.signal(Signal::SIGKILL);
        // Every cage holds the output pipe: `hung` says so when one lives on.
        expect(&running.finish(), 137, flag);
    });
}

#[test]
fn a_write_to_the_read_only_world_is_reported() {
    everywhere(|scratch, flag| {
        let script = [
            "/bin/sh",
            "-c",
            "echo x 2>/dev/null >/usr/cage-trace-was-here; exit 4",
        ];
        let output = run_cage_trace(&[&[flag, "--"], script.as_slice()].concat(), scratch);
        expect(&output, 4, flag);
        let text = output.stderr_text();
        let ours = text
            .lines()
            .filter(|line| line.starts_with("cage-trace: "))
            .collect::<Vec<_>>();
        assert_eq!(ours.len(), 1, "one line of ours: {text}");
        assert!(text.contains("--bind"), "{text}");
        let output = run_cage_trace(&[&[flag, "-q", "--"], script.as_slice()].concat(), scratch);
        expect(&output, 4, flag);
        assert!(
            !output.stderr_text().contains("cage-trace: "),
            "{}",
            output.stderr_text()
        );
    });
}

#[test]
fn closed_standard_descriptors_are_no_obstacle() {
    everywhere(|scratch, flag| {
        let program = Installed::get().cage_trace();
        let script = "i=0; for n in 0 1 2; do test -e /proc/self/fd/$n || i=$((i + (1 << n))); done; exit $i";
        for (closed, status) in [("<&-", 1), (">&-", 2), ("2>&-", 4), ("<&- >&- 2>&-", 7)] {
            // The shell's own redirection would open a descriptor: `test` looks without one.
            let outer = format!(
                "{} -q {flag} -- /bin/sh -c '{script}' {closed}",
                program.display()
            );
            let caged = run_native(&["/bin/sh", "-c", &outer], scratch);
            let native = run_native(
                &["/bin/sh", "-c", &format!("/bin/sh -c '{script}' {closed}")],
                scratch,
            );
            expect(&native, status, closed);
            expect(&caged, status, &format!("{closed} {flag}"));
        }
    });
}

#[test]
fn many_runs_at_once_do_not_meet() {
    everywhere(|scratch, flag| {
        let running: Vec<Running> = (0..6)
            .map(|number| {
                let script = format!(
                    "sleep 0.1; echo {number}; set -- /proc/[0-9]*; echo $#; exit {number}"
                );
                start_cage_trace(&[flag, "-q", "--", "/bin/sh", "-c", &script], scratch)
            })
            .collect();
        let mut counts = Vec::new();
        for (number, run) in (0..).zip(running) {
            let output = run.finish();
            expect(&output, number, flag);
            let text = output.stdout_text();
            let (first, count) = text.trim_end().split_once('\n').unwrap_or(("", ""));
            assert_eq!(first, number.to_string());
            counts.push(count.to_owned());
        }
        // Its init and its shell.
        assert_eq!(counts, ["2"; 6], "every run sees its own processes only");
    });
}
