//! What `--status-fd` and `--report` are told: a line of JSON when the program starts and one when the run is over, whatever
//! became of it. Readers ignore members that they do not know.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::cgroup::Need;
use super::launch::describe;
use super::limits::{Enforced, Enforcement, SUPERVISOR};
use super::options::Options;
use super::watch::Verdict;
use super::{FAILED, complain};
use crate::abi::wait::Ended;
use crate::platform::Platform;
use crate::sys::descriptor;

/// Exit status of a run that took too long, as timeout(1) has it.
const TIMED_OUT: u8 = 124;

/// Why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reason {
    /// The program ended by itself.
    Exit,
    /// A signal killed it.
    Signal,
    /// `--timeout`.
    Timeout,
    /// `--cpu-time`.
    CpuTime,
    /// It had no memory left.
    Oom,
    /// The caller ended, and the run with it.
    Parent,
    /// It never ran, or the supervisor failed.
    Setup,
}

/// The first line.
#[derive(Debug, Serialize)]
pub(super) struct Start<'a> {
    pub(super) event: &'static str,
    pub(super) version: &'static str,
    /// The number of this process.
    pub(super) supervisor_pid: u32,
    /// The program's, as the host counts.
    pub(super) pid: i32,
    pub(super) argv: Vec<String>,
    pub(super) platform: &'static str,
    pub(super) limits: Vec<Value>,
    pub(super) degraded: &'a [String],
}

impl<'a> Start<'a> {
    pub(super) fn new(
        options: &Options,
        platform: &'static str,
        pid: i32,
        enforced: &[Enforced],
        degraded: &'a [String],
    ) -> Self {
        let argument = |text: &OsString| text.to_string_lossy().into_owned();
        let mut limits: Vec<Value> = enforced
            .iter()
            .map(|limit| {
                serde_json::json!({
                    "name": limit.name,
                    "value": limit.value,
                    "by": limit.by,
                })
            })
            .collect();
        let open_ended = |value: u64| (value != u64::MAX).then_some(value);
        limits.extend(options.limits.rlimits.iter().map(|limit| {
            serde_json::json!({
                "name": format!("rlimit-{}", limit.name),
                "soft": open_ended(limit.soft),
                "hard": open_ended(limit.hard),
                "by": "kernel",
            })
        }));
        Self {
            event: "start",
            version: env!("CARGO_PKG_VERSION"),
            supervisor_pid: std::process::id(),
            pid,
            argv: options.command.iter().map(argument).collect(),
            platform,
            limits,
            degraded,
        }
    }
}

/// The last line; what was never known is null.
#[derive(Debug, Serialize)]
pub(super) struct End {
    event: &'static str,
    pub(super) reason: Reason,
    /// The exit status of cage-trace.
    pub(super) status: u8,
    /// What killed the program, where something did.
    pub(super) signal: Option<u8>,
    /// What was told on standard error, of a failure.
    pub(super) message: Option<String>,
    pub(super) wall_seconds: f64,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) cpu_by: Option<&'static str>,
    /// In bytes.
    pub(super) peak_memory: Option<u64>,
    pub(super) peak_memory_by: Option<&'static str>,
    /// Forks that `--pids-limit` refused.
    pub(super) refused_forks: Option<u64>,
    /// Processes that were killed when the program had ended.
    pub(super) killed: usize,
    /// As `--stats=json` prints them.
    pub(super) counts: Option<Value>,
}

impl End {
    pub(super) fn new(reason: Reason, status: u8) -> Self {
        Self {
            event: "exit",
            reason,
            status,
            signal: None,
            message: None,
            wall_seconds: 0.0,
            cpu_seconds: None,
            cpu_by: None,
            peak_memory: None,
            peak_memory_by: None,
            refused_forks: None,
            killed: 0,
            counts: None,
        }
    }

    /// A program that came to its own end; or to none that anybody saw.
    pub(super) fn of_program(first: Option<Ended>) -> Self {
        match first {
            Some(Ended::Exited(code)) => Self::new(Reason::Exit, code),
            Some(how @ Ended::Killed(_)) => Self::new(Reason::Signal, how.shell_code()),
            None => Self::failed(FAILED, "the program never came to an end".to_owned()),
        }
    }

    /// A run that was ended from outside.
    pub(super) fn ended_by(verdict: Verdict) -> Self {
        let killed = Ended::Killed(libc::SIGKILL as u8).shell_code();
        match verdict {
            Verdict::Timeout => Self::new(Reason::Timeout, TIMED_OUT),
            Verdict::CpuTime => Self::new(Reason::CpuTime, killed),
            Verdict::Memory => Self::new(Reason::Oom, killed),
            Verdict::Parent => Self::new(Reason::Parent, killed),
        }
    }

