//! Limits: each one stops what it is meant to stop, for the reason that the report names, and leaves no process and no
//! control group. As root the kernel's control groups do it, where they are mounted; as an ordinary user mostly the
//! supervisor itself.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use harness::case::run_cage_trace;
use harness::reported::{everywhere, outer, read_report, reported, script};
use harness::scratch::{Scratch, User, ordinary_id, running_as_root};
use harness::{program, skip, skip_for_kernel};

#[test]
fn a_sleeper_is_ended_by_the_timeout() {
    everywhere(|scratch, platform| {
        let began = Instant::now();
        let run = reported(&[platform, "--timeout=400ms"], &["sleep", "50"], scratch);
        run.expect(124, "timeout");
        assert!(began.elapsed() < Duration::from_secs(20), "{}", run.text());
        let wall = run.end["wall_seconds"].as_f64().unwrap();
        assert!((0.4..20.0).contains(&wall), "{}", run.text());
        assert_eq!(run.by("timeout"), "supervisor");
        assert!(
            run.output.stderr_text().contains("--timeout"),
            "{}",
            run.text()
        );
    });
}

#[test]
fn the_timeout_is_for_the_whole_run_and_only_when_it_is_reached() {
    everywhere(|scratch, platform| {
        // The first has ended, what it left behind is waited for.
        let flags = [platform, "--wait", "--timeout=600ms"];
        let run = reported(&flags, &script("sleep 50 & exit 3"), scratch);
        run.expect(124, "timeout");
        let run = reported(&[platform, "--timeout=30s"], &script("exit 7"), scratch);
        run.expect(7, "exit");
    });
}

#[test]
fn a_stopped_program_is_ended_too() {
    everywhere(|scratch, platform| {
        let run = reported(
            &[platform, "--timeout=500ms"],
            &script("kill -STOP $$; sleep 50"),
            scratch,
        );
        run.expect(124, "timeout");
    });
}

#[test]
fn burners_share_their_cpu_time() {
    everywhere(|scratch, platform| {
        let burn = "while :; do :; done & while :; do :; done";
        let flags = [platform, "--cpu-time=300ms", "--timeout=40s"];
        let run = reported(&flags, &script(burn), scratch);
        run.expect(137, "cpu-time");
        let used = run.end["cpu_seconds"].as_f64().unwrap();
        assert!((0.3..3.0).contains(&used), "{}", run.text());
    });
}

#[test]
fn ended_processes_count_though_nobody_waited_for_them() {
    everywhere(|scratch, platform| {
        // Each burns little, and is reaped by the kernel alone.
        let burn = "trap '' CHLD; work() { i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; }
            while :; do (work) & (work); done";
        let flags = [platform, "--cpu-time=500ms", "--timeout=40s"];
        reported(&flags, &script(burn), scratch).expect(137, "cpu-time");
    });
}

#[test]
fn an_eater_is_ended_at_its_memory() {
    everywhere(|scratch, platform| {
        // The eater is not the first process, and the first one would end well.
        let eat = "head -c 3G /dev/zero | tail -c 3G >/dev/null; exit 0";
        let flags = [platform, "--memory=64M", "--timeout=40s"];
        let run = reported(&flags, &script(eat), scratch);
        run.expect(137, "oom");
        let peak = run.end["peak_memory"].as_u64().unwrap();
        // A supervisor that looks now and then finds it over the limit.
        assert!((60 << 20..1 << 30).contains(&peak), "{}", run.text());
        let by_supervisor = run.by("memory") == "supervisor";
        let said = run.output.stderr_text().contains("degraded: --memory");
        assert_eq!(by_supervisor, said, "{}", run.text());
    });
}

#[test]
fn what_fits_into_the_memory_is_not_ended() {
    everywhere(|scratch, platform| {
        // Many processes that share most of what they have: 20 times the program's own text and data would not fit.
        let many = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1 & done; wait; exit 4";
        let run = reported(&[platform, "--memory=24M"], &script(many), scratch);
        run.expect(4, "exit");
    });
}

#[test]
fn a_filler_of_files_in_memory_is_ended() {
    everywhere(|scratch, platform| {
        let fill = "head -c 2G /dev/zero >/tmp/big; sleep 20; exit 0";
        let flags = [platform, "--memory=48M", "--timeout=40s"];
        reported(&flags, &script(fill), scratch).expect(137, "oom");
    });
}

