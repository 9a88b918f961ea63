//! The audit log: one JSON line for every call, and for every exec, clone, signal and exit. It knows only the public
//! trait, and never reads the cage's memory: what it says of a path is what the handler acted on.

mod identity;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use self::identity::Identities;
use super::json::Json;
use super::log_file::LogFile;
use super::{Call, Handled, Interposer, Life, Wants, words};
use crate::abi::Sysno;
use crate::abi::wait::Ended;
use crate::cage::{Cage, CageId, Thread, Tid};
use crate::guest::{ArgKind, DirFd, Fd, FromArg, Mode};
use crate::posix::row::Row;
use crate::posix::{Ctx, Outcome};

/// What the first line tells of the run.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// The command and its arguments.
    pub argv: &'a [OsString],
    /// The platform's name.
    pub platform: &'a str,
    /// Which calls are mediated (all are, while they are logged; this is what was asked for).
    pub mediate: &'a str,
    /// What this machine could not give.
    pub degraded: &'a [String],
}

/// A call that has begun. What it changes (a close's label, the working directory) is noted before it does.
#[derive(Debug)]
struct Pending {
    call: Call,
    cage: CageId,
    identity: Json,
    labels: [Option<Vec<u8>>; 6],
}

#[derive(Debug, Default)]
struct Counts {
    calls: u64,
    failed: u64,
    denied: u64,
    signals: u64,
    cages: u64,
    threads: u64,
    /// How the run's first process ended.
    how: Option<Ended>,
}

/// Writes the log.
#[derive(Debug)]
pub struct Audit {
    log: Mutex<LogFile>,
    pending: Mutex<HashMap<Tid, Pending>>,
    identities: Identities,
    counts: Mutex<Counts>,
    began: Instant,
    began_at: SystemTime,
}

/// How a call came out, as a line says it.
enum Result {
    /// A value or a negative errno.
    Of(i64),
    /// It never returned.
    None,
}

impl Audit {
    /// A log in `out`; `host_proc` is the host's /proc. The first line is written at once.
    pub fn new(out: impl Write + Send + 'static, host_proc: OwnedFd, header: Header<'_>) -> Self {
        let audit = Self {
            log: Mutex::new(LogFile::new(Box::new(out))),
            pending: Mutex::default(),
            identities: Identities::new(host_proc),
            counts: Mutex::default(),
            began: Instant::now(),
            began_at: SystemTime::now(),
        };
        let mut line = audit.line("meta", audit.began);
        line.key("schema").text(Some("cage-trace/1"));
        line.key("version").text(Some(env!("CARGO_PKG_VERSION")));
        line.key("argv").open('[');
        for argument in header.argv {
            line.bytes(argument.as_bytes());
        }
        line.close(']');
        line.key("platform").text(Some(header.platform));
        line.key("mediate").text(Some(header.mediate));
        line.key("arch").text(Some("x86_64"));
        let uname = nix::sys::utsname::uname().ok();
        let release = uname.as_ref().map(|uname| uname.release().as_bytes());
        line.key("kernel").bytes(release.unwrap_or_default());
        line.key("clock").text(Some("realtime"));
        line.key("degraded").open('[');
        for what in header.degraded {
            line.bytes(what.as_bytes());
        }
        line.close(']');
        audit.log.lock().line(line.as_str(), true);
        audit
    }

    /// How many lines did not reach the file, and why: a sentence for the end of the run.
    #[must_use]
    pub fn losses(&self) -> Option<String> {
        let log = self.log.lock();
        log.losses().map(|(lost, error)| {
            format!("audit log: {lost} lines lost: {error}; make room or name another file with -o")
        })
    }

    fn line(&self, kind: &str, at: Instant) -> Json {
        let mut line = Json::with_room(768);
        let at = self.began_at + at.saturating_duration_since(self.began);
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut ts = String::with_capacity(24);
        let _ = write!(ts, "{}.{:09}", at.as_secs(), at.subsec_nanos());
        line.key("ts").text(Some(&ts));
        line.key("type").text(Some(kind));
        line
    }

