//! The dispatcher without any process: cages are rows of a table, their memory and files a `Ram`. What the platforms
//! do around a call (installs, closes that run in the cage, freezes at a fork) is done here as they do it.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and a step that fails is found by its seed"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use cage_trace::abi::Errno;
use cage_trace::cage::{
    Cage, CageTable, FdTable, FileKind, Files, Freeze, FsContext, OpenFile, Pairs, Sharing, Thread,
    Tid, Waker,
};
use cage_trace::dispatch::{Answer, Dispatcher, Plan};
use cage_trace::guest::{Guest, GuestMemory, Ram};
use cage_trace::interpose::{Call, Handled};
use cage_trace::posix::credentials::Credentials;
use cage_trace::posix::{Ctx, Kernel, Outcome, table};

const BASE: u64 = 0x10000;
const CLOEXEC: u64 = 0o200_0000;

/// Which open file a number leads to: the pipe, as the kernel knows it.
type Identity = (u64, u64);

fn identity(file: &OwnedFd) -> Identity {
    let stat = nix::sys::stat::fstat(file).unwrap();
    // Both ends of a pipe are one inode; the access mode tells them apart.
    let mode = nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_GETFL).unwrap();
    (stat.st_ino, u64::from(mode.unsigned_abs()) & 3)
}

fn errno(errno: Errno) -> i64 {
    -i64::from(errno.into_raw())
}

/// A call of a thread that is in no cage.
#[derive(Debug, PartialEq, Eq)]
struct Refused;

/// The cages' kernel: which memory and files each thread has, and what becomes of an outcome.
struct Machine {
    dispatcher: Dispatcher,
    rams: Mutex<HashMap<Tid, Arc<Ram>>>,
    last_tid: AtomicI32,
}

