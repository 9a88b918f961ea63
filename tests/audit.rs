//! The audit log of real runs: a line for every call, absolute paths, the run's own numbers; `strace` is not needed to
//! know what must be there, since each program's calls are known.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use harness::case::run_caged;
use harness::process::Output;
use harness::scratch::{Installed, Scratch, User};

/// A run and its log.
struct Logged {
    output: Output,
    lines: Vec<Value>,
}

fn run(flags: &[&str], argv: &[&str], scratch: &Scratch) -> Logged {
    // Beside the scratch directory, not in it: what a run may write to is not where its log is.
    let name = format!("{}.log.jsonl", scratch.path().display());
    let log = Path::new(&name);
    fs::write(log, b"").unwrap();
    if scratch.user() == User::Ordinary {
        let id = Some(harness::scratch::ordinary_id());
        std::os::unix::fs::chown(log, id, id).unwrap();
    }
    let flags: Vec<&str> = ["-o", &name].iter().chain(flags).copied().collect();
    let output = run_caged(&flags, argv, scratch);
    let text = fs::read_to_string(log).unwrap();
    fs::remove_file(log).unwrap();
    assert!(text.ends_with('\n'), "the last line is whole");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    Logged { output, lines }
}

impl Logged {
    fn of_type(&self, kind: &str) -> Vec<&Value> {
        self.lines
            .iter()
            .filter(|line| line["type"] == kind)
            .collect()
    }

    fn calls(&self, name: &str) -> Vec<&Value> {
        let mut calls = self.of_type("syscall");
        calls.retain(|line| line["syscall"] == name);
        calls
    }

    /// The calls of one name that named this path.
    fn with_path(&self, name: &str, path: &str) -> Vec<&Value> {
        let mut calls = self.calls(name);
        calls.retain(|line| line["paths"].as_array().unwrap().contains(&json!(path)));
        calls
    }
}

fn everywhere(test: impl Fn(&Scratch, &str)) {
    let _installed = Installed::get();
    for &user in User::all() {
        for platform in ["hybrid", "fast", "ptrace"] {
            test(&Scratch::new(user), &format!("--platform={platform}"));
        }
    }
}

#[test]
fn every_line_is_numbered_and_whole() {
    everywhere(|scratch, platform| {
        let script = "echo one > a; cat a; mkdir d; cd d; cat ../a; exit 3";
        let logged = run(&[platform], &["/bin/sh", "-c", script], scratch);
        assert_eq!(logged.output.status, 3, "{}", logged.output.stderr_text());
        assert_eq!(logged.output.stdout_text(), "one\none\n");
        let lines = &logged.lines;
        for (seq, line) in lines.iter().enumerate() {
            assert_eq!(line["seq"], json!(seq), "{line}");
            assert_eq!(line["v"], 1);
            let ts = line["ts"].as_str().unwrap();
            assert!(
                ts.split_once('.')
                    .is_some_and(|(_, nanos)| nanos.len() == 9),
                "{ts}"
            );
        }
        assert_eq!(lines.first().unwrap()["type"], "meta");
        let summary = lines.last().unwrap();
        assert_eq!(summary["type"], "summary");
        assert_eq!(summary["lines"], json!(lines.len()));
        assert_eq!(
            (&summary["lost"], &summary["status"]),
            (&json!(0), &json!(3))
        );
        assert_eq!(summary["calls"], json!(logged.of_type("syscall").len()));
        for call in logged.of_type("syscall") {
            for key in [
                "cage", "pid", "tid", "ppid", "host_pid", "comm", "cwd", "nr", "dur_ns",
            ] {
                assert!(!call[key].is_null(), "no {key}: {call}");
            }
            assert!(call["pid"].as_i64().unwrap() > 1, "an inner number: {call}");
            // A result and an error are one pair.
            assert_eq!(
                call["errno"].is_string(),
                call["ret"] == json!(-1),
                "{call}"
            );
        }
    });
}

#[test]
fn paths_are_absolute_however_they_were_named() {
    everywhere(|scratch, platform| {
        let here = scratch.path().to_str().unwrap();
        let script = "mkdir d; cd d; : > f; cat f missing; rm f; ls / >/dev/null";
        let logged = run(&[platform], &["/bin/sh", "-c", script], scratch);
        let file = format!("{here}/d/f");
        let opened = logged.with_path("openat", &file);
        assert!(opened.len() >= 2, "sh made it and cat read it: {opened:?}");
        let made = opened[0];
        assert_eq!(made["cwd"], json!(format!("{here}/d")));
        assert_eq!(made["args"][1]["path"], json!(file));
        assert!(
            made["args"][2]["text"]
                .as_str()
                .unwrap()
                .contains("O_CREAT")
        );
        let fd = made["ret"].as_i64().unwrap();
        assert_eq!(made["fd"][fd.to_string()], json!(file));
        let missing = logged.with_path("openat", &format!("{here}/d/missing"));
        assert_eq!(missing.len(), 1);
        assert_eq!(
            (&missing[0]["ret"], &missing[0]["errno"]),
            (&json!(-1), &json!("ENOENT"))
        );
        assert_eq!(logged.with_path("unlinkat", &file).len(), 1);
        assert_eq!(logged.with_path("chdir", &format!("{here}/d")).len(), 1);
        let closes = logged.calls("close");
        assert!(
            closes.iter().any(|call| call["fd"]
                .as_object()
                .unwrap()
                .values()
                .any(|label| *label == file)),
            "a close names what it closed"
        );
    });
}

