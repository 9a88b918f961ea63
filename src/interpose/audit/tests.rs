//! The log over a cage without a process: what a line says, and what is lost.

use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::cage::FileKind;
use crate::posix::bench_cage::TestCage;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Bench {
    lines: Lines,
    audit: Audit,
    cage: TestCage,
}

impl Bench {
    fn new() -> Self {
        let lines = Lines::default();
        let argv = ["prog".into(), "a b".into()];
        let header = Header {
            argv: &argv,
            platform: "ptrace",
            mediate: "names",
            degraded: &[],
        };
        let proc = File::open("/proc").unwrap().into();
        Self {
            audit: Audit::new(lines.clone(), proc, header),
            lines,
            cage: TestCage::at(Path::new("/usr")),
        }
    }

    fn lines(&self) -> Vec<Value> {
        self.audit.log.lock().flush();
        let text = String::from_utf8(self.lines.0.lock().clone()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// A call from its beginning to its result, as the dispatcher shows it to interposers.
    fn call(
        &self,
        nr: u64,
        args: [u64; 6],
        paths: &[&[u8]],
        handled: Handled,
        result: i64,
    ) -> Value {
        let (cx, call) = self.begin(nr, args);
        for path in paths {
            cx.note_path(path.to_vec());
        }
        assert_eq!(self.audit.after(&cx, &call, handled, result), result);
        self.lines().pop().unwrap()
    }

    fn begin(&self, nr: u64, args: [u64; 6]) -> (Ctx<'_>, Call) {
        let cage = &self.cage;
        cage.thread.forget_paths();
        let cx = Ctx::new(&cage.kernel, &cage.thread, &cage.ram, nr, args);
        let call = Call {
            nr,
            args,
            row: crate::posix::table::row(nr),
            started: Instant::now(),
        };
        assert!(self.audit.before(&cx, &call).is_continue());
        (cx, call)
    }
}

const AT_FDCWD: u64 = 0xffff_ff9c;

#[test]
fn the_first_line_tells_of_the_run() {
    let bench = Bench::new();
    let lines = bench.lines();
    assert_eq!(lines.len(), 1);
    let meta = &lines[0];
    assert_eq!(meta["v"], 1);
    assert_eq!(meta["seq"], 0);
    assert_eq!(meta["type"], "meta");
    assert_eq!(meta["schema"], "cage-trace/1");
    assert_eq!(meta["argv"], json!(["prog", "a b"]));
    let ts = meta["ts"].as_str().unwrap();
    let (seconds, nanos) = ts.split_once('.').unwrap();
    assert!(seconds.parse::<u64>().unwrap() > 1_700_000_000 && nanos.len() == 9);
}

#[test]
fn a_call_is_one_line_with_its_paths_and_its_result() {
    let bench = Bench::new();
    let args = [AT_FDCWD, 0x7ffd_0000_1000, 0o2_000_000, 0o644, 0, 0];
    let line = bench.call(257, args, &[b"/usr/x"], Handled::Virtual, -2);
    assert_eq!(line["type"], "syscall");
    assert_eq!(line["syscall"], "openat");
    assert_eq!(line["nr"], 257);
    assert_eq!(line["cwd"], "/usr");
    assert_eq!(line["cage"], "c1");
    assert_eq!(
        line["args"],
        json!([
            {"name": "dirfd", "value": -100, "path": "/usr"},
            {"name": "pathname", "value": "0x7ffd00001000", "path": "/usr/x"},
            {"name": "flags", "value": 524_288, "text": "O_RDONLY|O_CLOEXEC"},
            {"name": "mode", "value": 420, "text": "0o644"},
        ])
    );
    assert_eq!(
        (&line["ret"], &line["errno"]),
        (&json!(-1), &json!("ENOENT"))
    );
    assert_eq!(line["paths"], json!(["/usr/x"]));
    assert_eq!(
        (&line["action"], &line["handled"]),
        (&json!("allow"), &json!("virtual"))
    );
    assert!(line["dur_ns"].as_u64().is_some());
    let pid = i64::from(std::process::id());
    assert_eq!(line["host_pid"], json!(pid));
    assert!(line["pid"].as_i64().unwrap() > 0);
}

#[test]
fn descriptors_carry_what_they_stand_for_even_when_the_call_closes_them() {
    let bench = Bench::new();
    let fd = bench.cage.adopt(
        FileKind::File,
        "/etc/passwd",
        File::open("/etc/passwd").unwrap().into(),
    );
    assert_eq!(fd, 0);
    let (cx, call) = bench.begin(3, [0; 6]);
    bench.cage.thread.files().lock().remove(0).unwrap();
    bench.audit.after(&cx, &call, Handled::Kernel, 0);
    let line = bench.lines().pop().unwrap();
    assert_eq!(line["fd"], json!({"0": "/etc/passwd"}));
    assert_eq!(line["handled"], "kernel");

    let made = bench.cage.adopt(
        FileKind::File,
        "/etc/group",
        File::open("/etc/group").unwrap().into(),
    );
    let args = [AT_FDCWD, 0x1000, 0, 0, 0, 0];
    let line = bench.call(257, args, &[b"/etc/group"], Handled::Virtual, made.into());
    assert_eq!(line["fd"], json!({"0": "/etc/group"}));
    assert_eq!((&line["ret"], &line["errno"]), (&json!(0), &json!(null)));
}

#[test]
fn junk_in_registers_is_decoded_as_linux_does() {
    let bench = Bench::new();
    let args = [
        0xffff_ffff_0000_0007,
        u64::MAX,
        0xdead_0000_0000_0002,
        0,
        0,
        0,
    ];
    let line = bench.call(8, args, &[], Handled::Kernel, -9);
    assert_eq!(
        line["args"],
        json!([
            {"name": "fd", "value": 7},
            {"name": "offset", "value": -1},
            {"name": "whence", "value": 2, "text": "SEEK_END"},
        ])
    );
    let line = bench.call(
        0x4000_0001,
        [u64::MAX, 1, 2, 3, 4, 5],
        &[],
        Handled::Virtual,
        -38,
    );
    assert_eq!(line["syscall"], "syscall_0x40000001");
    assert_eq!(line["args"][0]["value"], "0xffffffffffffffff");
    assert_eq!(line["errno"], "ENOSYS");
}

#[test]
fn hostile_paths_stay_one_line_of_json() {
    let bench = Bench::new();
    let paths: [&[u8]; 1] = [b"/a\n{\"v\":1}\xff"];
    let line = bench.call(4, [0x1000; 6], &paths, Handled::Virtual, -2);
    assert_eq!(line["paths"][0]["hex"], "2f610a7b2276223a317dff");
    let long = [&b"/"[..], &[b'a'; 5000]].concat();
    let line = bench.call(4, [0x1000; 6], &[&long], Handled::Virtual, -36);
    assert_eq!(line["paths"][0]["trunc"], true);
    assert_eq!(line["paths"][0]["len"], 5001);
    // Two path arguments, one path noted: nobody can say which argument it was.
    let line = bench.call(82, [0x1000; 6], &[b"/only"], Handled::Virtual, -14);
    assert_eq!(line["args"][0].get("path"), None);
    assert_eq!(line["paths"], json!(["/only"]));
}

#[test]
fn what_never_returns_is_logged_all_the_same() {
    let bench = Bench::new();
    assert!(!bench.audit.wants(crate::posix::table::row(231)).after);
    bench.begin(231, [7, 0, 0, 0, 0, 0]);
    let line = bench.lines().pop().unwrap();
    assert_eq!(line["syscall"], "exit_group");
    assert_eq!((&line["ret"], &line["errno"]), (&json!(null), &json!(null)));

    bench.begin(59, [0x1000; 6]);
    bench.audit.life(&Life::Exec {
        thread: &bench.cage.thread,
    });
    let lines = bench.lines();
    let [.., call, exec] = lines.as_slice() else {
        panic!("two lines");
    };
    assert_eq!(
        (&call["syscall"], &call["ret"]),
        (&json!("execve"), &json!(0))
    );
    assert_eq!(exec["type"], "exec");
    assert!(exec["argv"].as_array().is_some_and(|argv| !argv.is_empty()));

    bench.begin(35, [0; 6]);
    let how = Ended::Killed(9);
    bench.audit.life(&Life::Ended {
        cage: &bench.cage.thread.cage,
        how,
    });
    let lines = bench.lines();
    let [.., call, exit] = lines.as_slice() else {
        panic!("two lines");
    };
    assert_eq!(
        (&call["syscall"], &call["ret"]),
        (&json!("nanosleep"), &json!(null))
    );
    assert_eq!(
        (&exit["type"], &exit["signal"]),
        (&json!("exit"), &json!("SIGKILL"))
    );
    assert_eq!(exit["status"], json!(null));
}

#[test]
fn lives_and_the_summary() {
    let bench = Bench::new();
    let thread = &bench.cage.thread;
    bench.audit.life(&Life::Began { thread });
    bench.audit.life(&Life::Signal { thread, signal: 10 });
    bench.call(39, [0; 6], &[], Handled::Kernel, 2);
    bench.call(21, [0x1000, 0, 0, 0, 0, 0], &[b"/x"], Handled::Denied, -13);
    bench.audit.life(&Life::Ended {
        cage: &thread.cage,
        how: Ended::Exited(3),
    });
    bench.audit.finish();
    let text = String::from_utf8(bench.lines.0.lock().clone()).unwrap();
    assert!(text.ends_with("}\n"), "all is written at the end");
    let lines = bench.lines();
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "meta", "clone", "signal", "syscall", "syscall", "exit", "summary"
        ]
    );
    for (seq, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], json!(seq));
    }
    assert_eq!(
        (&lines[1]["thread"], &lines[1]["parent"]),
        (&json!(false), &json!(null))
    );
    assert_eq!(
        (&lines[2]["signal"], &lines[2]["signo"]),
        (&json!("SIGUSR1"), &json!(10))
    );
    assert_eq!(lines[4]["action"], "deny");
    let summary = lines.last().unwrap();
    assert_eq!(summary["lines"], json!(lines.len()));
    assert_eq!(
        (&summary["calls"], &summary["denied"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        (&summary["failed"], &summary["signals"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&summary["status"], &summary["lost"], &summary["cages"]),
        (&json!(3), &json!(0), &json!(1))
    );
    assert!(bench.audit.losses().is_none());
}

#[test]
fn a_log_that_cannot_be_written_is_reported_and_harms_nobody() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let proc = File::open("/proc").unwrap().into();
    let header = Header {
        argv: &[],
        platform: "hybrid",
        mediate: "names",
        degraded: &[],
    };
    let audit = Audit::new(Full, proc, header);
    audit.finish();
    let said = audit.losses().unwrap();
    assert!(said.starts_with("audit log: 2 lines lost: "), "{said}");
}