impl Machine {
    fn new() -> Self {
        let place = |path| OwnedFd::from(File::open(path).unwrap());
        let kernel = Kernel {
            cages: CageTable::default().into(),
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
        Self {
            dispatcher: Dispatcher::new(kernel, Plan::new(Vec::new(), true)),
            rams: Mutex::default(),
            last_tid: AtomicI32::new(1000),
        }
    }

    fn next_tid(&self) -> Tid {
        Tid(self.last_tid.fetch_add(1, Ordering::Relaxed))
    }

    /// A first cage with nothing open and this many numbers.
    fn begin(&self, nofile: u64) -> Tid {
        let tid = self.next_tid();
        let mut cages = self.dispatcher.kernel.cages.write();
        let cage = Arc::new(Cage::new(cages.next_id(), None, tid, None, nofile));
        let root = OwnedFd::from(File::open("/").unwrap());
        let cwd = Arc::new(OpenFile::kept(FileKind::Place, b"/".to_vec(), root));
        let fs = Arc::new(FsContext::new(cwd, 0o022));
        let files = Files::new(FdTable::default());
        cages.insert(Arc::new(Thread::new(tid, cage, files, fs)));
        drop(cages);
        let ram = Arc::new(Ram::new(BASE, 4096));
        self.rams.lock().unwrap().insert(tid, ram);
        tid
    }

    fn thread(&self, tid: Tid) -> Result<Arc<Thread>, Refused> {
        let cages = self.dispatcher.kernel.cages.read();
        cages.get(tid).cloned().ok_or(Refused)
    }

    fn ram(&self, tid: Tid) -> Arc<Ram> {
        Arc::clone(&self.rams.lock().unwrap()[&tid])
    }

    /// One call, from its arrival to the end of what the kernel does for it.
    fn call(&self, tid: Tid, name: &str, args: &[u64]) -> Result<i64, Refused> {
        let thread = self.thread(tid)?;
        let ram = self.ram(tid);
        thread.settle();
        let row = table::ROWS.iter().find(|row| row.name == name).unwrap();
        let mut registers = [0; 6];
        registers[..args.len()].copy_from_slice(args);
        let nr = u64::from(row.nr);
        let kernel = &self.dispatcher.kernel;
        let cx = Ctx::new(kernel, &thread, ram.as_ref(), nr, registers);
        let call = Call::new(nr, registers);
        let (result, change) = loop {
            match self.dispatcher.dispatch(&cx, &call) {
                Answer::Now(result, change) => break (result, change),
                Answer::Wait(files) => wait(|done| files.when_free(done)),
            }
        };
        let (handled, value) = match result {
            Ok(Outcome::Emulated(value)) => (Handled::Virtual, value.cast_signed()),
            Err(error) => (Handled::Virtual, errno(error)),
            Ok(Outcome::Continue) => (Handled::Kernel, 0),
            Ok(other) => panic!("{name}: {other:?}"),
        };
        for install in cx.take_installs() {
            ram.install(install.fd, install.file);
        }
        self.dispatcher.finish(&cx, &call, handled, value);
        drop(change);
        if handled == Handled::Kernel {
            // The reply is out: only now does the cage's own close run.
            thread::yield_now();
            run_natively(&ram, name, registers);
        }
        Ok(value)
    }

    /// A fork: while the kernel copies the table nobody changes it.
    fn fork(&self, tid: Tid, sharing: Sharing) -> Result<Tid, Refused> {
        let parent = self.thread(tid)?;
        parent.settle();
        let files = parent.files();
        let frozen = (!sharing.files).then(|| freeze(&files));
        let child = self.next_tid();
        let own = self.ram(tid);
        let ram = if sharing.files {
            own
        } else {
            let copy = Ram::new(BASE, 4096);
            for fd in own.open_numbers() {
                // A close that was answered before the freeze may run now.
                if let Ok(file) = own.borrow_file(fd) {
                    copy.install(fd, file);
                }
            }
            Arc::new(copy)
        };
        // The kernel has copied; the event comes later, and other threads go on meanwhile.
        thread::yield_now();
        let mut cages = self.dispatcher.kernel.cages.write();
        let cage = (!sharing.thread).then(|| {
            let nofile = parent.cage.nofile();
            Cage::new(cages.next_id(), Some(&parent.cage), child, None, nofile)
        });
        let lineage = cages.child(&parent, child, sharing, cage);
        drop(cages);
        for fd in lineage.to_close {
            ram.close(fd);
        }
        self.rams.lock().unwrap().insert(child, ram);
        drop(frozen);
        Ok(child)
    }

    /// An exec: the kernel keeps what is not marked.
    fn exec(&self, tid: Tid) -> Result<(), Refused> {
        let thread = self.thread(tid)?;
        thread.settle();
        let files = thread.files();
        let frozen = freeze(&files);
        let old = self.ram(tid);
        let marked: BTreeSet<i32> = {
            let table = files.lock();
            let marked = table.iter().filter(|(_, descriptor)| descriptor.cloexec);
            marked.map(|(fd, _)| fd).collect()
        };
        let ram = Ram::new(BASE, 4096);
        for fd in old.open_numbers().iter().filter(|fd| !marked.contains(fd)) {
            ram.install(*fd, old.borrow_file(*fd).unwrap());
        }
        let lineage = {
            let mut cages = self.dispatcher.kernel.cages.write();
            cages.exec(tid, tid).unwrap()
        };
        for fd in lineage.to_close {
            ram.close(fd);
        }
        self.rams.lock().unwrap().insert(tid, Arc::new(ram));
        drop(frozen);
        Ok(())
    }

    fn exit(&self, tid: Tid) {
        self.dispatcher.kernel.cages.write().remove(tid).unwrap();
        self.rams.lock().unwrap().remove(&tid);
    }
}

/// Freezes a table as soon as no change of it is under way.
fn freeze(files: &Arc<Files>) -> Freeze {
    loop {
        if let Ok(frozen) = files.freeze() {
            return frozen;
        }
        let _want = files.want_freeze();
        wait(|done| files.when_quiet(done));
    }
}

fn wait(until: impl FnOnce(Waker)) {
    let (done, is_done) = mpsc::channel();
    until(Box::new(move || {
        let _ = done.send(());
    }));
    is_done.recv().unwrap();
}

fn run_natively(ram: &Ram, name: &str, args: [u64; 6]) {
    let fd = |register: u64| i32::try_from(register).unwrap();
    match name {
        "close" => {
            ram.close(fd(args[0]));
        }
        "close_range" if args[2] == 0 => {
            for number in fd(args[0])..=fd(args[1]) {
                ram.close(number);
            }
        }
        _ => {}
    }
}

/// Steps of chance, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What a cage's table must be: POSIX in a few lines.
#[derive(Debug, Clone, Default)]
struct Model(BTreeMap<u64, (Identity, bool)>);

const NUMBERS: u64 = 14;

impl Model {
    fn lowest(&self, from: u64) -> Option<u64> {
        (from..NUMBERS).find(|fd| !self.0.contains_key(fd))
    }