#[test]
fn lives_are_told() {
    everywhere(|scratch, platform| {
        let script = "/bin/true a 'b c'; (kill -TERM $BASHPID); exit 0";
        let logged = run(&[platform], &["/bin/bash", "-c", script], scratch);
        assert_eq!(logged.output.status, 0, "{}", logged.output.stderr_text());
        let execs = logged.of_type("exec");
        let last = execs.last().unwrap();
        assert_eq!(last["argv"], json!(["/bin/true", "a", "b c"]), "{execs:?}");
        assert!(last["path"].as_str().unwrap().ends_with("/true"));
        assert_eq!(last["comm"], "true");
        for exec in logged
            .calls("execve")
            .iter()
            .filter(|call| call["errno"].is_null())
        {
            assert_eq!(exec["ret"], json!(0), "{exec}");
        }
        assert_eq!(
            execs.len(),
            logged
                .calls("execve")
                .iter()
                .filter(|call| call["errno"].is_null())
                .count(),
            "an exec's call is one line"
        );
        let clones = logged.of_type("clone");
        assert_eq!(clones.len(), 2, "{clones:?}");
        for clone in &clones {
            assert_eq!(
                (&clone["parent"], &clone["thread"]),
                (&json!("c1"), &json!(false))
            );
        }
        let signals = logged.of_type("signal");
        assert!(
            signals.iter().any(|line| line["signal"] == "SIGTERM"),
            "{signals:?}"
        );
        let exits = logged.of_type("exit");
        assert_eq!(exits.len(), 3);
        assert_eq!(
            exits
                .iter()
                .filter(|exit| exit["signal"] == "SIGTERM")
                .count(),
            1
        );
        assert_eq!(exits.last().unwrap()["status"], json!(0));
        // An exit has no result, and is there once for each process that called it.
        let ends = logged.calls("exit_group");
        assert_eq!(ends.len(), 2, "{ends:?}");
        assert!(ends.iter().all(|call| call["ret"].is_null()));
        let children: Vec<_> = clones.iter().map(|clone| clone["pid"].clone()).collect();
        for child in logged
            .calls("exit_group")
            .iter()
            .filter(|call| call["cage"] != "c1")
        {
            assert!(children.contains(&child["pid"]));
            assert_eq!(child["ppid"], logged.calls("execve")[0]["pid"], "{child}");
        }
    });
}

#[test]
fn threads_are_told_apart() {
    if harness::program("python3").is_none() {
        return harness::skip("threads_are_told_apart", "python3");
    }
    everywhere(|scratch, platform| {
        let script = "import threading, os\nts = [threading.Thread(target=lambda: os.listdir('/')) for _ in range(3)]\n\
                      [t.start() for t in ts]\n[t.join() for t in ts]\nprint('ok')";
        let argv = ["/usr/bin/python3", "-c", script];
        let logged = run(&[platform], &argv, scratch);
        assert_eq!(
            logged.output.stdout_text(),
            "ok\n",
            "{}",
            logged.output.stderr_text()
        );
        let threads: Vec<_> = logged
            .of_type("clone")
            .into_iter()
            .filter(|line| line["thread"] == json!(true))
            .collect();
        assert_eq!(threads.len(), 3);
        for thread in threads {
            assert_ne!(thread["tid"], thread["pid"]);
            assert!(
                logged
                    .of_type("syscall")
                    .iter()
                    .any(|call| call["tid"] == thread["tid"]),
                "a thread without a call: {thread}"
            );
        }
        assert_eq!(logged.of_type("exit").len(), 1, "threads are no processes");
    });
}

#[test]
fn a_log_changes_nothing_that_the_program_sees() {
    everywhere(|scratch, platform| {
        let script = "for i in 1 2 3; do echo $i | tr 1-3 a-c; done | sort -r > out; cat out; cat missing; echo $?";
        let plain = run_caged(&[platform], &["/bin/sh", "-c", script], scratch);
        let logged = run(&[platform], &["/bin/sh", "-c", script], scratch);
        assert_eq!(plain.stdout_text(), "c\nb\na\n1\n");
        assert_eq!(logged.output.stdout_text(), plain.stdout_text());
        assert_eq!(logged.output.stderr_text(), plain.stderr_text());
        assert_eq!(logged.output.status, plain.status);
    });
}

