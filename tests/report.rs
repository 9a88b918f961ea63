//! What `--status-fd` and `--report` tell of a run, whom they tell it, and what becomes of a run when its caller or its
//! supervisor is gone.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use harness::case::{run_cage_trace, start_cage_trace};
use harness::reported::{everywhere, groups_of, outer, reported, script};
use harness::scratch::{Scratch, User, running_as_root};
use harness::{skip, skip_for_kernel};

#[test]
fn the_report_tells_of_every_end() {
    everywhere(|scratch, platform| {
        let run = reported(&[platform], &script("kill -TERM $$; sleep 9"), scratch);
        run.expect(143, "signal");
        assert_eq!(run.end["signal"], 15);
        let run = reported(&[platform], &script("sleep 9 & exit 5"), scratch);
        run.expect(5, "exit");
        assert_eq!(
            (&run.end["killed"], &run.end["signal"]),
            (&1.into(), &Value::Null)
        );
        let counts = &run.end["counts"];
        assert!(counts["calls"]["total"].as_u64() > Some(0), "{counts}");
        assert!(
            run.end["cpu_seconds"].as_f64() > Some(0.0),
            "{}",
            run.text()
        );
        assert!(
            run.end["peak_memory"].as_u64() > Some(100_000),
            "{}",
            run.text()
        );
        let start = run.start.as_ref().unwrap();
        assert_eq!(start["argv"], serde_json::json!(script("sleep 9 & exit 5")));
        assert_eq!(
            format!("--platform={}", start["platform"].as_str().unwrap()),
            platform
        );

        let run = reported(&[platform], &["no-such-command"], scratch);
        run.expect(127, "setup");
        assert!(
            run.start.is_none()
                && run.end["message"]
                    .as_str()
                    .unwrap()
                    .contains("no-such-command")
        );
        let run = reported(&[platform], &["/etc/passwd"], scratch);
        run.expect(126, "setup");
        let run = reported(&[platform, "--bind=/no/such/place"], &["true"], scratch);
        run.expect(125, "setup");
        scratch.write("orphan", b"#!/no/such/interpreter\n", 0o755);
        let run = reported(&[platform], &["./orphan"], scratch);
        run.expect(127, "setup");
    });
}

#[test]
fn the_status_descriptor_is_the_callers_alone() {
    everywhere(|scratch, platform| {
        let text = format!(
            r#""$CT" -q {platform} --status-fd=7 -- sh -c 'ls /proc/self/fd; echo x >&7' 7>lines 2>/dev/null; echo $?"#
        );
        let output = outer(scratch.user(), scratch, &text).finish();
        // 3 is the directory that ls reads.
        assert_eq!(
            output.stdout_text(),
            "0\n1\n2\n3\n2\n",
            "{}",
            output.stderr_text()
        );
        let lines = fs::read_to_string(scratch.path().join("lines")).unwrap();
        let events: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(events.len(), 2, "{lines}");
        assert_eq!(
            (&events[0]["event"], &events[1]["status"]),
            (&"start".into(), &2.into())
        );
    });
    let scratch = Scratch::new(User::Own);
    for (flag, word) in [
        (r"--status-fd=77", "not open"),
        (r"--status-fd=7 7</dev/null", "reading only"),
        (r"--status-fd=7 --pass-fd=7 7>/dev/null", "--pass-fd"),
    ] {
        let (flag, redirection) = flag.rsplit_once(' ').unwrap_or((flag, ""));
        let text = format!(r#""$CT" {flag} -- true {redirection}"#);
        let output = outer(User::Own, &scratch, &text).finish();
        assert_eq!(output.status, 125, "{flag}: {}", output.stderr_text());
        assert!(
            output.stderr_text().contains(word),
            "{}",
            output.stderr_text()
        );
    }
}

#[test]
fn the_report_is_covered_inside() {
    everywhere(|scratch, platform| {
        let directory = scratch.path().to_string_lossy().into_owned();
        let flags = [platform, "--bind", &directory];
        let attack = "cat report.json; echo mine >report.json; rm -f report.json; ls";
        let run = reported(&flags, &script(attack), scratch);
        assert!(run.start.is_some());
        assert!(
            !run.output.stdout_text().contains("event"),
            "{}",
            run.text()
        );
    });
    let scratch = Scratch::new(User::Own);
    let output = run_cage_trace(&["--report=no/such/dir", "--", "true"], &scratch);
    assert_eq!(output.status, 125);
    assert!(output.stderr_text().contains("--report no/such/dir"));
}

/// Whether a process runs with this word among its arguments.
fn runs(word: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|line| {
            line.split(|&byte| byte == 0)
                .any(|text| text == word.as_bytes())
        })
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(20));
    }
}

