//! A soak: stress-ng, redis-benchmark and a loop of forks side by side in one run, while the supervisor is looked at from
//! outside: its memory stays flat, its descriptors come back to what they were, and no zombie is left.
//!
//! `CAGE_TRACE_SOAK=1800` sets the seconds of load (60 where it is unset).

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use std::env;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use harness::case::Run;
use harness::scratch::{Installed, Scratch, User};
use harness::{platforms, program, skip};

/// Memory may differ by this much between two moments, in KiB: what the allocator keeps, a thread's stack.
const SLACK: u64 = 2_048;

fn seconds() -> u64 {
    env::var("CAGE_TRACE_SOAK").map_or(60, |text| {
        text.parse()
            .unwrap_or_else(|e| panic!("CAGE_TRACE_SOAK={text}: {e}"))
    })
}

/// What one process looks like from outside.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Resident memory of its own (`RssAnon`), in KiB.
    memory: u64,
    descriptors: usize,
}

/// A field of `/proc/PID/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':')
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn look(pid: i32) -> Option<Look> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Look {
        memory: field(&status, "RssAnon")?,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
    })
}

/// The zombies among the processes that descend from `root`.
fn zombies(root: i32) -> Vec<String> {
    let numbers = fs::read_dir("/proc").unwrap_or_else(|e| panic!("list /proc: {e}"));
    let all: Vec<(u64, u64, String)> = numbers
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            Some((pid, field(&status, "PPid")?, status))
        })
        .collect();
    let mut family = vec![root.cast_unsigned().into()];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(
            all.iter()
                .filter(|(_, of, _)| *of == parent)
                .map(|(pid, ..)| *pid),
        );
        next += 1;
    }
    all.into_iter()
        .filter(|(pid, _, status)| family.contains(pid) && status.contains("\nState:\tZ"))
        .map(|(.., status)| status.lines().take(6).collect::<Vec<_>>().join(", "))
        .collect()
}

fn soak(platform: &str) {
    let seconds = seconds();
    let _installed = Installed::get();
    let user = User::all().last().copied().unwrap_or(User::Own);
    let scratch = Scratch::new(user);
    scratch.write("load.sh", include_str!("soak/load.sh").as_bytes(), 0o644);
    let mut run = Run::new(&["/bin/sh", "load.sh", &seconds.to_string()]);
    run.limit = Duration::from_secs(2 * seconds + 120);
    let began = Instant::now();
    let running = run.start_caged(&[&format!("--platform={platform}")], &scratch);
    let supervisor = running.pid().as_raw();
    assert!(running.wait_for("ready\n"), "{platform}: it did not begin");
    sleep(Duration::from_secs(1));
    let before = look(supervisor).unwrap_or_else(|| panic!("{platform}: no supervisor"));
    let mut looks = Vec::new();
    let load_ends = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < load_ends {
        sleep(Duration::from_millis(500));
        looks.extend(look(supervisor));
    }
    assert!(
        running.wait_for("quiet\n"),
        "{platform}: the load did not end: {:?}",
        running.finish()
    );
    sleep(Duration::from_secs(1));
    let after = look(supervisor).unwrap_or_else(|| panic!("{platform}: no supervisor"));
    let left = zombies(supervisor);
    let output = running.finish();
    let text = output.stdout_text();
    assert_eq!(
        (output.status, text.as_str(), output.hung),
        (
            0,
            "ready\nredis-benchmark 0\nforks 0\nstress-ng 0\nup\nquiet\nredis-server 0\n",
            None
        ),
        "{platform}: {}",
        output.stderr_text()
    );
    assert!(left.is_empty(), "{platform}: zombies: {left:#?}");
    assert!(
        after.descriptors <= before.descriptors,
        "{platform}: descriptors leak: {before:?}, then {after:?}"
    );
    // The first third warms up: tables and the allocator's arenas take the size that the load needs.
    let most = |looks: &[Look]| looks.iter().map(|look| look.memory).max().unwrap_or(0);
    let (warm, rest) = looks.split_at(looks.len() / 3);
    let course: Vec<u64> = looks.chunks(looks.len() / 12 + 1).map(most).collect();
    eprintln!(
        "{platform}: {:.0} s; memory of the supervisor {} KiB before, at most {course:?} in the course of the load, {} at the end; \
         descriptors {} before, at most {}, {} at the end",
        began.elapsed().as_secs_f64(),
        before.memory,
        after.memory,
        before.descriptors,
        looks.iter().map(|look| look.descriptors).max().unwrap_or(0),
        after.descriptors,
    );
    assert!(
        most(rest) <= most(warm) + SLACK,
        "{platform}: memory grows: {} KiB in the first third, {} afterwards",
        most(warm),
        most(rest)
    );
}

#[test]
fn a_long_mixed_load_leaves_the_supervisor_as_it_was() {
    for needed in ["redis-server", "redis-benchmark", "redis-cli", "stress-ng"] {
        if program(needed).is_none() {
            return skip("soak", needed);
        }
    }
    for platform in platforms() {
        soak(&platform);
    }
}