#[test]
fn a_log_that_cannot_be_written_is_said_so() {
    let installed = Installed::get();
    let output = Command::new(installed.cage_trace())
        .args(["-o", "/no/such/dir/x.jsonl", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.starts_with("cage-trace: ") && said.contains("/no/such/dir/x.jsonl"),
        "{said}"
    );

    // A file that takes nothing: the run goes on, and the loss is told at the end.
    let scratch = Scratch::new(User::Own);
    let full = scratch.path().join("full.jsonl");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let output = Command::new(installed.cage_trace())
        .arg("-o")
        .arg(&full)
        .args(["--", "/bin/echo", "hello"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(output.stdout, b"hello\n");
    assert!(
        said.contains("audit log: ") && said.contains("lines lost"),
        "{said}"
    );
}

/// With a log every call stops, and some reach the supervisor another way: no program may notice.
#[test]
fn a_fixture_prints_the_same_under_a_log() {
    if harness::program("gcc").is_none() {
        return harness::skip("a_fixture_prints_the_same_under_a_log", "gcc");
    }
    let installed = Installed::get();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in [
        "fd_close_range",
        "fifo_open",
        "proc_exec_thread",
        "proc_foreign_abi",
        "proc_vfork",
        "sig_handlers",
        "sig_restart",
        "sock_msg",
        "sock_scm_rights",
        "thread_create",
    ] {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("audit_{name}"));
        let status = Command::new("gcc")
            .args(["-O1", "-pthread", "-std=gnu11", "-o"])
            .arg(&target)
            .arg(root.join("fixtures").join(format!("{name}.c")))
            .arg("-lrt")
            .status()
            .unwrap();
        assert!(status.success(), "gcc cannot build {name}");
        let fixture = installed.add(&target);
        let argv = [fixture.to_str().unwrap()];
        for platform in ["--platform=hybrid", "--platform=fast", "--platform=ptrace"] {
            let scratch = Scratch::new(User::Own);
            let plain = run_caged(&[platform], &argv, &scratch);
            scratch.reset();
            let logged = run(&[platform], &argv, &scratch);
            assert!(!plain.stdout.is_empty(), "{name} says something");
            assert_eq!(
                (logged.output.stdout_text(), logged.output.status),
                (plain.stdout_text(), plain.status),
                "{name} with {platform}: {}",
                logged.output.stderr_text()
            );
        }
    }
}

/// What a line says of a call but for who answered it, when, and addresses.
fn gist(line: &Value) -> String {
    let args: Vec<&Value> = line["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| match &arg["value"] {
            Value::String(_) => &Value::Null,
            number => number,
        })
        .collect();
    let moves = matches!(line["syscall"].as_str(), Some("brk" | "mmap"));
    let ret = if moves { &Value::Null } else { &line["ret"] };
    // A pipe is another one in each run.
    let of = |key: &str| {
        line[key]
            .to_string()
            .split("pipe:[")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    format!(
        "{} {args:?} = {ret} {} {} {}",
        of("syscall"),
        of("errno"),
        of("paths"),
        of("fd")
    )
}

/// A program that makes each call hundreds of times: by the mailbox they are the same calls, each once, in their order.
#[test]
fn a_log_tells_the_same_on_every_platform() {
    if harness::program("gcc").is_none() {
        return harness::skip("a_log_tells_the_same_on_every_platform", "gcc");
    }
    let installed = Installed::get();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("audit_many_calls");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/costs/loop.c");
    let status = Command::new("gcc")
        .args(["-O1", "-std=gnu11", "-pthread", "-o"])
        .args([&target, &source])
        .status()
        .unwrap();
    assert!(status.success(), "gcc cannot build {}", source.display());
    let program = installed.add(&target);
    for &user in User::all() {
        let scratch = Scratch::new(user);
        let gists = |platform: &str| -> Vec<String> {
            let argv = [program.to_str().unwrap(), "mix", "400"];
            let logged = run(&["--stats=json", platform], &argv, &scratch);
            assert_eq!(logged.output.status, 0, "{}", logged.output.stderr_text());
            if platform == "--platform=fast" {
                assert!(mailed(&logged) > 1000, "{}", logged.output.stderr_text());
            }
            let calls = logged.of_type("syscall");
            calls.iter().map(|line| gist(line)).collect()
        };
        let wanted = gists("--platform=hybrid");
        assert!(wanted.len() > 6_000);
        for platform in ["--platform=fast", "--platform=ptrace"] {
            let found = gists(platform);
            for (at, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                assert_eq!(found, wanted, "{platform}: call {at}");
            }
            assert_eq!(found.len(), wanted.len(), "{platform}");
        }
    }
}

fn mailed(logged: &Logged) -> u64 {
    let text = logged.output.stderr_text();
    let line = text.lines().find(|line| line.starts_with('{')).unwrap();
    let stats: Value = serde_json::from_str(line).unwrap();
    stats["mailed"].as_u64().unwrap()
}
