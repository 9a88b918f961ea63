//! What a system call costs the program that makes it: natively, and caged when it passes, is emulated, is forwarded,
//! and is forwarded with its result looked at (and logged), on each platform. The loops are those of loops.c, which
//! measure themselves; `compare.sh` holds the same loops against other tools.
//!
//!   cargo bench --bench syscalls

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

/// How long a loop runs for one sample.
const MILLISECONDS: &str = "20";

/// The loops' binary in a directory of its own, removed at the end.
struct Work {
    dir: PathBuf,
    loops: PathBuf,
}

impl Work {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("cage-trace-bench.{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let loops = dir.join("loops");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/loops.c");
        let status = Command::new("gcc")
            .args(["-O1", "-o"])
            .args([&loops, &source])
            .status()
            .unwrap();
        assert!(status.success(), "gcc cannot build {}", source.display());
        Self { dir, loops }
    }

    /// Nanoseconds for one call, as the loop itself measured.
    fn measure(&self, how: Option<&[&str]>, name: &str) -> f64 {
        let mut command = match how {
            None => Command::new(&self.loops),
            Some(flags) => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_cage-trace"));
                command.arg("-q").args(flags).arg("--bind").arg(&self.dir);
                command.arg("--").arg(&self.loops);
                command
            }
        };
        let output = command
            .args([MILLISECONDS, name])
            .current_dir(&self.dir)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{name} with {how:?}: {}",
            output.status
        );
        let time = text.split_whitespace().nth(1);
        time.unwrap_or_else(|| panic!("{name} with {how:?} printed {text:?}"))
            .parse()
            .unwrap()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn syscalls(criterion: &mut Criterion) {
    let work = Work::new();
    let log = work.dir.join("log.jsonl");
    let log = log.to_str().unwrap();
    let mut group = criterion.benchmark_group("syscalls");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(500));
    let mut bench = |id: &str, how: Option<&[&str]>, name: &str| {
        group.bench_function(id, |b| {
            b.iter_custom(|iterations| {
                let each = work.measure(how, name);
                Duration::from_secs_f64(each * 1e-9 * iterations as f64)
            });
        });
    };
    bench("native/stat", None, "stat");
    bench("native/read", None, "read-4K");
    for platform in ["hybrid", "fast", "ptrace"] {
        let flag = format!("--platform={platform}");
        let flag = flag.as_str();
        bench(&format!("{platform}/passed"), Some(&[flag]), "read-4K");
        bench(&format!("{platform}/emulated"), Some(&[flag]), "stat");
        let all: &[&str] = &[flag, "--mediate=all"];
        bench(&format!("{platform}/forwarded"), Some(all), "read-4K");
        let logged: &[&str] = &[flag, "-o", log];
        bench(
            &format!("{platform}/forwarded_and_logged"),
            Some(logged),
            "read-4K",
        );
    }
    group.finish();
}

criterion_group!(benches, syscalls);
criterion_main!(benches);