    fn dup(&mut self, old: u64, from: u64, cloexec: bool) -> i64 {
        let Some(&(file, _)) = self.0.get(&old) else {
            return errno(Errno::EBADF);
        };
        if from >= NUMBERS {
            return errno(Errno::EINVAL);
        }
        let Some(fd) = self.lowest(from) else {
            return errno(Errno::EMFILE);
        };
        self.0.insert(fd, (file, cloexec));
        fd.cast_signed()
    }

    fn dup_onto(&mut self, old: u64, new: u64, cloexec: bool) -> i64 {
        match self.0.get(&old) {
            Some(_) if new >= NUMBERS => errno(Errno::EBADF),
            Some(&(file, _)) => {
                self.0.insert(new, (file, cloexec));
                new.cast_signed()
            }
            None => errno(Errno::EBADF),
        }
    }
}

/// One family of cages, driven by one thread; each has a model that it must agree with.
struct Family<'m> {
    machine: &'m Machine,
    cages: Vec<(Tid, Model)>,
    dice: Dice,
    dead: Vec<Tid>,
}

impl Family<'_> {
    fn step(&mut self) {
        let index = usize::try_from(self.dice.roll(self.cages.len() as u64)).unwrap();
        let kind = self.dice.roll(100);
        let (a, b) = (self.dice.roll(NUMBERS + 2), self.dice.roll(NUMBERS + 2));
        let living = self.cages.len();
        let (tid, model) = &mut self.cages[index];
        let tid = *tid;
        let call = |name: &str, args: &[u64]| self.machine.call(tid, name, args).unwrap();
        match kind {
            0..20 => assert_eq!(call("dup", &[a]), model.dup(a, 0, false)),
            20..35 => {
                let expected = if a == b {
                    match model.0.get(&a) {
                        Some(_) => a.cast_signed(),
                        None => errno(Errno::EBADF),
                    }
                } else {
                    model.dup_onto(a, b, false)
                };
                assert_eq!(call("dup2", &[a, b]), expected);
            }
            35..45 => {
                let expected = if a == b {
                    errno(Errno::EINVAL)
                } else {
                    model.dup_onto(a, b, true)
                };
                assert_eq!(call("dup3", &[a, b, CLOEXEC]), expected);
            }
            45..55 => {
                let expected = model.dup(a, b, true);
                assert_eq!(call("fcntl", &[a, 1030, b]), expected);
            }
            55..75 => {
                let expected = model.0.remove(&a).map_or(errno(Errno::EBADF), |_| 0);
                assert_eq!(call("close", &[a]), expected);
            }
            75..78 => {
                let (low, high) = (a.min(b), a.max(b));
                assert_eq!(call("close_range", &[low, high, 0]), 0);
                model.0.retain(|fd, _| !(low..=high).contains(fd));
            }
            78..83 => {
                let expected = model.0.get_mut(&a).map_or(errno(Errno::EBADF), |entry| {
                    entry.1 = b & 1 == 1;
                    0
                });
                assert_eq!(call("fcntl", &[a, 2, b]), expected);
            }
            83..92 => {
                let ends = model
                    .lowest(0)
                    .zip(model.lowest(0).and_then(|first| model.lowest(first + 1)));
                let result = call("pipe2", &[BASE, CLOEXEC]);
                let Some((read, write)) = ends else {
                    assert_eq!(result, errno(Errno::EMFILE));
                    return;
                };
                assert_eq!(result, 0);
                let ram = self.machine.ram(tid);
                let mut told = [0; 8];
                assert_eq!(ram.read(BASE, &mut told), Ok(8));
                let numbers = u64::from_ne_bytes(told);
                assert_eq!(numbers, read | write << 32);
                for fd in [read, write] {
                    let file = ram.borrow_file(i32::try_from(fd).unwrap()).unwrap();
                    model.0.insert(fd, (identity(&file), true));
                }
            }
            92..95 if living < 4 => {
                let child = self.machine.fork(tid, Sharing::default()).unwrap();
                let copy = model.clone();
                self.cages.push((child, copy));
            }
            95..98 => {
                self.machine.exec(tid).unwrap();
                model.0.retain(|_, (_, cloexec)| !*cloexec);
            }
            98.. if living > 1 => {
                self.machine.exit(tid);
                self.cages.swap_remove(index);
                self.dead.push(tid);
            }
            _ => {}
        }
    }

    /// The virtual table, the kernel's and the model: the same numbers, files and marks.
    fn check(&self) {
        for (tid, model) in &self.cages {
            let files = self.machine.thread(*tid).unwrap().files();
            let ram = self.machine.ram(*tid);
            let real: Model = Model(
                ram.open_numbers()
                    .into_iter()
                    .map(|fd| {
                        let file = ram.borrow_file(fd).unwrap();
                        let cloexec = files.get(fd).unwrap().cloexec;
                        (u64::try_from(fd).unwrap(), (identity(&file), cloexec))
                    })
                    .collect(),
            );
            assert_eq!(real.0, model.0, "{tid:?}");
            let table = files.lock();
            let numbers: Vec<u64> = table
                .iter()
                .map(|(fd, _)| fd.unsigned_abs().into())
                .collect();
            assert_eq!(numbers, model.0.keys().copied().collect::<Vec<u64>>());
            // Numbers share an open file here exactly where they share the kernel's.
            let mut by_file: HashMap<*const OpenFile, Identity> = HashMap::new();
            for (fd, descriptor) in table.iter() {
                let kernel = model.0[&u64::from(fd.unsigned_abs())].0;
                let before = by_file.insert(Arc::as_ptr(&descriptor.file), kernel);
                assert!(before.is_none_or(|before| before == kernel));
            }
            let distinct: BTreeSet<&Identity> = by_file.values().collect();
            assert_eq!(distinct.len(), by_file.len());
        }
    }
}

