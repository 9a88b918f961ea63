//! The table, the docs and the fixtures, held together: docs/COMPATIBILITY.md is what the table says, every call that
//! is Full has a fixture, and a fixture makes the calls that its first line says it covers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use harness::case::{Run, run_cage_trace};
use harness::fixture::build;
use harness::scratch::{Installed, Scratch, User};
use harness::{program, skip};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn printed(flags: &[&str]) -> String {
    let words: Vec<&str> = ["syscalls"].iter().chain(flags).copied().collect();
    let output = run_cage_trace(&words, &Scratch::new(User::Own));
    assert_eq!(output.status, 0, "{}", output.stderr_text());
    output.stdout_text()
}

/// The rows, as users get them.
fn rows() -> Vec<Value> {
    serde_json::from_str(&printed(&["--json"])).unwrap()
}

/// The fixtures, and the calls that each says it covers.
fn fixtures() -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("fixtures")).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "c") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap_or_default();
        let calls = first
            .strip_prefix("/* covers: ")
            .and_then(|rest| rest.strip_suffix(" */"))
            .unwrap_or_else(|| panic!("{name}.c begins with /* covers: call, call */"));
        let calls = calls.split(", ").map(str::to_owned).collect();
        found.insert(name, calls);
    }
    found
}

#[test]
fn the_table_is_printed_for_people_and_for_programs() {
    let rows = rows();
    assert!(rows.len() >= 374);
    let text = printed(&[]);
    for row in &rows {
        let name = row["name"].as_str().unwrap();
        assert!(
            text.contains(&format!(" {name}(")),
            "{name} is not in the text"
        );
        let noted = matches!(row["support"].as_str(), Some("Partial" | "No"));
        assert_eq!(row["note"].is_string(), noted, "{row}");
    }
    assert_eq!(rows[0]["name"], "read");
    assert_eq!(rows[0]["args"][1]["name"], "buf");
}

#[test]
fn the_docs_say_what_the_table_says() {
    let written = fs::read_to_string(root().join("docs/COMPATIBILITY.md")).unwrap();
    assert!(
        written == printed(&["--markdown"]),
        "docs/COMPATIBILITY.md is not what the table says now; write it again:\n  \
         cargo run -- syscalls --markdown >docs/COMPATIBILITY.md"
    );
}

#[test]
fn every_call_that_is_full_has_a_fixture() {
    let rows = rows();
    let fixtures = fixtures();
    let known: BTreeSet<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    let covered: BTreeSet<&str> = fixtures.values().flatten().map(String::as_str).collect();
    for name in &covered {
        assert!(known.contains(name), "{name} is no call");
    }
    let full = rows.iter().filter(|row| row["support"] == "Full");
    let missing: Vec<&str> = full
        .filter_map(|row| row["name"].as_str())
        .filter(|name| !covered.contains(name))
        .collect();
    assert!(missing.is_empty(), "no fixture covers {missing:?}");
    assert!(fixtures.len() >= 200, "{} fixtures", fixtures.len());
}

/// The calls of a fixture's caged run that the log shows, those that succeeded or do not return.
fn made(name: &str) -> Result<BTreeSet<String>, String> {
    let fixture = Installed::get().add(&build(name));
    let scratch = Scratch::new(User::Own);
    let log = format!("{}.log.jsonl", scratch.path().display());
    let output = Run::new(&[&fixture.to_string_lossy()])
        .start_caged(&["-o", &log], &scratch)
        .finish();
    let text = fs::read_to_string(&log).unwrap();
    let _ = fs::remove_file(&log);
    if output.status != 0 {
        let (said, complained) = (output.stdout_text(), output.stderr_text());
        return Err(format!(
            "{name} ends with {} under -o\n{said}{complained}",
            output.status
        ));
    }
    Ok(text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["type"] == "syscall" && line["errno"].is_null())
        .filter_map(|line| line["syscall"].as_str().map(str::to_owned))
        .collect())
}

/// What a fixture says is held against the log of its run: no name stands there that is not called with success.
#[test]
fn a_fixture_makes_the_calls_that_it_covers() {
    if program("gcc").is_none() {
        return skip("a_fixture_makes_the_calls_that_it_covers", "gcc");
    }
    let _installed = Installed::get();
    let fixtures: Vec<_> = fixtures().into_iter().collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some((name, covers)) = fixtures.get(next.fetch_add(1, Ordering::Relaxed)) {
            let made = match made(name) {
                Ok(made) => made,
                Err(failure) => {
                    wrong.push(failure);
                    continue;
                }
            };
            let absent = covers.iter().filter(|call| !made.contains(*call));
            wrong.extend(absent.map(|call| format!("{name} never makes {call} with success")));
        }
        wrong
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        let done = workers.into_iter().map(|worker| worker.join().unwrap());
        done.flatten().collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