    fn put(&self, line: &Json, now: bool) {
        self.log.lock().line(line.as_str(), now);
    }

    /// Who calls, and where it stands.
    fn identity(&self, thread: &Thread) -> Json {
        let identity = self.identities.of(thread);
        let mut out = Json::default();
        let mut id = String::new();
        let _ = write!(id, "{}", thread.cage.id);
        out.key("cage").text(Some(&id));
        out.key("pid").int(identity.pid.into());
        out.key("tid").int(identity.tid.into());
        out.key("ppid").int(identity.ppid.into());
        out.key("host_pid").int(thread.cage.tgid.0.into());
        out.key("comm").bytes(&identity.comm);
        out.key("cwd").bytes(thread.fs().cwd().label());
        out
    }

    fn begin(&self, cx: &Ctx<'_>, call: &Call) -> Pending {
        let mut labels: [Option<Vec<u8>>; 6] = Default::default();
        let args = call.row.map_or(&[][..], |row| row.args);
        for ((arg, register), label) in args.iter().zip(call.args).zip(&mut labels) {
            *label = match arg.kind {
                ArgKind::DirFd if DirFd::from_arg(register) == DirFd::CWD => {
                    Some(cx.fs().cwd().label().to_vec())
                }
                ArgKind::Fd | ArgKind::DirFd => cx.label(Fd::from_arg(register)),
                _ => None,
            };
        }
        Pending {
            call: *call,
            cage: cx.cage().id,
            identity: self.identity(cx.thread),
            labels,
        }
    }