/// Four threads, each with a family of cages that fork, exec, end and shuffle their descriptors, on one cage table.
#[test]
fn four_threads_of_forks_and_execs_leave_every_table_exact() {
    const STEPS: usize = 30_000;
    let machine = Machine::new();
    thread::scope(|scope| {
        let drivers: Vec<_> = (1..=4)
            .map(|number: u64| {
                let machine = &machine;
                scope.spawn(move || {
                    let mut family = Family {
                        machine,
                        cages: vec![(machine.begin(NUMBERS), Model::default())],
                        dice: Dice(0x9e37_79b9_7f4a_7c15 ^ number << 32),
                        dead: Vec::new(),
                    };
                    for step in 0..STEPS {
                        family.step();
                        if step % 64 == 0 {
                            family.check();
                        }
                    }
                    family.check();
                    let living = family.cages.len();
                    for tid in &family.dead {
                        assert_eq!(machine.call(*tid, "dup", &[0]), Err(Refused));
                    }
                    assert!(family.dead.len() > STEPS / 1000, "too few cages ended");
                    living
                })
            })
            .collect();
        let living: usize = drivers
            .into_iter()
            .map(|driver| driver.join().unwrap())
            .sum();
        let cages = machine.dispatcher.kernel.cages.read();
        assert_eq!(cages.cage_count(), living);
        assert_eq!(cages.thread_count(), living);
    });
}

