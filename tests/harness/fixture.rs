//! The programs of fixtures/, compiled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::process::compile;

/// Compiles a fixture unless that has been done since it last changed.
pub(crate) fn build(name: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(format!("{name}.c"));
    let headers =
        ["check.h", "child.h", "fresh.h", "site.h"].map(|header| source.with_file_name(header));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
    let target = folder.join(name);
    let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let stale = |made_of: &PathBuf| time(&target) <= time(made_of);
    if !stale(&source) && !headers.iter().any(stale) {
        return target;
    }
    fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("mkdir {}: {e}", folder.display()));
    compile(
        Command::new("gcc")
            .args(["-O1", "-Wall", "-Werror", "-pthread", "-std=gnu11", "-o"])
            .arg(&target)
            .arg(&source)
            .arg("-lrt"),
    );
    target
}