    /// Writes a call's line. `made` is the descriptor that it made, with its label.
    fn end(
        &self,
        pending: &Pending,
        paths: &[Vec<u8>],
        made: Option<(i64, Vec<u8>)>,
        handled: Handled,
        result: &Result,
    ) {
        let call = &pending.call;
        let mut line = self.line("syscall", call.started);
        line.members(&pending.identity);
        line.key("nr").uint(call.nr);
        match call.row {
            Some(row) => line.key("syscall").text(Some(row.name)),
            None => line.key("syscall").text(Some(&words::unknown(call.nr))),
        }
        line.key("arch").text(Some("x86_64"));
        line.key("args").open('[');
        match call.row {
            Some(row) => arguments(&mut line, row, pending, paths),
            None => {
                for (index, register) in call.args.into_iter().enumerate() {
                    line.open('{');
                    let mut name = String::new();
                    let _ = write!(name, "arg{index}");
                    line.key("name").text(Some(&name));
                    line.key("value").uint(register);
                    line.close('}');
                }
            }
        }
        line.close(']');
        let failed = outcome(&mut line, result);
        let took = u64::try_from(call.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        line.key("dur_ns").uint(took);
        line.key("paths").open('[');
        for path in paths {
            line.bytes(path);
        }
        line.close(']');
        line.key("fd").open('{');
        descriptors(&mut line, pending, made);
        line.close('}');
        let denied = handled == Handled::Denied;
        let action = if denied { "deny" } else { "allow" };
        line.key("action").text(Some(action));
        line.key("rule").text(None);
        let by = if handled == Handled::Kernel {
            "kernel"
        } else {
            "virtual"
        };
        line.key("handled").text(Some(by));
        {
            let mut counts = self.counts.lock();
            counts.calls += 1;
            counts.failed += u64::from(failed);
            counts.denied += u64::from(denied);
        }
        self.put(&line, denied);
    }

    fn take_pending(&self, tid: Tid) -> Option<Pending> {
        self.pending.lock().remove(&tid)
    }

    /// The calls of a cage that will never return: an exec that succeeded, and what its death cut short.
    fn cut_short(&self, cage: CageId, program: Option<&[u8]>) {
        let cut: Vec<Pending> = {
            let mut pending = self.pending.lock();
            let tids: Vec<Tid> = pending
                .iter()
                .filter(|(_, one)| one.cage == cage)
                .map(|(&tid, _)| tid)
                .collect();
            tids.iter().filter_map(|tid| pending.remove(tid)).collect()
        };
        for one in cut {
            let (paths, result) = match program {
                Some(program) if is_exec(&one.call) => (vec![program.to_vec()], Result::Of(0)),
                _ => (Vec::new(), Result::None),
            };
            self.end(&one, &paths, None, Handled::Kernel, &result);
        }
    }

    fn began(&self, thread: &Thread) {
        let process = thread.tid == thread.cage.tgid;
        {
            let mut counts = self.counts.lock();
            // The first process has no maker here; it is counted at its end.
            counts.cages += u64::from(process && thread.cage.parent.is_some());
            counts.threads += u64::from(!process);
        }
        self.identities.forget(thread.tid);
        let mut line = self.line("clone", Instant::now());
        line.members(&self.identity(thread));
        let parent = thread.cage.parent.map(|parent| parent.to_string());
        line.key("parent").text(parent.as_deref());
        line.key("thread").bool(!process);
        self.put(&line, false);
    }

    fn execed(&self, thread: &Thread) {
        self.cut_short(thread.cage.id, Some(&thread.cage.program()));
        self.identities.forget(thread.tid);
        let mut line = self.line("exec", Instant::now());
        line.members(&self.identity(thread));
        line.key("path").bytes(&thread.cage.program());
        line.key("argv").open('[');
        let (argv, len) = self.identities.command_line(thread.cage.tgid);
        // Only the last of the kept arguments can have been cut short.
        let kept = argv.strip_suffix(b"\0").unwrap_or(&argv);
        let mut arguments = kept.split(|&byte| byte == 0).peekable();
        while let Some(argument) = arguments.next().filter(|_| len > 0) {
            let missing = if arguments.peek().is_none() {
                len.saturating_sub(argv.len())
            } else {
                0
            };
            line.cut(argument, argument.len() + missing);
        }
        line.close(']');
        self.put(&line, false);
    }

    fn signalled(&self, thread: &Thread, signal: i32) {
        self.counts.lock().signals += 1;
        let mut line = self.line("signal", Instant::now());
        line.members(&self.identity(thread));
        line.key("signal").text(words::signal(signal).as_deref());
        line.key("signo").int(signal.into());
        self.put(&line, false);
    }

    fn ended(&self, cage: &Cage, how: Ended) {
        self.cut_short(cage.id, None);
        let pid = self.identities.ended(cage);
        {
            let mut counts = self.counts.lock();
            if cage.parent.is_none() {
                counts.how = Some(how);
                counts.cages += 1;
            }
        }
        let mut line = self.line("exit", Instant::now());
        line.key("cage").text(Some(&cage.id.to_string()));
        line.key("pid").int(pid.into());
        line.key("host_pid").int(cage.tgid.0.into());
        line.key("path").bytes(&cage.program());
        how_it_ended(&mut line, Some(how));
        self.put(&line, true);
    }
}

fn how_it_ended(line: &mut Json, how: Option<Ended>) {
    let (status, signal) = match how {
        Some(Ended::Exited(status)) => (Some(status), None),
        Some(Ended::Killed(signal)) => (None, words::signal(signal.into())),
        None => (None, None),
    };
    match status {
        Some(status) => line.key("status").uint(status.into()),
        None => line.key("status").text(None),
    }
    line.key("signal").text(signal.as_deref());
}

/// `ret` and `errno`; says whether the call failed.
fn outcome(line: &mut Json, result: &Result) -> bool {
    match *result {
        Result::None => {
            line.key("ret").text(None);
            line.key("errno").text(None);
            false
        }
        Result::Of(value @ -4095..=-1) => {
            let number = i32::try_from(-value).unwrap_or(0);
            line.key("ret").int(-1);
            line.key("errno").text(Some(&words::errno(number)));
            true
        }
        Result::Of(value) => {
            line.key("ret").uint(value.cast_unsigned());
            line.key("errno").text(None);
            false
        }
    }
}

/// The decoded arguments. A path's text is what the handler noted, where it noted one for each path argument.
fn arguments(line: &mut Json, row: &Row, pending: &Pending, paths: &[Vec<u8>]) {
    let named = row
        .args
        .iter()
        .filter(|arg| arg.kind == ArgKind::Path)
        .count();
    let mut noted = (named == paths.len())
        .then_some(paths.iter())
        .into_iter()
        .flatten();
    for ((arg, register), label) in row.args.iter().zip(pending.call.args).zip(&pending.labels) {
        line.open('{');
        line.key("name").text(Some(arg.name));
        line.key("value");
        match arg.kind {
            ArgKind::Fd | ArgKind::DirFd | ArgKind::Int => line.int(i32::from_arg(register).into()),
            ArgKind::Uint => line.uint(u32::from_arg(register).into()),
            ArgKind::Mode => line.uint(Mode::from_arg(register).0.into()),
            ArgKind::Long => line.int(register.cast_signed()),
            ArgKind::Ulong => line.uint(register),
            ArgKind::Path | ArgKind::In | ArgKind::Out | ArgKind::Addr => line.addr(register),
        }
        match arg.kind {
            ArgKind::DirFd => {
                if let Some(label) = label {
                    line.key("path").bytes(label);
                }
            }
            ArgKind::Path => {
                if let Some(path) = noted.next() {
                    line.key("path").bytes(path);
                }
            }
            ArgKind::Mode => {
                let mut octal = String::new();
                let _ = write!(octal, "{:#o}", Mode::from_arg(register).0);
                line.key("text").text(Some(&octal));
            }
            _ => {
                if let Some(text) = words::text(row, arg.name, register) {
                    line.key("text").text(Some(&text));
                }
            }
        }
        line.close('}');
    }
}

/// What the descriptors in the call stand for, each number once.
fn descriptors(line: &mut Json, pending: &Pending, made: Option<(i64, Vec<u8>)>) {
    let args = pending.call.row.map_or(&[][..], |row| row.args);
    let mut known: Vec<(i64, &[u8])> = Vec::new();
    if let Some((fd, label)) = &made {
        known.push((*fd, label));
    }
    for ((arg, register), label) in args.iter().zip(pending.call.args).zip(&pending.labels) {
        let fd = i64::from(Fd::from_arg(register).0);
        if arg.kind == ArgKind::Fd
            && let Some(label) = label
            && known.iter().all(|&(other, _)| other != fd)
        {
            known.push((fd, label));
        }
    }
    for (fd, label) in known {
        line.key(&fd.to_string()).bytes(label);
    }
}

fn is(call: &Call, sysno: Sysno) -> bool {
    call.nr == sysno.id() as u64
}

fn is_exec(call: &Call) -> bool {
    is(call, Sysno::execve) || is(call, Sysno::execveat)
}

/// Whether the result of this row is a descriptor.
fn makes_descriptor(call: &Call) -> bool {
    const F_DUPFD_CLOEXEC: u32 = 1030;
    call.row.is_some_and(|row| match row.name {
        "open" | "openat" | "openat2" | "creat" | "dup" | "dup2" | "dup3" | "socket" | "accept"
        | "accept4" | "epoll_create" | "epoll_create1" | "eventfd" | "eventfd2"
        | "timerfd_create" | "signalfd" | "signalfd4" | "inotify_init" | "inotify_init1"
        | "memfd_create" | "pidfd_open" => true,
        "fcntl" => call
            .args
            .get(1)
            .is_some_and(|&op| matches!(u32::from_arg(op), 0 | F_DUPFD_CLOEXEC)),
        _ => false,
    })
}

impl Interposer for Audit {
    fn wants(&self, row: Option<&Row>) -> Wants {
        // These never return: an exit has no result, and rt_sigreturn's is whatever was interrupted.
        let returns =
            !row.is_some_and(|row| matches!(row.name, "exit" | "exit_group" | "rt_sigreturn"));
        Wants {
            before: true,
            after: returns,
        }
    }