/// Four threads of one cage on one table: no number is ever in two hands, and none is lost.
#[test]
fn threads_that_share_a_table_never_get_the_same_number() {
    const STEPS: usize = 10_000;
    let machine = Machine::new();
    let first = machine.begin(64);
    assert_eq!(machine.call(first, "pipe2", &[BASE, 0]), Ok(0));
    let owned = Mutex::new(BTreeSet::from([0, 1]));
    let forks = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 1..=4_u64 {
            let (machine, owned, forks) = (&machine, &owned, &forks);
            let sharing = Sharing {
                thread: true,
                memory: true,
                awaited: false,
                files: true,
                fs: true,
            };
            let tid = machine.fork(first, sharing).unwrap();
            scope.spawn(move || {
                let mut dice = Dice(number << 40 | 12345);
                let mut mine: Vec<i64> = Vec::new();
                for _ in 0..STEPS {
                    if dice.roll(40) == 0 {
                        // A process that forks amid all this gets exactly what is open.
                        let child = machine.fork(tid, Sharing::default()).unwrap();
                        let files = machine.thread(child).unwrap().files();
                        let table: Vec<i32> = files.lock().iter().map(|(fd, _)| fd).collect();
                        assert_eq!(table, machine.ram(child).open_numbers());
                        machine.exit(child);
                        forks.fetch_add(1, Ordering::Relaxed);
                    } else if mine.len() < 12 && dice.roll(2) == 0 {
                        let fd = machine.call(tid, "dup", &[dice.roll(2)]).unwrap();
                        assert!(fd >= 2, "{fd}");
                        assert!(owned.lock().unwrap().insert(fd), "{fd} in two hands");
                        mine.push(fd);
                    } else if let Some(fd) = mine.pop() {
                        assert!(owned.lock().unwrap().remove(&fd));
                        assert_eq!(machine.call(tid, "close", &[fd.unsigned_abs()]), Ok(0));
                    }
                }
                for fd in mine {
                    assert!(owned.lock().unwrap().remove(&fd));
                    assert_eq!(machine.call(tid, "close", &[fd.unsigned_abs()]), Ok(0));
                }
                machine.exit(tid);
            });
        }
    });
    assert!(forks.load(Ordering::Relaxed) > 100);
    let thread = machine.thread(first).unwrap();
    thread.settle();
    assert_eq!(machine.ram(first).open_numbers(), vec![0, 1]);
    let files = thread.files();
    assert_eq!(files.lock().numbers_in(0, i32::MAX), vec![0, 1]);
    let tally = &machine.dispatcher.tally;
    assert_eq!(tally.failed.load(Ordering::Relaxed), 0);
    assert!(tally.emulated.load(Ordering::Relaxed) > 4 * STEPS as u64 / 4);
}

/// Nobody calls from outside the cage table: not a number that was never in it, not one that has left it.
#[test]
fn a_call_from_an_unknown_cage_is_refused() {
    let machine = Machine::new();
    let tid = machine.begin(64);
    assert_eq!(machine.call(tid, "eventfd", &[0]), Ok(0));
    assert_eq!(machine.call(Tid(tid.0 + 1), "eventfd", &[0]), Err(Refused));
    let child = machine.fork(tid, Sharing::default()).unwrap();
    assert_eq!(machine.call(child, "close", &[0]), Ok(0));
    machine.exit(child);
    assert_eq!(machine.call(child, "close", &[0]), Err(Refused));
    assert_eq!(machine.fork(child, Sharing::default()), Err(Refused));
    // What the refused asked for was not done.
    assert_eq!(machine.call(tid, "close", &[0]), Ok(0));
    let cages = machine.dispatcher.kernel.cages.read();
    assert_eq!((cages.cage_count(), cages.thread_count()), (1, 1));
    let ram = machine.ram(tid);
    assert!(ram.as_ref().borrow_file(0).is_err() && ram.open_numbers().is_empty());
    assert!(
        machine
            .dispatcher
            .kernel
            .root
            .as_fd()
            .try_clone_to_owned()
            .is_ok()
    );
}
