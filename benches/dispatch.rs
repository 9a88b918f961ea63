//! What a call costs inside the supervisor: from the arrival at the dispatcher to its result, over a cage without any
//! process. No interception, no scheduling; the handler's own calls to the host are in it.
//!
//!   cargo bench --bench dispatch

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::collections::HashSet;
use std::fs::File;
use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use cage_trace::cage::{
    Cage, CageTable, FdTable, FileKind, Files, FsContext, OpenFile, Pairs, Thread, Tid,
};
use cage_trace::dispatch::{Answer, Dispatcher, Plan};
use cage_trace::guest::{GuestMemory, Ram};
use cage_trace::interpose::audit::{Audit, Header};
use cage_trace::interpose::{Call, Handled, Interposer};
use cage_trace::posix::credentials::Credentials;
use cage_trace::posix::{Ctx, Kernel, Outcome};
use criterion::{Criterion, criterion_group, criterion_main};
use syscalls::Sysno;

const BASE: u64 = 0x10000;
const STATBUF: u64 = BASE + 0x1000;
const AT_FDCWD: u64 = 0xffff_ff9c;

/// A run with one cage that has no process.
struct Bench {
    dispatcher: Dispatcher,
    thread: Arc<Thread>,
    ram: Ram,
}

fn place(path: &str) -> OwnedFd {
    File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
        .unwrap()
        .into()
}

impl Bench {
    fn new(interposers: Vec<Box<dyn Interposer>>) -> Self {
        let tgid = Tid(i32::try_from(std::process::id()).unwrap());
        let mut cages = CageTable::default();
        let cage = Arc::new(Cage::new(cages.next_id(), None, tgid, None, 1024));
        let cwd = Arc::new(OpenFile::kept(FileKind::Place, b"/".to_vec(), place("/")));
        let fs = Arc::new(FsContext::new(cwd, 0o022));
        let thread = Arc::new(Thread::new(tgid, cage, Files::new(FdTable::default()), fs));
        cages.insert(Arc::clone(&thread));
        let kernel = Kernel {
            cages: cages.into(),
            host_proc: place("/proc"),
            root: place("/"),
            has_proc: true,
            private_mounts: HashSet::new(),
            pairs: Pairs::default(),
            host_root: false,
            credentials: Credentials::default(),
            pids_limit: None,
            keeps_files: false,
        };
        let ram = Ram::new(BASE, 0x10000);
        ram.write(BASE, b"/etc/passwd\0").unwrap();
        Self {
            dispatcher: Dispatcher::new(kernel, Plan::new(interposers, false)),
            thread,
            ram,
        }
    }

    /// One call, as a platform makes it.
    fn call(&self, sysno: Sysno, args: [u64; 6]) -> i64 {
        let nr = sysno.id() as u64;
        let call = Call::new(nr, args);
        self.thread.settle();
        let cx = Ctx::new(&self.dispatcher.kernel, &self.thread, &self.ram, nr, args);
        let Answer::Now(result, change) = self.dispatcher.dispatch(&cx, &call) else {
            panic!("the table is frozen");
        };
        let (handled, value) = match result {
            Ok(Outcome::Emulated(value)) => (Handled::Virtual, value.cast_signed()),
            Ok(Outcome::Deny(errno)) => (Handled::Denied, -i64::from(errno.into_raw())),
            Err(errno) => (Handled::Virtual, -i64::from(errno.into_raw())),
            Ok(Outcome::Continue | Outcome::Forward(_)) => (Handled::Kernel, 0),
        };
        for install in cx.take_installs() {
            self.ram.install(install.fd, install.file);
        }
        let value = self.dispatcher.finish(&cx, &call, handled, value);
        drop(change);
        value
    }

    fn stat(&self) -> i64 {
        self.call(Sysno::newfstatat, [AT_FDCWD, BASE, STATBUF, 0, 0, 0])
    }

    fn open_close(&self) -> i64 {
        let fd = self.call(Sysno::openat, [AT_FDCWD, BASE, 0, 0, 0, 0]);
        assert!(fd >= 0, "open: {fd}");
        let closed = self.call(Sysno::close, [fd.cast_unsigned(), 0, 0, 0, 0, 0]);
        self.ram.close(i32::try_from(fd).unwrap());
        closed
    }
}

fn audit() -> Vec<Box<dyn Interposer>> {
    let header = Header {
        argv: &[],
        platform: "none",
        mediate: "names",
        degraded: &[],
    };
    vec![Box::new(Audit::new(
        std::io::sink(),
        place("/proc"),
        header,
    ))]
}

fn dispatch(criterion: &mut Criterion) {
    let plain = Bench::new(Vec::new());
    assert_eq!(plain.stat(), 0, "stat");
    assert_eq!(plain.open_close(), 0, "open and close");
    let refused = || plain.call(Sysno::mount, [0; 6]);
    assert_eq!(refused(), -1);
    let mut group = criterion.benchmark_group("dispatch");
    group.bench_function("refused", |b| b.iter(|| black_box(refused())));
    group.bench_function("umask", |b| {
        b.iter(|| black_box(plain.call(Sysno::umask, [0o22, 0, 0, 0, 0, 0])));
    });
    group.bench_function("stat", |b| b.iter(|| black_box(plain.stat())));
    group.bench_function("open_close", |b| b.iter(|| black_box(plain.open_close())));
    let logged = Bench::new(audit());
    group.bench_function("stat_logged", |b| b.iter(|| black_box(logged.stat())));
    group.bench_function("host_stat", |b| {
        b.iter(|| black_box(std::fs::metadata(Path::new("/etc/passwd")).is_ok()));
    });
    group.finish();
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
