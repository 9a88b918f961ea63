//! The floors of the house, and the rules that every file keeps. Reads the sources; runs nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first, by the first part of a module's path (ARCHITECTURE.md).
const FLOORS: &[&str] = &[
    "abi",
    "guest",
    "sys",
    "cage",
    "posix",
    "interpose",
    "dispatch",
    "platform",
    "run",
    "cli",
];

/// The longest that a file may be.
const LONGEST: usize = 600;

/// A source file without its comments and literals, and with them.
struct Source {
    name: String,
    text: String,
    code: String,
}

/// Replaces comments, strings and characters by spaces; lines stay where they are.
fn code_of(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |code: &mut String, piece: &[char]| {
        code.extend(piece.iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
    };
    while at < bytes.len() {
        let rest = &bytes[at..];
        let len = match rest {
            ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => string(rest),
            ['r', '"' | '#', ..] if raw_string(rest).is_some() && !word_before(&bytes, at) => {
                raw_string(rest).unwrap()
            }
            ['\'', '\\', ..] => {
                3 + rest[3..].iter().position(|&c| c == '\'').unwrap_or(0)
                    + usize::from(rest.len() > 3)
            }
            ['\'', _, '\'', ..] => 3,
            _ => 0,
        };
        if len == 0 {
            code.push(bytes[at]);
            at += 1;
        } else {
            let end = (at + len).min(bytes.len());
            blank(&mut code, &bytes[at..end]);
            at = end;
        }
    }
    code
}

fn word_before(bytes: &[char], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_alphanumeric() || bytes[at - 1] == '_') && bytes[at - 1] != 'b'
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += 1 + usize::from(rest[at] == '\\');
    }
    at + 1
}

fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let mut at = 2 + hashes;
    while at < rest.len() {
        let closing =
            rest[at] == '"' && rest[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
        at += 1;
        if closing {
            return Some(at + hashes);
        }
    }
    Some(at)
}

impl Source {
    fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            code: code_of(text),
        }
    }

    /// The floor of a file below `src`; `None` for the map of the floors and for `main.rs`, which stand above all.
    fn floor(&self) -> Option<usize> {
        let first = self.name.strip_prefix("src/")?.split('/').next()?;
        let module = first.strip_suffix(".rs").unwrap_or(first);
        FLOORS.iter().position(|&floor| floor == module)
    }

    /// The modules of the crate that the code names: `crate::X`, and each `X` of `crate::{X, Y::z}`.
    fn imports(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for start in ["crate::", "cage_trace::"] {
            for (at, _) in self.code.match_indices(start) {
                if self.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                    continue;
                }
                let line = self.code[..at].matches('\n').count() + 1;
                let rest = &self.code[at + start.len()..];
                if let Some(list) = rest.strip_prefix('{') {
                    found.extend(in_braces(list).into_iter().map(|word| (line, word)));
                } else {
                    found.push((line, word(rest)));
                }
            }
        }
        found
    }
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|&c| c.is_alphanumeric() || c == '_')
        .collect()
}

/// The first words of the items of a use list, at its own depth.
fn in_braces(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut words = Vec::new();
    let mut item = String::new();
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => words.push(std::mem::take(&mut item)),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    words.push(item);
    words
        .iter()
        .map(|item| word(item.trim_start()))
        .filter(|word| !word.is_empty())
        .collect()
}

/// A file imports its own floor or a lower one.
fn climbs(source: &Source) -> Vec<String> {
    let Some(own) = source.floor() else {
        return Vec::new();
    };
    source
        .imports()
        .into_iter()
        .filter_map(|(line, module)| {
            let floor = FLOORS.iter().position(|&floor| floor == module)?;
            (floor > own).then(|| {
                format!(
                    "{}:{line}: floor {own} ({}) reaches up to `{module}`",
                    source.name, FLOORS[own]
                )
            })
        })
        .collect()
}

/// `unsafe` stands only below src/sys, and each with a SAFETY comment right above it.
fn careless(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in source.code.lines().enumerate() {
        let uses = line
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .any(|word| word == "unsafe");
        if !uses {
            continue;
        }
        let at = format!("{}:{}", source.name, index + 1);
        // A type, not an act: what gets such a function has the duty.
        if line.contains("unsafe extern \"C\" fn(") && line.trim_end().ends_with([',', ';']) {
            continue;
        }
        if !source.name.starts_with("src/sys/") {
            found.push(format!("{at}: unsafe outside src/sys"));
            continue;
        }
        let same = lines[index].contains("// SAFETY:");
        // The comment stands above the statement, which may begin some lines before the word, or above attributes.
        let above = lines[..index]
            .iter()
            .rev()
            .take(12)
            .take_while(|line| !line.trim().is_empty() && line.trim() != "}")
            .any(|line| line.contains("// SAFETY:") || line.contains("/// # Safety"));
        if !(same || above) {
            found.push(format!("{at}: unsafe without a SAFETY comment above it"));
        }
    }
    found
}