    /// Fills in what the run used, once all of it is waited for.
    pub(super) fn measure(
        &mut self,
        limits: &Enforcement,
        polled_memory: u64,
        platform: &Platform,
    ) {
        let groups = &limits.groups;
        let meter = &platform.meter;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (cpu, by) = match groups.cpu_time() {
            Some(cpu) => (cpu, groups.name(Need::CpuTime)),
            None => (Duration::from_nanos(read(&meter.ended_cpu)), SUPERVISOR),
        };
        self.cpu_seconds = Some(cpu.as_secs_f64());
        self.cpu_by = Some(by);
        let (peak, by) = match groups.peak_memory() {
            Some(peak) => (peak, groups.name(Need::Memory)),
            None if polled_memory > 0 => (polled_memory, SUPERVISOR),
            None => (read(&meter.largest), "largest process"),
        };
        self.peak_memory = Some(peak);
        self.peak_memory_by = Some(by);
        if limits.limits.pids.is_some() {
            let counted = || platform.dispatcher.kernel.cages.read().refused();
            self.refused_forks = Some(groups.refused_forks().unwrap_or_else(counted));
        }
    }

    /// A run that never came to be.
    pub(super) fn failed(status: u8, message: String) -> Self {
        Self {
            message: Some(message),
            ..Self::new(Reason::Setup, status)
        }
    }
}

/// Where the lines go.
#[derive(Debug)]
pub(super) struct Status {
    descriptor: Option<File>,
    report: Option<(PathBuf, File)>,
    began: Instant,
}

impl Status {
    /// Takes the descriptor and makes the file. The first act of a run: until then every number is the caller's.
    ///
    /// # Errors
    /// Where one of them cannot be written to.
    pub(super) fn open(options: &Options) -> anyhow::Result<Self> {
        // Ours must not lie where the caller is yet to be asked for one of its own.
        let above = options.pass_fds.iter().max();
        let first = above.map_or(3, |number| number.saturating_add(1)).max(3);
        let descriptor = options.status_fd.map(|number| {
            anyhow::ensure!(
                !options.pass_fds.contains(&number),
                "--status-fd {number}: the program must not have it: leave out --pass-fd {number}"
            );
            let copy = descriptor::copy_inherited(number, first).map_err(|_| {
                anyhow::anyhow!(
                    "--status-fd {number}: it is not open: start cage-trace with {number}>FILE"
                )
            })?;
            anyhow::ensure!(
                descriptor::is_writable(copy.as_fd()),
                "--status-fd {number}: it is open for reading only: start cage-trace with {number}>FILE"
            );
            Ok(File::from(copy))
        });
        let report = options.report.as_ref().map(|path| {
            let failed = |error: io::Error| {
                anyhow::anyhow!(
                    "--report {}: it cannot be written: {}: name another file",
                    path.display(),
                    describe(&error)
                )
            };
            let file = File::create(path).map_err(failed)?;
            let moved = descriptor::copy_inherited(file.as_raw_fd(), first)
                .map_err(|errno| failed(io::Error::from_raw_os_error(errno.into_raw())))?;
            let file = File::from(moved);
            anyhow::Ok((path.clone(), file))
        });
        Ok(Self {
            descriptor: descriptor.transpose()?,
            report: report.transpose()?,
            began: Instant::now(),
        })
    }

    /// Whether anybody is told.
    pub(super) fn is_wanted(&self) -> bool {
        self.descriptor.is_some() || self.report.is_some()
    }

    /// The program is about to run.
    pub(super) fn start(&mut self, start: &Start<'_>) {
        self.began = Instant::now();
        self.write(start);
    }

    /// All is over.
    pub(super) fn end(&mut self, mut end: End) {
        end.wall_seconds = self.began.elapsed().as_secs_f64();
        self.write(&end);
    }

    fn write(&mut self, line: &impl Serialize) {
        if !self.is_wanted() {
            return;
        }
        let Ok(mut text) = serde_json::to_vec(line) else {
            return;
        };
        text.push(b'\n');
        if let Some(descriptor) = &mut self.descriptor {
            // A reader that is gone wants to know nothing.
            let _ = descriptor.write_all(&text);
        }
        if let Some((path, file)) = &mut self.report
            && let Err(error) = file.write_all(&text)
        {
            complain(&format!(
                "--report {}: {}",
                path.display(),
                describe(&error)
            ));
            self.report = None;
        }
    }
}