/// A time to sleep that nobody else sleeps.
fn own_sleep(number: u32) -> String {
    format!("{}.{number}", 30 + std::process::id() % 20)
}

#[test]
fn a_run_ends_with_its_caller_where_that_was_asked_for() {
    everywhere(|scratch, platform| {
        for (number, flag) in ["--die-with-parent", ""].into_iter().enumerate() {
            let user = if scratch.user() == User::Own { 1 } else { 2 };
            let word = own_sleep(
                100 * user
                    + u32::try_from(number).unwrap() * 10
                    + u32::from(platform.contains("ptrace")),
            );
            let text = format!(
                r#"(exec 1>&- 2>&-; exec "$CT" -q {platform} {flag} --report=r.json -- sleep {word}) & echo $!; exec sleep 100"#
            );
            let caller = outer(scratch.user(), scratch, &text);
            assert!(caller.wait_for("\n"));
            wait_until("the program never began", || {
                fs::read_to_string(scratch.path().join("r.json"))
                    .is_ok_and(|text| text.contains("start"))
                    && runs(&word)
            });
            caller.signal(Signal::SIGKILL);
            let output = caller.finish();
            if flag.is_empty() {
                sleep(Duration::from_millis(400));
                assert!(
                    runs(&word),
                    "it ended with its caller, which nobody asked for"
                );
                let pid = output.stdout_text().trim().parse().unwrap();
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
                wait_until("the run does not end", || !runs(&word));
            } else {
                wait_until("the run outlives its caller", || !runs(&word));
                wait_until("no report", || {
                    fs::read_to_string(scratch.path().join("r.json"))
                        .is_ok_and(|text| text.contains(r#""reason":"parent""#))
                });
            }
        }
    });
}

#[test]
fn what_a_killed_supervisor_leaves_is_removed_by_the_next() {
    if !running_as_root() {
        return skip("what_a_killed_supervisor_leaves", "root");
    }
    let scratch = Scratch::new(User::Own);
    let word = own_sleep(7);
    let flags = ["--memory=64m", "--pids-limit=9", "--report=r.json", "--"];
    let run = start_cage_trace(&[&flags[..], &["sleep", &word]].concat(), &scratch);
    wait_until("the program never began", || {
        fs::read_to_string(scratch.path().join("r.json")).is_ok_and(|text| text.contains("start"))
            && runs(&word)
    });
    let supervisor = u64::try_from(run.pid().as_raw()).unwrap();
    if groups_of(supervisor).is_empty() {
        return skip_for_kernel("what_a_killed_supervisor_leaves", "control groups");
    }
    run.signal(Signal::SIGKILL);
    run.finish();
    wait_until("the run outlives its supervisor", || {
        let mut groups = groups_of(supervisor).into_iter();
        groups.all(|group| {
            fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|text| text.is_empty())
        })
    });
    let next = run_cage_trace(
        &flags.iter().copied().chain(["true"]).collect::<Vec<_>>(),
        &scratch,
    );
    assert_eq!(next.status, 0, "{}", next.stderr_text());
    let left = groups_of(supervisor);
    assert!(left.is_empty(), "{left:?}");
}