/// What every file of the project keeps.
fn untidy(source: &Source) -> Vec<String> {
    let name = &source.name;
    let mut found = Vec::new();
    if !source.text.starts_with("//! ") {
        found.push(format!("{name}: does not begin with `//!`"));
    }
    let length = source.text.lines().count();
    if name.starts_with("src/") && length > LONGEST {
        found.push(format!("{name}: {length} lines, more than {LONGEST}"));
    }
    for (index, line) in source.code.lines().enumerate() {
        let flat: String = line.split_whitespace().collect();
        if flat.contains("#[allow") || flat.contains("#![allow") || flat.contains(",allow(") {
            found.push(format!(
                "{name}:{}: allow, where expect(…, reason) belongs",
                index + 1
            ));
        }
    }
    let noun = Path::new(name).file_stem().and_then(|stem| stem.to_str());
    if matches!(
        noun,
        Some("utils" | "util" | "helpers" | "helper" | "manager" | "common" | "misc")
    ) {
        found.push(format!("{name}: a file is named for the one thing in it"));
    }
    found
}

fn rust_files(below: &str) -> Vec<Source> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join(below), &mut paths);
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            Source::new(name, &fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn assert_none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_file_imports_its_own_floor_or_a_lower_one() {
    let sources = rust_files("src");
    assert_none(sources.iter().flat_map(climbs).collect());
    // Each floor is there, and each file stands on one.
    for floor in FLOORS {
        let own = [format!("src/{floor}.rs"), format!("src/{floor}/mod.rs")];
        assert!(
            sources.iter().any(|source| own.contains(&source.name)),
            "no floor {floor}"
        );
    }
    for source in &sources {
        let above = ["src/lib.rs", "src/main.rs"].contains(&source.name.as_str());
        assert!(
            above || source.floor().is_some(),
            "{} stands on no floor",
            source.name
        );
    }
}

#[test]
fn unsafe_is_confined_and_argued() {
    let mut sources = rust_files("src");
    sources.extend(rust_files("tests"));
    sources.extend(rust_files("benches"));
    assert_none(sources.iter().flat_map(careless).collect());
}

#[test]
fn every_file_is_tidy() {
    let mut sources = rust_files("src");
    sources.extend(rust_files("tests"));
    sources.extend(rust_files("benches"));
    assert!(sources.len() > 30, "the sources are there to be read");
    assert_none(sources.iter().flat_map(untidy).collect());
}

#[test]
fn a_reach_upwards_is_found() {
    let bad = "//! x\nuse crate::abi::Errno;\nuse crate::{\n    guest::{Fd, Ram},\n    platform::Meter,\n};\n\
               fn f() { crate::run::run(); }\n// crate::cli\nconst S: &str = \"crate::cli\";\n";
    let found = climbs(&Source::new("src/posix/io.rs", bad));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains(":3:") && found[0].contains("platform"));
    assert!(found[1].contains(":7:") && found[1].contains("run"));
    assert!(climbs(&Source::new("src/cli/mod.rs", bad)).is_empty());
}

#[test]
fn careless_unsafe_is_found() {
    let bad = "fn f() {\n    unsafe { g() }\n}\n";
    assert_eq!(careless(&Source::new("src/sys/x.rs", bad)).len(), 1);
    let good = "fn f() {\n    // SAFETY: g has no duties.\n    unsafe { g() }\n}\n";
    assert!(careless(&Source::new("src/sys/x.rs", good)).is_empty());
    assert_eq!(careless(&Source::new("src/posix/x.rs", good)).len(), 1);
    let second = "fn f() {\n    // SAFETY: fine.\n    unsafe { g() }\n}\n\nfn h() {\n    unsafe { g() }\n}\n";
    assert_eq!(careless(&Source::new("src/sys/x.rs", second)).len(), 1);
    let words = "#![deny(unsafe_code)]\n// unsafe\nconst S: &str = \"unsafe\";\nconst R: &str = r#\"unsafe \" \"#;\n";
    assert!(careless(&Source::new("src/posix/x.rs", words)).is_empty());
    let after_char = "const C: char = '\"';\nfn f() { unsafe { g() } }\n";
    assert_eq!(
        careless(&Source::new("src/posix/x.rs", after_char)).len(),
        1
    );
}

#[test]
fn untidiness_is_found() {
    let long = format!("//! x\n{}", "\n".repeat(LONGEST));
    assert_eq!(untidy(&Source::new("src/x.rs", &long)).len(), 1);
    assert_eq!(untidy(&Source::new("src/x.rs", "use a;\n")).len(), 1);
    let allow = "//! x\n#[allow(dead_code)]\nfn f() {}\n";
    assert_eq!(untidy(&Source::new("src/x.rs", allow)).len(), 1);
    assert_eq!(untidy(&Source::new("src/utils.rs", "//! x\n")).len(), 1);
    assert!(
        untidy(&Source::new(
            "src/x.rs",
            "//! x\n#[expect(dead_code)]\nfn f() {}\n"
        ))
        .is_empty()
    );
}