#[test]
fn processes_are_counted() {
    if fs::canonicalize("/bin/sh").is_ok_and(|shell| shell.ends_with("bash")) {
        return skip(
            "processes_are_counted",
            "a /bin/sh that does not try to fork again",
        );
    }
    everywhere(|scratch, platform| {
        let forks = "i=0; while :; do sleep 20 & i=$((i+1)); echo $i; done";
        let run = reported(&[platform, "--pids-limit=5"], &script(forks), scratch);
        run.expect(2, "exit");
        assert_eq!(run.output.stdout_text(), "1\n2\n3\n4\n", "{}", run.text());
        assert_eq!(run.end["refused_forks"], 1, "{}", run.text());
        // Those that ended make room.
        let forks = "i=0; while [ $i -lt 30 ]; do /bin/true; i=$((i+1)); done; echo $i";
        let run = reported(&[platform, "--pids-limit=2"], &script(forks), scratch);
        run.expect(0, "exit");
        assert_eq!(run.output.stdout_text(), "30\n", "{}", run.text());
    });
}

#[test]
fn a_fork_bomb_stays_small() {
    everywhere(|scratch, platform| {
        // The bomb lives on in the background; the first process looks how large it became.
        let bomb = "b() { b | b & sleep 20; }; b 2>/dev/null & sleep 1.5; ls -d /proc/[0-9]* | wc -l; exit 3";
        let flags = [platform, "--pids-limit=20", "--timeout=40s"];
        let began = Instant::now();
        let run = reported(&flags, &script(bomb), scratch);
        // The first process may find no room for the one that counts.
        if run.output.status == 3 {
            let count: u32 = run.output.stdout_text().trim().parse().unwrap();
            // Init is there, and may be reaping some that ended.
            assert!(count <= 40, "{}", run.text());
        }
        assert!(
            run.end["refused_forks"].as_u64() > Some(0),
            "{}",
            run.text()
        );
        assert!(began.elapsed() < Duration::from_secs(20), "{}", run.text());
        run.expect_nothing_left();
    });
}

#[test]
fn a_share_of_a_cpu_is_upheld_or_missed_aloud() {
    everywhere(|scratch, platform| {
        let burn = script("while :; do :; done");
        let flags = [platform, "--cpus=0.2", "--cpu-time=400ms", "--timeout=40s"];
        let run = reported(&flags, &burn, scratch);
        run.expect(137, "cpu-time");
        let (wall, by) = (run.end["wall_seconds"].as_f64().unwrap(), run.by("cpus"));
        let said = run.output.stderr_text().matches("degraded: --cpus").count();
        if by.starts_with("cgroup") {
            // Two seconds, but for the first period's quota.
            assert!(wall > 1.2, "{}", run.text());
            assert_eq!(said, 0, "{}", run.text());
        } else {
            assert_eq!((by.as_str(), said), ("nothing", 1), "{}", run.text());
            let degraded = &run.start.as_ref().unwrap()["degraded"];
            assert_eq!(degraded.as_array().unwrap().len(), 1, "{}", run.text());
            let strict = reported(&["--strict", "--cpus=0.2"], &["true"], scratch);
            strict.expect(125, "setup");
            let text = strict.output.stderr_text();
            assert!(
                text.starts_with("cage-trace: --strict: --cpus 0.2: "),
                "{text}"
            );
            // The audit log's first line has it too.
            let log = ["-q", "-o", "log.jsonl", "--cpus=0.2", "--", "true"];
            assert_eq!(run_cage_trace(&log, scratch).status, 0);
            let log = fs::read_to_string(scratch.path().join("log.jsonl")).unwrap();
            let meta: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
            assert!(
                meta["degraded"][0].as_str().unwrap().contains("--cpus"),
                "{meta}"
            );
        }
    });
}

#[test]
fn limits_of_each_process_are_the_programs_own() {
    everywhere(|scratch, platform| {
        let flags = [
            platform,
            "--rlimit",
            "nofile=32:64",
            "--rlimit",
            "core=0",
            "--rlimit",
            "fsize=4k",
        ];
        let ask = "ulimit -n; ulimit -Hn; ulimit -c; ulimit -f";
        let run = reported(&flags, &script(ask), scratch);
        run.expect(0, "exit");
        assert_eq!(run.output.stdout_text(), "32\n64\n0\n8\n", "{}", run.text());
        let run = reported(&flags, &script("head -c 8192 /dev/zero >/tmp/x"), scratch);
        run.expect(128 + Signal::SIGXFSZ as i32, "exit");
        let flags = [platform, "--rlimit", "cpu=1:9", "--timeout=40s"];
        let run = reported(&flags, &script("while :; do :; done"), scratch);
        run.expect(128 + Signal::SIGXCPU as i32, "signal");
        assert_eq!(run.end["signal"], Signal::SIGXCPU as i32);
        // The last word counts.
        let flags = [platform, "--rlimit", "nofile=16", "--rlimit", "nofile=48"];
        let run = reported(&flags, &script("ulimit -n"), scratch);
        assert_eq!(run.output.stdout_text(), "48\n", "{}", run.text());
    });
}

