//! The ratchet: a file for each suite with the tests that pass natively and are known not to pass caged. One line is
//! `MODULE::TEST [@root] [@ordinary] [@hybrid] [@ptrace] # the reason`: with a tag, it is known for that user or platform only.
//! An entry that passes caged, or names no test, fails the tests: the file may only shrink.

use std::fs;
use std::path::Path;

/// One entry.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) test: String,
    tags: Vec<String>,
}

impl Known {
    /// Whether the entry speaks of this user and platform.
    pub(crate) fn applies(&self, user: &str, platform: &str) -> bool {
        let chosen = |of: &[&str], this: &str| {
            let mut named = self
                .tags
                .iter()
                .filter(|tag| of.contains(&tag.as_str()))
                .peekable();
            named.peek().is_none() || named.any(|tag| tag == this)
        };
        chosen(&["root", "ordinary"], user) && chosen(&["hybrid", "ptrace"], platform)
    }
}

/// Reads a suite's file; none is an empty one.
pub(crate) fn read(suite: &str) -> Vec<Known> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/suites")
        .join(format!("{suite}.known"));
    let text = fs::read_to_string(&path).unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            entry(line)
                .unwrap_or_else(|| panic!("{}: {line:?} is no entry with a reason", path.display()))
        })
        .collect()
}

fn entry(line: &str) -> Option<Known> {
    // Not a bare #: Go numbers tests of one name with it.
    let (left, reason) = line.split_once(" # ")?;
    let mut words = left.split_whitespace();
    let test = words.next().filter(|test| test.contains("::"))?.to_owned();
    let tags = words
        .map(|word| word.strip_prefix('@').map(str::to_owned))
        .collect::<Option<Vec<_>>>()?;
    let known = ["root", "ordinary", "hybrid", "ptrace"];
    (!reason.trim().is_empty() && tags.iter().all(|tag| known.contains(&tag.as_str())))
        .then_some(Known { test, tags })
}

#[test]
fn an_entry_needs_a_reason_and_tags_limit_it() {
    for bad in [
        "m::t",
        "m::t #",
        "m::t # ",
        "t # why",
        "m::t root # why",
        "m::t @nobody # why",
    ] {
        assert!(entry(bad).is_none(), "{bad:?}");
    }
    let plain = entry("m::t#01 # why").unwrap_or_else(|| panic!("an entry"));
    assert_eq!(plain.test, "m::t#01");
    assert!(plain.applies("root", "ptrace"));
    let tagged = entry("m::t @root @ptrace # why").unwrap_or_else(|| panic!("an entry"));
    assert!(tagged.applies("root", "ptrace"));
    assert!(!tagged.applies("root", "hybrid"));
    assert!(!tagged.applies("ordinary", "ptrace"));
}