    fn before(&self, cx: &Ctx<'_>, call: &Call) -> ControlFlow<Outcome> {
        let pending = self.begin(cx, call);
        if self.wants(call.row).after {
            let old = self.pending.lock().insert(cx.thread.tid, pending);
            // A platform may ask again about the same call; another call means that the older one never returned.
            if let Some(old) = old
                && (old.call.started, old.call.nr) != (call.started, call.nr)
            {
                self.end(&old, &[], None, Handled::Kernel, &Result::None);
            }
        } else {
            self.end(&pending, &[], None, Handled::Kernel, &Result::None);
        }
        ControlFlow::Continue(())
    }

    fn withdraw(&self, cx: &Ctx<'_>, call: &Call) {
        let mut pending = self.pending.lock();
        if let Entry::Occupied(begun) = pending.entry(cx.thread.tid)
            && begun.get().call.started == call.started
        {
            begun.remove();
        }
    }

    fn after(&self, cx: &Ctx<'_>, call: &Call, handled: Handled, result: i64) -> i64 {
        const PR_SET_NAME: u32 = 15;
        let pending = self
            .take_pending(cx.thread.tid)
            .filter(|pending| pending.call.nr == call.nr);
        let pending = match pending {
            Some(pending) => pending,
            // Its line was written when the new image began.
            None if is_exec(call) && result == 0 => return result,
            None => self.begin(cx, call),
        };
        let made = i32::try_from(result)
            .ok()
            .filter(|&fd| fd >= 0 && makes_descriptor(call))
            .and_then(|fd| Some((i64::from(fd), cx.label(Fd(fd))?)));
        self.end(&pending, &cx.paths(), made, handled, &Result::Of(result));
        if is(call, Sysno::prctl)
            && call
                .args
                .first()
                .is_some_and(|&op| u32::from_arg(op) == PR_SET_NAME)
        {
            self.identities.forget(cx.thread.tid);
        }
        result
    }