#[test]
fn the_virtual_table_has_the_numbers_that_nofile_allows() {
    everywhere(|scratch, platform| {
        let open = "exec 3</dev/null 4</dev/null && echo four; (exec 5</dev/null) 2>/dev/null || echo no five
            cat /dev/null || echo no room; exec 3<&-; cat /dev/null && echo room";
        let run = reported(
            &[platform, "--rlimit", "nofile=5:64"],
            &script(open),
            scratch,
        );
        let text = run.output.stdout_text();
        assert!(text.starts_with("four\nno five\n"), "{}", run.text());
        assert!(text.contains("no room"), "{}", run.text());
    });
}

#[test]
fn limits_that_cannot_be_are_refused() {
    everywhere(|scratch, _| {
        let own = fs::read_to_string("/proc/self/limits").unwrap();
        let line = own.lines().find(|line| line.starts_with("Max open files"));
        let hard: u64 = line
            .unwrap()
            .split_whitespace()
            .nth(4)
            .unwrap()
            .parse()
            .unwrap();
        let above = format!("nofile=10:{}", hard + 1);
        let run = reported(&["--rlimit", &above], &["true"], scratch);
        run.expect(125, "setup");
        let text = run.output.stderr_text();
        for word in ["--rlimit", above.as_str(), &hard.to_string()] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(
            run.end["message"],
            text.trim().strip_prefix("cage-trace: ").unwrap()
        );
        reported(&["--rlimit", "nofile=3"], &["true"], scratch).expect(125, "setup");
    });
}

#[test]
fn a_group_that_was_delegated_to_a_user_is_used() {
    let place = Path::new("/sys/fs/cgroup/pids");
    if !place.join("cgroup.procs").exists() {
        let what = "pids hierarchy of version 1";
        return skip_for_kernel("a_group_that_was_delegated", what);
    }
    let missing = [
        (!running_as_root(), "root"),
        (program("setpriv").is_none(), "setpriv"),
    ];
    if let Some((_, what)) = missing.iter().find(|(lacks, _)| *lacks) {
        return skip("a_group_that_was_delegated", what);
    }
    let scratch = Scratch::new(User::Ordinary);
    let group = place.join(format!("delegated-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    let id = Some(ordinary_id());
    std::os::unix::fs::chown(&group, id, id).unwrap();
    let text = format!(
        r#"echo $$ >{}/cgroup.procs; exec setpriv --reuid="$ID" --regid="$ID" --clear-groups \
        "$CT" --strict --pids-limit=3 --report=report.json -- sh -c 'sleep 9 & sleep 9 & sleep 9 & echo never'"#,
        group.display()
    );
    let output = outer(User::Own, &scratch, &text).finish();
    let left: Vec<PathBuf> = fs::read_dir(&group)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.path())
        .collect();
    fs::remove_dir(&group).unwrap();
    let (start, end) = read_report(&scratch);
    assert_eq!(start.unwrap()["limits"][0]["by"], "cgroup v1");
    assert_eq!(end["refused_forks"], 1, "{}", output.stderr_text());
    assert!(output.stdout.is_empty() && left.is_empty(), "{left:?}");
}

#[test]
fn a_run_that_is_nobodys_root_leaves_no_group() {
    if !running_as_root() {
        return skip("a_run_that_is_nobodys_root", "root");
    }
    let scratch = Scratch::new(User::Own);
    let maps = ["--uid-map=1000:0:10", "--gid-map=1000:0:10"];
    let report = scratch.path().join("report.json");
    let cases: [&[&str]; 4] = [&maps, &maps[1..], &["--user=1000"], &["--noroot"]];
    for flags in cases {
        let flags = [flags, &["--memory=64M", "--pids-limit=9", "--timeout=40s"]].concat();
        let run = reported(&flags, &["true"], &scratch);
        run.expect(0, "exit");
        assert!(
            !run.output.stderr_text().contains("is left"),
            "{}",
            run.text()
        );
        fs::remove_file(&report).unwrap();
    }
}