    fn life(&self, life: &Life<'_>) {
        match *life {
            Life::Began { thread } => self.began(thread),
            Life::Exec { thread } => self.execed(thread),
            Life::Signal { thread, signal } => self.signalled(thread, signal),
            Life::Ended { cage, how } => self.ended(cage, how),
        }
    }

    fn finish(&self) {
        let mut line = self.line("summary", Instant::now());
        let now = Instant::now();
        let counts = self.counts.lock();
        let mut log = self.log.lock();
        line.key("lines").uint(log.lines() + 1);
        line.key("lost")
            .uint(log.losses().map_or(0, |(lost, _)| lost));
        line.key("calls").uint(counts.calls);
        line.key("failed").uint(counts.failed);
        line.key("denied").uint(counts.denied);
        line.key("signals").uint(counts.signals);
        line.key("cages").uint(counts.cages);
        line.key("threads").uint(counts.threads);
        how_it_ended(&mut line, counts.how);
        let took = now.saturating_duration_since(self.began).as_nanos();
        line.key("dur_ns")
            .uint(u64::try_from(took).unwrap_or(u64::MAX));
        log.line(line.as_str(), true);
    }
}

impl Interposer for Arc<Audit> {
    fn wants(&self, row: Option<&Row>) -> Wants {
        self.as_ref().wants(row)
    }
    fn before(&self, cx: &Ctx<'_>, call: &Call) -> ControlFlow<Outcome> {
        self.as_ref().before(cx, call)
    }
    fn withdraw(&self, cx: &Ctx<'_>, call: &Call) {
        self.as_ref().withdraw(cx, call);
    }
    fn after(&self, cx: &Ctx<'_>, call: &Call, handled: Handled, result: i64) -> i64 {
        self.as_ref().after(cx, call, handled, result)
    }
    fn life(&self, life: &Life<'_>) {
        self.as_ref().life(life);
    }
    fn finish(&self) {
        self.as_ref().finish();
    }
}
